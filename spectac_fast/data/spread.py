"""How far apart a model's samples lie in the heart region, against how far they lie in its training population.

Where a model knows little, its samples of AC differ. Their spread in the heart region is summed up in one number, the
root mean square over the voxels of a few central slices; its logarithm is nearly normal over a population, and a series
far off on either side is unlike those the model was trained on. It takes samples, so it is only known where the
standard deviation was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import heart_mask

# The slices that are looked at lie so far apart, the middle one in the middle of the stack.
SLICES, APART_MM = 3, 20.0
# A plane's mean and standard deviation mean nothing with fewer series.
_FEWEST = 20
_TINY = 1e-6


@dataclass(frozen=True)
class SpreadPopulation:
    """Spread of a model's samples over a population.

    planes: (mean, standard deviation) of the logarithm of `heart_spread`, by plane. limit: how many of these standard
    deviations a series may lie off. samples: how many were drawn of each slice. weights: SHA-256 of the model's.
    """

    planes: Mapping[str, tuple[float, float]]
    limit: float
    samples: int
    weights: str
    about: str = ""

    def score(self, plane: str, spread: float) -> float:
        """How many standard deviations a series' `heart_spread` lies above the mean; planes not held count as SA."""
        mean, deviation = self.planes.get(plane, self.planes["SA"])
        return (math.log(max(spread, _TINY)) - mean) / deviation if math.isfinite(spread) else math.inf

    def warning(self, path: Path, plane: str, spread: float) -> str | None:
        """One sentence where the samples of a series lie unusually far apart, or close together, else None."""
        score = self.score(plane, spread)
        if abs(score) <= self.limit:
            return None
        mean, deviation = self.planes.get(plane, self.planes["SA"])
        low, high = (50.0 * math.exp(mean + k * self.limit * deviation) for k in (-1, 1))
        how = "further apart" if score > 0 else "closer together"
        return (
            f"{path}: the model's samples lie {how} than in what it was trained on (in the heart region "
            f"{50.0 * spread:.1f} % of the scale, expected {low:.1f} to {high:.1f} %); its correction may be wrong."
        )


def central_slices(count: int, slice_mm: float) -> NDArray[np.int64]:
    """The numbers of the slices that are looked at, increasing, of a stack of `count`."""
    steps = (np.arange(SLICES) - (SLICES - 1) / 2) * APART_MM / abs(slice_mm)
    return np.unique(np.clip(np.floor(count / 2 + steps), 0, count - 1).astype(np.int64))


def heart_spread(spread: NDArray[np.floating], shape: Sequence[int], spacing_mm: Sequence[float]) -> float:
    """Root mean square of the spread of samples, model units, within 60 mm of the centre of a stack.

    spread: [`central_slices`, rows, columns] of a stack of this shape; spacing_mm: of (slice, row, column). A slice
    that lies outside the region counts for nothing; NaN where there is none inside.
    """
    taken = central_slices(shape[0], spacing_mm[0])
    slices, rows, columns = shape
    slice_mm, row_mm, column_mm = (abs(mm) for mm in spacing_mm)
    heart = heart_mask((slices, rows, columns), (slice_mm, row_mm, column_mm))[taken]
    inside = np.asarray(spread, np.float64)[heart]
    return math.sqrt(float(np.mean(np.square(inside)))) if inside.size else math.nan


def spread_population(
    spreads: Mapping[str, Sequence[float]], share: float, *, samples: int, weights: str, about: str = ""
) -> SpreadPopulation:
    """The population of the `heart_spread` of some series of each plane.

    share: of the population that may lie beyond the limit, if logarithms are normal. Raises ValueError for fewer than
    20 series of a plane, or spreads that are not positive and finite.
    """
    from scipy.stats import norm

    planes = {}
    for plane, values in spreads.items():
        if len(values) < _FEWEST:
            raise ValueError(f"the spread of plane {plane} needs at least {_FEWEST} series, found {len(values)}.")
        logs = np.log(np.asarray(values, np.float64))
        if not np.isfinite(logs).all():
            raise ValueError(f"the spreads of plane {plane} must be positive and finite.")
        planes[plane] = float(logs.mean()), float(logs.std(ddof=1))
    return SpreadPopulation(planes, float(norm.ppf(1.0 - share / 2.0)), samples, weights, about)


def spread_to_json(known: SpreadPopulation) -> dict[str, Any]:
    """What a file holds of it."""
    planes = {name: [round(value, 5) for value in pair] for name, pair in known.planes.items()}
    return {
        "about": known.about,
        "weights_sha256": known.weights,
        "samples": known.samples,
        "limit": round(known.limit, 4),
        "log_mean_and_deviation": planes,
    }


def spread_from_json(content: Mapping[str, Any]) -> SpreadPopulation:
    """The inverse; KeyError, TypeError or ValueError for what is none."""
    planes = {name: (float(mean), float(off)) for name, (mean, off) in content["log_mean_and_deviation"].items()}
    limit = float(content["limit"])
    if "SA" not in planes or limit <= 0 or any(not (math.isfinite(m) and off > 0) for m, off in planes.values()):
        raise ValueError("no plane SA, or spreads that are not numbers")
    return SpreadPopulation(
        planes, limit, int(content["samples"]), str(content["weights_sha256"]), str(content["about"])
    )
