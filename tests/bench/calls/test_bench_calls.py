"""What small calls cost: what is compared, and what is said of it."""

from __future__ import annotations

import pytest
import torch

from bench.calls import calls
from bench.calls.calls import Small, page, quickest, raw_of, verdict
from spectac_fast import ops


def test_every_row_runs():
    for small in calls.smalls():
        small.call()
        small.raw()


def test_the_raw_call_is_that_of_the_function():
    x, y = torch.rand(2, 1, 1, 12, 12)
    found = raw_of("slice_metrics", lambda: ops.slice_metrics(x, y, data_range=1.0))
    assert torch.equal(found(), ops.slice_metrics(x, y, data_range=1.0))
    made = []
    found = raw_of("slice_metrics", lambda: ops.slice_metrics(x, y, data_range=1.0), lambda: made.append(1))
    assert torch.equal(found(), ops.slice_metrics(x, y, data_range=1.0))
    assert made == [1]
    with pytest.raises(ValueError, match="unpack"):
        raw_of("slice_metrics", lambda: None)


def test_blocks_take_turns():
    turns = []
    first, second = quickest([lambda: turns.append("a"), lambda: turns.append("b")], 0.0, block=3)
    assert turns == ["a", "b", *"aaabbb"]
    assert first > 0
    assert second > 0


def test_goals_are_judged():
    beyond, eager, comparison = (
        Small("a", "", int, int),
        Small("b", "", int, int, None),
        Small("c", "", int, int, None, 99.0),
    )
    assert verdict(beyond, 5.0, 2.0) == "reached"
    assert verdict(beyond, 6.5, 2.0) == "missed by 1.5 us"
    assert [verdict(eager, call, 2.0) for call in (2.0, 2.1)] == ["reached", "missed"]
    rows = page([(beyond, 6.5, 2.0), (comparison, 5.0, 1.0)], {"machine": "one"}).splitlines()[-2:]
    assert rows == [
        "| a |  | 6.5 | 2.0 | 4.5 | at most 3 us | missed by 1.5 us |",
        "| c |  | 5.0 | 1.0 | 4.0 | - | for comparison |",
    ]
