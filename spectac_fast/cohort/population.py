"""How far an NC series lies from the population that a model was trained on, by plain numbers read off its slices.

A model says nothing sensible of what it has never seen, and does not know it. Each series is summed up in a few numbers
(`FEATURES`): where the counts lie, how coarse the noise is, how much the middle of the stack looks like that of the
population. Their Mahalanobis distance from the population's mean, per plane, is the score; above the limit, which
almost no series of the population exceeds, a series is foreign.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.geometry.resample import linear_weights
from spectac_fast.data.scale import heart_mask
from spectac_fast.data.spread import SpreadPopulation, spread_from_json, spread_to_json
from spectac_fast.errors import InputError

FORMAT = 1
# (what it is called in a sentence) by name; the order is that of the arrays in the file.
FEATURES = {
    "likeness": "the shape of its middle",
    "slices_order": "the order of its slices",
    "rows_order": "its up and down",
    "columns_order": "its left and right",
    "slice_centre": "where along the stack the counts lie",
    "row_centre": "where in the rows the counts lie",
    "column_centre": "where in the columns the counts lie",
    "contrast": "the contrast of the heart region",
    "outside": "the counts outside the heart region",
    "hottest": "its hottest voxel",
    "noise": "the noise within slices",
    "slice_noise": "the noise from slice to slice",
    "coarse": "its coarse detail",
    "middle": "its middle detail",
    "fine": "its fine detail",
}
# The numbers of the features that compare a stack with itself turned over along slices, rows and columns.
_TURNS = (1, 2, 3)
# The population's mean stack is kept on this grid about the centre.
TEMPLATE_SHAPE, TEMPLATE_MM = (7, 9, 9), 13.6
# Periods in mm between which detail is coarse, middle and fine; below the last lies nothing that a camera resolves.
_BANDS_MM = (80.0, 45.0, 28.0, 18.0)
_WINDOW_MM = 218.0
_TINY = 1e-6


@dataclass(frozen=True)
class PlanePopulation:
    """Series of one plane: template [7, 9, 9] of counts over scale, mean [n] and covariance [n, n] of the features,
    and the score that almost none of them exceeds.
    """

    template: NDArray[np.float64]
    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]
    limit: float

    def score(self, features: NDArray[np.float64]) -> float:
        """Mahalanobis distance over the square root of the number of features: about 1 within the population."""
        off = features - self.mean
        return math.sqrt(float(off @ np.linalg.solve(self.covariance, off)) / len(off))

    def strangest(self, features: NDArray[np.float64]) -> str:
        """The name of the feature that is furthest from its mean, in its own standard deviations.

        A stack that looks more like the population turned over is called that before anything else.
        """
        names = list(FEATURES)
        least = min(_TURNS, key=lambda k: features[k])
        if features[least] < 0:
            return names[least]
        return names[int(np.argmax(np.abs(features - self.mean) / np.sqrt(np.diag(self.covariance))))]


@dataclass(frozen=True)
class Population:
    """What is known of a training population: its planes by name, where it comes from, and how far apart a model's
    samples lie in it, if that was measured.
    """

    planes: Mapping[str, PlanePopulation]
    about: str = ""
    spread: SpreadPopulation | None = None

    def score(self, plane: str, stack: NDArray[np.floating], spacing_mm: Sequence[float]) -> tuple[float, float, str]:
        """(score, limit, name of the strangest feature) of a series as a model sees it.

        stack: float [slices, rows, columns] in model units; spacing_mm: of (slice, row, column), mm. A plane that the
        population does not hold is compared with SA. NaN makes the score infinite.
        """
        known = self.planes.get(plane, self.planes["SA"])
        features = describe(stack, spacing_mm, known.template)
        if not np.isfinite(features).all():
            return math.inf, known.limit, "likeness"
        return known.score(features), known.limit, known.strangest(features)

    def warning(self, path: Path, plane: str, stack: NDArray[np.floating], spacing_mm: Sequence[float]) -> str | None:
        """One sentence where a series is foreign to the population, else None."""
        score, limit, strange = self.score(plane, stack, spacing_mm)
        if score <= limit:
            return None
        return (
            f"{path}: unlike what the model was trained on (score {score:.1f}, expected at most {limit:.1f}), "
            f"most in {FEATURES[strange]}; its correction may be wrong."
        )


def template_of(stack: NDArray[np.floating], spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """The middle of a stack in model units as counts over scale on the template's grid, float64 [7, 9, 9]."""
    values = (np.asarray(stack, np.float64) + 1.0) / 2.0
    slices, rows, columns = (
        linear_weights(n, abs(mm), m, TEMPLATE_MM) for n, mm, m in zip(values.shape, spacing_mm, TEMPLATE_SHAPE)
    )
    return np.tensordot(slices, rows @ (values @ columns.T), axes=1)


def describe(
    stack: NDArray[np.floating], spacing_mm: Sequence[float], template: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The `FEATURES` of a stack [slices, rows, columns] in model units, float64."""
    counts = np.maximum((np.asarray(stack, np.float64) + 1.0) / 2.0, 0.0)
    spacing = slice_mm, row_mm, column_mm = [abs(mm) for mm in spacing_mm]
    heart = heart_mask(counts.shape, (slice_mm, row_mm, column_mm))
    inside = counts[heart]
    middle = template_of(stack, spacing_mm)
    likeness = _correlation(middle, template)
    turned = [likeness - _correlation(np.flip(middle, axis), template) for axis in range(3)]
    mean = max(float(inside.mean()), _TINY)
    axes = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(counts.shape, spacing)), indexing="ij")
    centres = [float((axis[heart] * inside).sum() / max(inside.sum(), _TINY)) for axis in axes]
    outside = counts[~heart]
    return np.array(
        [
            likeness,
            *turned,
            *centres,
            float(inside.std()) / mean,
            math.log((float(outside.mean()) if outside.size else 0.0) / mean + _TINY),
            math.log(float(counts.max()) + _TINY),
            math.log(_roughness(counts, heart, (1, 2)) / mean + _TINY),
            math.log(_roughness(counts, heart, (0,)) / mean + _TINY),
            *(math.log(share + _TINY) for share in _bands(counts, spacing)),
        ]
    )


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(math.sqrt(float((a**2).sum() * (b**2).sum())), _TINY))


def _roughness(counts: NDArray[np.float64], heart: NDArray[np.bool_], axes: tuple[int, ...]) -> float:
    """Root mean square of second differences along some axes, within the heart region."""
    total = np.zeros_like(counts)
    for axis in axes:
        own, second = np.moveaxis(counts, axis, 0), np.moveaxis(total, axis, 0)
        second[1:-1] += own[2:] + own[:-2] - 2 * own[1:-1]
    return float(np.sqrt(np.mean(total[heart] ** 2)))


def _bands(counts: NDArray[np.float64], spacing: Sequence[float]) -> list[float]:
    """Shares of the in-plane power of the central slices that lie in each band of `_BANDS_MM`."""
    slices, rows, columns = counts.shape
    near = np.abs((np.arange(slices) - (slices - 1) / 2) * spacing[0]) <= 30.0
    fields = counts[near] if near.any() else counts
    taper = [_taper(n, mm) for n, mm in ((rows, spacing[1]), (columns, spacing[2]))]
    power = np.abs(np.fft.fft2((fields - fields.mean()) * np.outer(*taper))) ** 2
    frequency = np.hypot(np.fft.fftfreq(rows, spacing[1])[:, None], np.fft.fftfreq(columns, spacing[2])[None])
    total = max(float(power.sum()), _TINY)
    edges = [1.0 / mm for mm in _BANDS_MM]
    return [
        float(power[:, (frequency >= low) & (frequency < high)].sum()) / total
        for low, high in itertools.pairwise(edges)
    ]


def _taper(n: int, mm: float) -> NDArray[np.float64]:
    """Hann's window of so many mm about the centre."""
    at = (np.arange(n) - (n - 1) / 2) * mm
    return np.where(np.abs(at) < _WINDOW_MM / 2, 0.5 + 0.5 * np.cos(2 * np.pi * at / _WINDOW_MM), 0.0)


def plane_population(stacks: Sequence[tuple[NDArray[np.floating], Sequence[float]]], share: float) -> PlanePopulation:
    """The population of some series of one plane, given as (stack in model units, spacing).

    share: of the series that may exceed the limit. Raises ValueError for fewer than three times as many series as there
    are features: their covariance would mean nothing.
    """
    if len(stacks) < 3 * len(FEATURES):
        raise ValueError(f"a population needs at least {3 * len(FEATURES)} series, found {len(stacks)}.")
    template = np.mean([template_of(*stack) for stack in stacks], axis=0)
    features = np.stack([describe(*stack, template) for stack in stacks])
    plain = PlanePopulation(template, features.mean(axis=0), np.cov(features.T), math.inf)
    limit = float(np.quantile([plain.score(row) for row in features], 1.0 - share))
    return PlanePopulation(plain.template, plain.mean, plain.covariance, limit)


def population_file(weights: Path) -> Path:
    """Where the population of a weight file lies: beside it."""
    return weights.with_suffix(".population.json")


def to_json(population: Population) -> dict[str, Any]:
    """What the file holds; five digits are more than the population knows."""

    def plain(values: NDArray[np.float64]) -> list[Any]:
        return json.loads(json.dumps(values.tolist()), parse_float=lambda text: float(f"{float(text):.6g}"))

    planes = {
        name: {
            "template": plain(plane.template),
            "mean": plain(plane.mean),
            "covariance": plain(plane.covariance),
            "limit": round(plane.limit, 4),
        }
        for name, plane in population.planes.items()
    }
    content = {"format": FORMAT, "about": population.about, "features": list(FEATURES), "planes": planes}
    return content | ({"spread": spread_to_json(population.spread)} if population.spread else {})


def read_population(path: Path, weights: str = "") -> Population | None:
    """The population of a file, None where there is none. Raises InputError for one that is damaged.

    weights: SHA-256 of the model's; the spread of another model's samples is left out.
    """
    if not path.is_file():
        return None
    count = len(FEATURES)
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT or content["features"] != list(FEATURES):
            raise ValueError(f"format {content['format']!r} or features of another version")
        planes = {}
        for name, plane in content["planes"].items():
            template, mean, covariance = (
                np.array(plane[key], np.float64) for key in ("template", "mean", "covariance")
            )
            if (template.shape, mean.shape, covariance.shape) != (TEMPLATE_SHAPE, (count,), (count, count)):
                raise ValueError(f"arrays of plane {name} of another shape")
            planes[name] = PlanePopulation(template, mean, covariance, float(plane["limit"]))
        if "SA" not in planes:
            raise ValueError("no plane SA")
        spread = spread_from_json(content["spread"]) if "spread" in content else None
        return Population(planes, str(content["about"]), spread if spread and spread.weights == weights else None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected a population, but it cannot be read as one ({error}).") from None
