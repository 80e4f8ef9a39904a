"""What is said where a network cannot give as many counts as a heart has."""

from __future__ import annotations

import numpy as np
import pytest
from fake_study import Times, heart, write_nc

from spectac_fast.correct.corrector import Corrector
from spectac_fast.models.networks.build import is_bounded

SAID = "what should be hotter is cut off"


class Cut(Times):
    """Multiplies, and ends in a bound as a tanh does."""

    bounded = True

    def translate(self, nc, seeds=None, **given):
        return super().translate(nc, seeds, **given).clamp(max=1.0)


@pytest.mark.parametrize(("model", "said"), [(Cut(1.6), 1), (Cut(0.5), 0), (Times(1.6), 0)])
def test_a_heart_at_the_bound_is_named(tmp_path, caplog, model, said):
    counts = heart(np.random.default_rng(), (15, 40, 40))
    write_nc(tmp_path / "SA.dcm", counts)
    assert len(list(Corrector(model, batch_size=8).map([tmp_path]))) == 1
    assert caplog.text.count(SAID) == said
    assert not said or "SA.dcm: times gives no more counts than its scale" in caplog.text


@pytest.mark.parametrize(
    ("config", "bounded"),
    [
        ({"kind": "unet_generator"}, True),
        ({"kind": "unit"}, True),
        ({"kind": "unet_generator", "residual": True}, False),
        ({"kind": "unit", "attenuation_paths": 16}, False),
        ({"kind": "unit", "residual": True}, False),
        ({"kind": "folded_unet"}, False),
    ],
)
def test_networks_that_end_in_a_tanh_are_bounded(config, bounded):
    assert is_bounded(config) is bounded
