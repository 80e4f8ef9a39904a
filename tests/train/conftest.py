"""What the tests of many methods learn from."""

from __future__ import annotations

import pytest
from small_recipes import SIDE, small
from tiny_training import TinyCohort

from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train


@pytest.fixture(scope="module")
def cohort():
    return TinyCohort([3, 4], side=SIDE)


@pytest.fixture(scope="module")
def first_stage(cohort, tmp_path_factory):
    """The weight file of a VQGAN."""
    return train(cohort, None, tmp_path_factory.mktemp("vqgan"), small("vqgan"), Options(Budget(steps=2)))
