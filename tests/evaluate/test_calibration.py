"""Calibration on errors whose true deviation is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from spectac_fast.evaluate.calibration import CURVE, LEVELS, Voxels, coverage, deviation, fit, judge


def patients(seed, temperature, floor, count=6, voxels=4000):
    """Errors that are normal with the deviation of that calibration."""
    rng = np.random.default_rng(seed)
    spreads = [np.exp(rng.normal(-2.5, 0.6, voxels)).astype(np.float32) for _ in range(count)]
    return [Voxels(rng.normal(0.0, np.hypot(temperature * s, floor)).astype(np.float32), s) for s in spreads]


@pytest.mark.parametrize(("temperature", "floor"), [(1.0, 0.0), (2.3, 0.0), (0.6, 0.2)])
def test_the_calibration_is_found_again(temperature, floor):
    known = patients(1, temperature, floor)
    found = fit(known, with_floor=floor > 0)
    # 24 000 voxels know a deviation within 0.5 %; where two parameters share the work, each within a few times that.
    sigma = deviation(known[0].spread, temperature, floor)
    np.testing.assert_allclose(deviation(known[0].spread, *found), sigma, rtol=0.08 if floor else 0.03)
    others = patients(2, temperature, floor)
    assert judge(others, *found).worst < 0.012
    assert judge(others, 2.0 * found[0], 2.0 * found[1]).worst > 0.2


def test_figures_of_errors_that_are_as_announced():
    known = patients(3, 1.5, 0.05)
    figures = judge(known, 1.5, 0.05)
    assert (figures.patients, figures.voxels) == (6, 24_000)
    for found, level in zip(figures.coverage, LEVELS):
        assert abs(found.value - level) < 4 * np.sqrt(level * (1 - level) / 24_000)
        assert found.low <= found.value <= found.high
    assert figures.calibration_error.value < 0.01
    # Of an error that is as announced, root mean square and sharpness agree.
    assert figures.rmse.value == pytest.approx(figures.sharpness.value, rel=0.03)
    assert 0.2 < figures.correlation.value < 0.8
    # Twice the deviation: coverage is that of twice the quantile, exactly what the normal distribution says.
    wide = judge(known, 3.0, 0.1)
    np.testing.assert_allclose(wide.curve, 2 * norm.cdf(2 * norm.ppf((1 + np.array(CURVE)) / 2)) - 1, atol=0.012)


def test_coverage_counts_voxels():
    voxels = Voxels(np.array([0.0, 0.5, -1.0, 3.0]), np.ones(4))
    assert coverage(voxels, 1.0, 0.0, (0.01, 0.5, 0.9, 0.999)).tolist() == [0.25, 0.5, 0.75, 1.0]


def test_what_cannot_be_calibrated():
    with pytest.raises(ValueError, match="at least one patient"):
        fit([], with_floor=False)
    with pytest.raises(ValueError, match="finite"):
        fit([Voxels(np.array([0.1, np.nan]), np.ones(2))], with_floor=True)
    constant = [Voxels(np.random.default_rng(k).normal(size=50), np.ones(50)) for k in range(3)]
    assert judge(constant, 1.0, 0.0).correlation.value == 0.0
