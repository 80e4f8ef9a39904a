"""Seventeen-segment uptake of a short-axis stack whose ventricle's geometry is known.

Simple polar sampling for phantoms: the mid-wall ellipsoid of the phantom tells where the myocardium lies; along the
outward normal of each of its points the largest count within the wall is taken. Segments follow Cerqueira et al. 2002
(AHA).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

LEVELS, ANGLES = 24, 72
SEGMENT_NAMES = (
    "basal anterior", "basal anteroseptal", "basal inferoseptal",
    "basal inferior", "basal inferolateral", "basal anterolateral",
    "mid anterior", "mid anteroseptal", "mid inferoseptal",
    "mid inferior", "mid inferolateral", "mid anterolateral",
    "apical anterior", "apical septal", "apical inferior", "apical lateral", "apex",
)  # fmt: skip
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
    stack: NDArray[np.float32], lv: Mapping[str, float], spacing_mm: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Largest count within the wall, [24 levels base -> apex, 72 angles].

    stack: SA counts [slices apex -> base, rows, columns]; lv: a phantom's geometry (`base_long_mm`, `base_up_mm`,
    `base_lateral_mm`: base point from the stack's centre; `equator_mm`, `mid_radius_mm`, `mid_length_mm`, `wall_mm`);
    spacing_mm: (slice, row, column).
    """
    from scipy.ndimage import map_coordinates

    # The wall is sought no farther out than the wall itself plus half a voxel, so a hot liver beside it is not taken
    # for myocardium.
    reach = 0.5 * lv["wall_mm"] + 3.4
    offsets = np.linspace(-reach, reach, 9)[:, None, None]
    a, c, equator = lv["mid_radius_mm"], lv["mid_length_mm"], lv["equator_mm"]
    base = 12.0
    # Levels are equal steps of the long axis over the cylinder-like part and of the polar angle near the apex: equal
    # steps of the
    # ellipse's parameter serve both.
    start = np.arcsin(np.clip((base - equator) / c, -1, 1))
    theta = start + (np.arange(LEVELS) + 0.5) / LEVELS * (np.pi / 2 - start)
    phi = np.radians(np.arange(ANGLES) * 360.0 / ANGLES)
    s, rho = equator + c * np.sin(theta), a * np.cos(theta)
    normal_s, normal_rho = np.sin(theta) / c, np.cos(theta) / a
    length = np.hypot(normal_s, normal_rho)
    s = s[None, :, None] + offsets * (normal_s / length)[None, :, None]
    rho = rho[None, :, None] + offsets * (normal_rho / length)[None, :, None]
    along = lv["base_long_mm"] + s + 0 * phi
    up = lv["base_up_mm"] + rho * np.sin(phi)
    lateral = lv["base_lateral_mm"] + rho * np.cos(phi)
    centre = [(n - 1) / 2 for n in stack.shape]
    position = [
        centre[0] - along / abs(spacing_mm[0]),
        centre[1] - up / spacing_mm[1],
        centre[2] + lateral / spacing_mm[2],
    ]
    return map_coordinates(np.asarray(stack, np.float64), position, order=1).max(0)


def segment_means(
    stack: NDArray[np.float32], lv: Mapping[str, float], spacing_mm: tuple[float, float, float] = (6.8, 6.8, 6.8)
) -> NDArray[np.float64]:
    """Mean uptake of the 17 AHA segments in percent of the 99th percentile of the polar map. Arguments as
    `polar_map`.
    """
    polar = polar_map(stack, lv, spacing_mm)
    percent = 100 * polar / np.percentile(polar, 99)
    segments = segment_map()
    return np.array([percent[segments == k].mean() for k in range(1, 18)])
