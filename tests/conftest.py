"""Shared by all tests: the repository, the devices there are, and Triton's interpreter where there is no GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    # Read when a kernel is defined, so it must stand before any import of spectac_fast.kernels.
    os.environ["TRITON_INTERPRET"] = "1"

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Chains first: one that began last would be alone on its core, with the others idle, at the end."""
    items.sort(key=lambda item: item.get_closest_marker("chain") is None)


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).resolve().parent.parent


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """The same numbers in every run: a function of the test's name."""
    return np.random.default_rng(sum(map(ord, request.node.name)))


@pytest.fixture
def fresh() -> np.random.Generator:
    """Other numbers in every run; a failing test says which."""
    seed = np.random.SeedSequence().entropy
    print(f"np.random.default_rng({seed})")
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For networks so small that they are over before a second thread has begun."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def figures(record_property, capfd):
    """Tell what a long test has measured: on the terminal at once, and in pytest's JUnit report."""

    def tell(text: str) -> None:
        record_property("figures", text)
        with capfd.disabled():
            print(f" {text} ", end="", flush=True)

    return tell
