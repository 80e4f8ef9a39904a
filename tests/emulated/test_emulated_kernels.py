"""The CUDA kernels on a CPU: every kernel, every barrier, in every order of threads and blocks."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch
from emulation import FORWARD, KIND, REVERSE, SOURCES, Emulated, Reported, emulated, why_not
from emulation.calls import left_by

from spectac_fast._op import Op

pytestmark = pytest.mark.skipif(bool(why_not()), reason=str(why_not()))

OPERATORS = [op.name for op in Op.all()]
RANDOM = (19, 20)
BARRIERS = [
    (f"csrc/{path.relative_to(SOURCES)}", number)
    for path in sorted(SOURCES.rglob("cuda/*"))
    for number, line in enumerate(path.read_text().splitlines(), 1)
    if "__syncthreads()" in line
]


@cache
def found(name: str) -> tuple[list[torch.Tensor], dict[str, int], set[tuple[str, int]]]:
    """What is left by an operator's calls, threads in their order; kernels launched, barriers come to."""
    machine = emulated()
    machine.forget()
    with machine.in_place(FORWARD):
        left = left_by(name)
    return left, machine.launches(), machine.barriers()


def same_bytes(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    def as_bytes(t: torch.Tensor) -> bytes:
        return t.contiguous().flatten().view(torch.uint8).numpy().tobytes()

    return len(a) == len(b) and all(as_bytes(s) == as_bytes(t) for s, t in zip(a, b))


@pytest.fixture
def machine() -> Emulated:
    return emulated()


@pytest.mark.parametrize("name", OPERATORS)
def test_results_are_those_of_the_processor(name):
    emulated_left, *_ = found(name)
    own = left_by(name)
    assert len(own) == len(emulated_left) > 0
    for ours, theirs in zip(emulated_left, own):
        torch.testing.assert_close(ours, theirs, equal_nan=True)


@pytest.mark.skipif(KIND == "thread", reason="ThreadSanitizer finds a race in any order")
@pytest.mark.parametrize("order", [REVERSE, *RANDOM])
@pytest.mark.parametrize("name", OPERATORS)
def test_the_order_of_threads_and_blocks_does_not_show(machine, name, order):
    with machine.in_place(order):
        assert same_bytes(left_by(name), found(name)[0])


def test_every_kernel_runs(machine):
    """Of every operator, with every combination of template arguments that is compiled."""
    assert set(machine.operators) == set(OPERATORS)
    kernel = r"__global__ void(?:\s+__launch_bounds__\(.*?\))?\s+(\w+)\(const __grid"
    text = "".join(path.read_text() for path in SOURCES.rglob("cuda/*"))
    declared = set(re.findall(kernel, text))
    assert text.count("__global__") == len(re.findall(kernel, text))
    assert declared == {kernel.partition("(")[0].partition("<")[0] for kernel in machine.kernels()}
    assert machine.kernels() == set().union(*(found(name)[1] for name in OPERATORS))


def test_every_barrier_is_come_to():
    assert set(BARRIERS) == set().union(*(found(name)[2] for name in OPERATORS))


@pytest.mark.parametrize(("file", "line"), BARRIERS, ids=lambda v: str(v).rpartition("/")[2])
def test_a_barrier_that_is_missing_shows(machine, file, line):
    """In the result of some order, or in what the machine says: a kernel that worked without it would not need it."""
    concerned = [name for name in OPERATORS if (file, line) in found(name)[2]]

    def goes_unnoticed(name: str, order: int) -> bool:
        try:
            with machine.without_barrier(file, line), machine.in_place(order):
                same = same_bytes(left_by(name), found(name)[0])
        except Reported:
            return False
        except RuntimeError as error:
            if "emulated kernel" not in str(error):
                raise
            return False
        # ThreadSanitizer needs no luck.
        assert KIND != "thread", name
        return same

    # Of each operator: two may come to one barrier of a header.
    for name in concerned:
        assert not all(goes_unnoticed(name, order) for order in (FORWARD, REVERSE, *RANDOM)), name
