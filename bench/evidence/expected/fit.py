"""The process of `spectac_fast.cohort.expected_error`, fitted, and what it says of patients it has not seen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.evidence.expected.studies import Studies
from spectac_fast.cohort.expected_error import Expectation, kernel, scaled

FOLDS = 8
LENGTHS, SLOPES, NOISES = (0.5, 0.7, 1.0, 1.5, 2.5), (0.0, 0.3, 1.0), (0.1, 0.3, 1.0)
# An error of nothing has no logarithm; this much of the maximum nobody can tell from nothing.
LEAST = 0.2
# Studies whose correction leaves less than this of NC's error, and less than so many % of the maximum, are good.
GOOD_SHARE, GOOD_ERROR = 0.8, 3.0
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Shape:
    """What the data choose of the process."""

    length: float
    slope: float
    noise: float


def logs(errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of errors in % of the maximum."""
    return np.log(np.maximum(errors, LEAST))


def moments(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations of the features, what is not known left out; 0 and 1 where nothing is."""
    known = np.isfinite(features).any(axis=0)
    means, scales = np.zeros(len(known)), np.ones(len(known))
    means[known] = np.nanmean(features[:, known], axis=0)
    scales[known] = np.maximum(np.nanstd(features[:, known], axis=0), 1e-6)
    return means, scales


def fitted(
    at: NDArray[np.float64], errors: NDArray[np.float64], shape: Shape
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(weights [m, 2], level [2]) of the process through the logarithms of the errors at scaled features."""
    wanted = logs(errors)
    level = wanted.mean(axis=0)
    known = kernel(at, at, shape.length, shape.slope) + shape.noise * np.eye(len(at))
    return np.linalg.solve(known, wanted - level), level


def unseen(studies: Studies, shape: Shape) -> NDArray[np.float64]:
    """Logarithms of the errors [n, 2] that a process fitted on the patients of the other folds expects."""
    found = np.empty_like(studies.errors)
    for fold in range(FOLDS):
        out = studies.patients % FOLDS == fold
        if out.any():
            found[out] = expected(studies.where(~out), studies.features[out], shape)
    return found


def expected(known: Studies, features: NDArray[np.float64], shape: Shape) -> NDArray[np.float64]:
    """Logarithms of the errors [n, 2] that a process fitted on `known` expects at these features."""
    means, scales = moments(known.features)
    at = scaled(known.features, means, scales)
    weights, level = fitted(at, known.errors, shape)
    return level + kernel(scaled(features, means, scales), at, shape.length, shape.slope) @ weights


def chosen(studies: Studies) -> Shape:
    """The shape whose expectations of unseen patients are nearest to their errors."""
    shapes = [Shape(*values) for values in itertools.product(LENGTHS, SLOPES, NOISES)]
    wanted = logs(studies.errors)
    return min(shapes, key=lambda shape: float(np.square(unseen(studies, shape) - wanted).mean()))


def limits(studies: Studies, found: NDArray[np.float64]) -> tuple[float, float]:
    """The corrected error, %, and the logarithm of its ratio to NC's above which there is a warning: each exceeded by
    half of `FALSE_ALARMS` of the good studies, by what is expected of them unseen.
    """
    quantile = 1 - FALSE_ALARMS / 2
    own = found[good(studies)]
    return float(np.exp(np.quantile(own[:, 0], quantile))), float(np.quantile(own[:, 0] - own[:, 1], quantile))


def good(studies: Studies) -> NDArray[np.bool_]:
    """Where the correction is well worth having."""
    corrected, uncorrected = studies.errors.T
    return (corrected < GOOD_SHARE * uncorrected) & (corrected < GOOD_ERROR)


def harmful(studies: Studies) -> NDArray[np.bool_]:
    """Where the corrected image is no better than NC."""
    corrected, uncorrected = studies.errors.T
    return corrected >= uncorrected


def warned(found: NDArray[np.float64], limit: tuple[float, float]) -> NDArray[np.bool_]:
    """Where `ExpectedError.warning` would say something."""
    return (found[:, 0] > np.log(limit[0])) | (found[:, 0] - found[:, 1] > limit[1])


def refused(found: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a study is refused because nothing seems to be left to correct."""
    return np.array([Expectation(*row).nothing_to_correct for row in np.exp(found)], bool)


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, NaN where there is only one kind."""
    high, low = scores[positive], np.sort(scores[~positive])
    if not len(high) or not len(low):
        return float("nan")
    below = (np.searchsorted(low, high, "left") + np.searchsorted(low, high, "right")) / 2
    return float(below.mean() / len(low))
