"""Whether standard deviations say how large errors are, and the calibration that makes them do so.

For each voxel there are an error e = AC - image and the spread s of the model's samples; a calibration makes
sigma = w sqrt((T s)^2 + f^2) of the spread (models/uncertainty.py), w being one factor for all voxels of a study, a
power of the error that is expected of it. The central interval of nominal probability p is
image +- q(p) sigma, q from the normal distribution, and its coverage is the share of voxels whose AC lies inside.
Voxels of a patient are not independent: every figure is taken per patient and averaged, and bootstrapped over patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import norm, spearmanr

from spectac_fast.evaluate.bootstrap import Estimate, mean, resample

LEVELS = (0.5, 0.8, 0.9, 0.95)
CURVE = tuple(round(0.05 * k, 2) for k in range(1, 20))
# A deviation of nothing would make every error infinitely unlikely; in model units, where the heart's wall is about 2.
_LEAST = 1e-6


@dataclass(frozen=True)
class Voxels:
    """The voxels of one patient: error = AC - image and the samples' spread, each float [n], in model units; widening:
    what all deviations of the patient are multiplied by.
    """

    error: NDArray[np.floating]
    spread: NDArray[np.floating]
    widening: float = 1.0


@dataclass(frozen=True)
class Figures:
    """What a calibration reaches, means over patients with 95 % intervals.

    coverage: of the intervals of `LEVELS`. curve: of those of `CURVE`, values alone. calibration_error: mean distance
    of coverage from nominal over `CURVE`. sharpness: root mean square of sigma, in model units. rmse: of the errors.
    correlation: Spearman's, between |e| and sigma over the voxels of a patient.
    """

    patients: int
    voxels: int
    coverage: tuple[Estimate, ...]
    curve: tuple[float, ...]
    calibration_error: Estimate
    sharpness: Estimate
    rmse: Estimate
    correlation: Estimate

    @property
    def worst(self) -> float:
        """The largest distance of coverage from nominal over `LEVELS`."""
        return max(abs(found.value - level) for found, level in zip(self.coverage, LEVELS))


def deviation(spread: NDArray[np.floating], temperature: float, floor: float) -> NDArray[np.float64]:
    """sigma, float64, of the samples' spread in a usual study."""
    return np.maximum(np.hypot(temperature * np.asarray(spread, np.float64), floor), _LEAST)


def announced(voxels: Voxels, temperature: float, floor: float) -> NDArray[np.float64]:
    """sigma, float64, of a patient's voxels."""
    return voxels.widening * deviation(voxels.spread, temperature, floor)


def coverage(voxels: Voxels, temperature: float, floor: float, levels: Sequence[float]) -> NDArray[np.float64]:
    """Share of a patient's voxels whose error lies within the central interval of each nominal level."""
    z = np.abs(voxels.error) / announced(voxels, temperature, floor)
    limits = norm.ppf((1 + np.asarray(levels)) / 2)
    return np.searchsorted(np.sort(z), limits, side="right") / len(z)


def fit(patients: Sequence[Voxels], *, with_floor: bool) -> tuple[float, float]:
    """(temperature, floor) for some patients, each of whom counts alike.

    Their ratio is that of the largest likelihood of normal errors, which asks for the right deviation in every voxel;
    the common factor is that with which the coverage at `LEVELS` is nearest to nominal (least squares), because real
    errors have longer tails. with_floor: False keeps the floor at 0. Raises ValueError for no patient, or one whose
    values are not finite.
    """
    if not patients:
        raise ValueError("a calibration needs at least one patient, found none.")
    if not all(np.isfinite(v.error).all() and np.isfinite(v.spread).all() for v in patients):
        raise ValueError("a calibration needs errors and spreads that are finite.")
    errors, spreads = (
        np.array([np.mean(np.square(getattr(v, name), dtype=np.float64)) for v in patients])
        for name in ("error", "spread")
    )
    scale = float(np.sqrt(errors.mean() / max(spreads.mean(), _LEAST**2)))
    temperature, floor = scale, 0.0
    if with_floor:
        start = [np.log(scale), np.log(0.5 * np.sqrt(errors.mean()) + _LEAST)]
        found = minimize(lambda logs: _surprise(patients, *np.exp(logs)), start, method="Nelder-Mead")
        temperature, floor = (float(value) for value in np.exp(found.x))

    def miss(log: float) -> float:
        factor = np.exp(log)
        reached = np.mean([coverage(v, factor * temperature, factor * floor, LEVELS) for v in patients], axis=0)
        return float(np.sum((reached - LEVELS) ** 2))

    factor = float(np.exp(minimize_scalar(miss, bounds=(-2.0, 2.0), method="bounded").x))
    return factor * temperature, factor * floor


def fit_widening(patients: Sequence[Voxels], expected: Sequence[float]) -> tuple[float, float]:
    """(exponent, usual) of `Calibration.widening`, for patients of whose studies an error of so many % was expected.

    usual: the geometric mean of what was expected. exponent: slope of the least-squares line of log(root mean square
    error over that of the spread) against log(expected), in which each patient counts alike; 0 where errors do not grow
    with what is expected of them. The patients must be others than those that expectations were fitted on.
    Raises ValueError for fewer than three patients or expectations that are all alike.
    """
    logs = np.log(np.asarray(expected, np.float64))
    if len(patients) < 3 or np.ptp(logs) == 0:
        raise ValueError("a widening needs at least three patients of whom different errors are expected.")
    excess = [
        0.5 * np.log(np.mean(np.square(v.error, dtype=np.float64)) / np.mean(np.square(v.spread, dtype=np.float64)))
        for v in patients
    ]
    slope = float(np.polyfit(logs, excess, 1)[0])
    return max(slope, 0.0), float(np.exp(logs.mean()))


def _surprise(patients: Sequence[Voxels], temperature: float, floor: float) -> float:
    """Minus the mean log likelihood of normal errors, up to a constant."""
    each = []
    for voxels in patients:
        sigma = announced(voxels, temperature, floor)
        each.append(np.mean(0.5 * np.square(voxels.error / sigma) + np.log(sigma)))
    return float(np.mean(each))


def judge(patients: Sequence[Voxels], temperature: float, floor: float, *, seed: int = 0) -> Figures:
    """What a calibration reaches on some patients."""
    indices = resample(len(patients), seed)
    curves = np.stack([coverage(v, temperature, floor, CURVE) for v in patients])
    levels = np.stack([coverage(v, temperature, floor, LEVELS) for v in patients])
    sigmas = [announced(v, temperature, floor) for v in patients]
    drawn = np.abs(curves[indices].mean(axis=1) - CURVE).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(patients) > 1 else (np.nan, np.nan)
    return Figures(
        patients=len(patients),
        voxels=sum(len(v.error) for v in patients),
        coverage=tuple(mean(levels[:, k], indices) for k in range(len(LEVELS))),
        curve=tuple(float(value) for value in curves.mean(axis=0)),
        calibration_error=Estimate(float(np.abs(curves.mean(axis=0) - CURVE).mean()), float(low), float(high)),
        sharpness=_root_mean_square(sigmas, indices),
        rmse=_root_mean_square([v.error for v in patients], indices),
        correlation=mean([_correlation(np.abs(v.error), sigma) for v, sigma in zip(patients, sigmas)], indices),
    )


def _root_mean_square(of_patients: Sequence[NDArray[np.floating]], indices: NDArray[np.integer]) -> Estimate:
    squares = mean([np.mean(np.square(values, dtype=np.float64)) for values in of_patients], indices)
    return Estimate(*(float(np.sqrt(value)) for value in (squares.value, squares.low, squares.high)))


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Spearman's; 0 where one of them is constant and there is nothing to rank."""
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(spearmanr(a, b).statistic)
