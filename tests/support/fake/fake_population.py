"""Populations whose spread is known, and errors that are expected by a rule."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import cache

import numpy as np
from fake_study import heart
from scipy.stats import norm

from spectac_fast.cohort.expected_error import ExpectedError, describe_correction, kernel, scaled
from spectac_fast.cohort.population import Population, plane_population
from spectac_fast.data.scale import count_scale, to_model
from spectac_fast.data.spread import spread_population

MM = (6.8, 6.8, 6.8)


def known(share=0.1, weights="w", samples=4):
    """A population whose logarithms have the mean log 0.1 and the deviation 0.2."""
    logs = math.log(0.1) + 0.2 * norm.ppf((np.arange(4000) + 0.5) / 4000)
    return spread_population({"SA": np.exp(logs)}, share, samples=samples, weights=weights)


@cache
def population(weights="w"):
    rng = np.random.default_rng(1)
    planes = {"SA": plane_population([(rng.uniform(-1, 1, (5, 12, 12)), MM) for _ in range(50)], 0.01)}
    return Population(planes, "noise", known(weights=weights))


def shells(rng):
    """A short-axis stack in model units that a heart can be seen in."""
    counts = heart(rng, (15, 40, 40), peak=rng.uniform(300, 900))
    return to_model(counts, count_scale(counts, MM))


@dataclass(frozen=True)
class Measured:
    """An expected error and the studies that it was fitted to."""

    process: ExpectedError
    features: np.ndarray
    errors: np.ndarray


@cache
def expected_error(weights="w", limits=(4.0, 0.0)):
    """Of 30 corrections whose gain was drawn: the more, the larger is their error."""
    rng = np.random.default_rng(2)
    template = np.zeros((7, 9, 9))
    features, errors = [], []
    for _ in range(30):
        nc, gain = shells(rng), rng.uniform(1.0, 3.0)
        ac = (nc + 1) * gain - 1
        features.append(describe_correction(nc, ac, ac, MM, template))
        errors.append((gain, 5.0))
    features, errors = np.array(features), np.array(errors)
    with warnings.catch_warnings():
        # No feature of planes that differ where there is one plane.
        warnings.simplefilter("ignore", RuntimeWarning)
        means, scales = (np.nan_to_num(of(features, axis=0), nan=1.0) for of in (np.nanmean, np.nanstd))
    scales = np.maximum(scales, 1e-6)
    at = scaled(features, means, scales)
    level = np.log(errors).mean(axis=0)
    solved = np.linalg.solve(kernel(at, at, 0.7, 0.5) + 1e-3 * np.eye(30), np.log(errors) - level)
    process = ExpectedError(means, scales, 0.7, 0.5, at, solved, level, limits, template, "shells", weights)
    return Measured(process, features, errors)
