"""The count scale: one number, the same whatever numpy there is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from spectac_fast.data.scale import SCALE_PERCENTILE, count_scale, heart_mask, percentile


def by_hand(values: np.ndarray, share: float) -> float:
    """Linear between neighbours, in exact arithmetic."""
    ordered = np.sort(values, axis=None)
    place = Fraction(share) / 100 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    below, above = Fraction(float(ordered[low])), Fraction(float(ordered[high]))
    return float(below + (above - below) * (place - low))


@pytest.mark.parametrize("count", [1, 2, 7, 1000, 13_001, 100_003])
def test_percentiles_of_single_precision_are_those_of_double(fresh, count):
    """numpy 2 finds the place of a percentile of float32 values in float32: of 100 000 it is off by hundredths."""
    values = (1000 * fresh.random(count)).astype(np.float32)
    for share in (98, 99, SCALE_PERCENTILE):
        assert percentile(values, share) == pytest.approx(by_hand(values, share), rel=1e-12)
        assert percentile(values, share) == percentile(values.astype(np.float64), share)


def test_the_scale_is_that_percentile_of_the_heart_region(fresh):
    stack = (300 * fresh.random((29, 64, 64))).astype(np.float32)
    region = stack[heart_mask(stack.shape, (6.8, 6.8, 6.8))]
    assert count_scale(stack, (6.8, 6.8, 6.8)) == pytest.approx(by_hand(region, SCALE_PERCENTILE), rel=1e-12)
    with pytest.raises(ValueError, match="positive, finite counts"):
        count_scale(np.zeros((3, 8, 8), np.float32), (6.8, 6.8, 6.8))
