"""Percentile bootstrap over patients (Efron, Ann. Stat. 7:1, 1979).

Patients are the independent units; slices of one patient are not. One set of resamples serves every row and every
metric of a table, so that differences and ratios between rows are paired.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval; the limits are NaN for fewer than two patients, where no interval exists."""

    value: float
    low: float
    high: float

    def separated_from(self, other: Estimate) -> bool:
        """True where the two intervals do not touch. False where either is undefined."""
        return self.high < other.low or other.high < self.low


def resample(patients: int, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Indices int64 [resamples, patients], drawn with replacement by PCG64 from ``seed``.

    Raises:
        ValueError: no patient, or fewer than 2000 resamples, too few for the tails of a 95 % interval.
    """
    if patients < 1:
        raise ValueError("a bootstrap over patients needs at least one patient")
    if resamples < 2000:
        raise ValueError(f"a 95 % interval needs at least 2000 resamples, got {resamples}")
    return np.random.Generator(np.random.PCG64(seed)).integers(0, patients, size=(resamples, patients))


def _estimate(value: float, draws: np.ndarray, patients: int) -> Estimate:
    if patients < 2 or not np.isfinite(draws).all():
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def mean(values: ArrayLike, indices: np.ndarray) -> Estimate:
    """Mean over patients. values: float [patients]; indices: of ``resample``."""
    values = np.asarray(values, dtype=np.float64)
    return _estimate(float(values.mean()), values[indices].mean(axis=1), len(values))


def ratio(numerator: np.ndarray, denominator: np.ndarray, indices: np.ndarray) -> Estimate:
    """Ratio of two means over the same patients, resampled together."""
    top = np.asarray(numerator, dtype=np.float64)
    bottom = np.asarray(denominator, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(np.divide(top.mean(), bottom.mean()))
        draws = top[indices].mean(axis=1) / bottom[indices].mean(axis=1)
    return _estimate(value, draws, len(top))


def difference(first: np.ndarray, second: np.ndarray, indices: np.ndarray) -> Estimate:
    """Mean of first - second over the same patients, resampled together."""
    return mean(np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64), indices)
