"""Populations whose spread is known."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy.stats import norm

from spectac_fast.cohort.population import Population, plane_population
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
