"""Polar map and seventeen segments of a short-axis stack, given where its ventricle lies (`ventricle`).

Along the outward normal of each point of the wall's middle the largest count within the wall is taken. Segments follow
Cerqueira et al. 2002 (AHA).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import percentile
from spectac_fast.evaluate.regional.ventricle import Spacing, Ventricle, interpolate

LEVELS, ANGLES = 24, 72
SEGMENT_NAMES = (
    "basal anterior", "basal anteroseptal", "basal inferoseptal",
    "basal inferior", "basal inferolateral", "basal anterolateral",
    "mid anterior", "mid anteroseptal", "mid inferoseptal",
    "mid inferior", "mid inferolateral", "mid anterolateral",
    "apical anterior", "apical septal", "apical inferior", "apical lateral", "apex",
)  # fmt: skip
# The wall is sought no farther out than the wall itself plus half a voxel, so a hot liver beside it is not taken for
# myocardium.
_BEYOND_WALL_MM = 3.4
_RINGS = (
    (0.0, 0.34, 60, range(60, 420, 60)),
    (0.34, 0.62, 60, range(60, 420, 60)),
    (0.62, 0.87, 90, range(45, 405, 90)),
)


def segment_map() -> NDArray[np.int64]:
    """[24 levels base -> apex, 72 angles] of segment numbers 1..17; angle 0 is lateral, 90 anterior, 180 septal, 270
    inferior.
    """
    level = (np.arange(LEVELS) + 0.5) / LEVELS
    angle = np.arange(ANGLES) * 360.0 / ANGLES
    out = np.full((LEVELS, ANGLES), 17)
    number = 1
    for low, high, width, starts in _RINGS:
        for start in starts:
            inside = (angle - start) % 360 < width
            out[np.ix_((level >= low) & (level < high), inside)] = number
            number += 1
    return out


def polar_map(
    stack: NDArray[np.floating], ventricle: Ventricle, spacing_mm: Spacing, *, order: int = 1
) -> NDArray[np.float64]:
    """Largest count within the wall, [24 levels base -> apex, 72 angles].

    stack: SA counts [slices apex -> base, rows, columns]; spacing_mm: (slice, row, column); order: of interpolation.
    Levels are equal steps of the ellipse's parameter: equal steps of the long axis where the wall is like a cylinder,
    and of the polar angle near the apex.
    """
    reach = 0.5 * ventricle.wall_mm + _BEYOND_WALL_MM
    phi = 2 * math.pi * np.arange(ANGLES) / ANGLES
    points = ventricle.rays(ventricle.levels(LEVELS), phi, np.linspace(-reach, reach, 9))
    return interpolate(stack, spacing_mm, points, order).max(0)


def percent_of_maximum(polar: NDArray[np.float64]) -> NDArray[np.float64]:
    """A polar map in percent of its own 99th percentile."""
    return 100 * polar / percentile(polar, 99)


def means(polar: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means [17] of a map [24, 72] over the segments."""
    segments = segment_map()
    return np.array([polar[segments == k].mean() for k in range(1, 18)])


def segment_means(
    stack: NDArray[np.floating], ventricle: Ventricle, spacing_mm: Spacing = (6.8, 6.8, 6.8)
) -> NDArray[np.float64]:
    """Mean uptake of the 17 AHA segments in percent of the 99th percentile of the polar map. Arguments as
    `polar_map`.
    """
    return means(percent_of_maximum(polar_map(stack, ventricle, spacing_mm)))
