"""Figures of one image by which attenuation correction shows, whatever its counts, pixels, field and filter.

Without correction, counts from deep in the chest are lost and those from below the skin are not: the wall of the chest
is too bright beside the mediastinum and the heart, and the ventricle falls off towards its inferior and septal walls.
Every figure is a logarithm of a ratio within the image, so counts cancel; everything is smoothed to about 18 mm first,
so that reconstruction filters cancel too.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

# Axes of a stack (slice, row, column) -> axis of the heart (0 base to apex, 1 up, 2 lateral) and its sense, as usual.
_CUSTOMARY = {"SA": ((0, -1), (1, -1), (2, 1)), "VLA": ((2, 1), (1, -1), (0, 1)), "HLA": ((1, 1), (0, -1), (2, 1))}
# The same axes in the patient (LPS), of an ordinary heart: to the left, forward and down; rounded.
_USUAL_AXES = np.array([[0.6, -0.64, -0.48], [0.33, -0.35, 0.88], [0.73, 0.68, 0.0]])

_SMOOTH_MM, _STEP_MM, _REACH_MM = 7.0, 7.0, 105.0
_GRID = np.arange(-_REACH_MM, _REACH_MM + 1, _STEP_MM)
# A ventricle is a bright shell about a darker cavity, with less around it: radii, mm.
_SHELL_MM, _CAVITY_MM, _AROUND_MM, _SEARCH_MM = (17.0, 37.0), (0.0, 11.0), (44.0, 60.0), 60.0
_PLACE_SD_MM = 40.0
_WALL_MM, _BACKGROUND_MM, _CONE_DEG = (16.0, 40.0), (52.0, 73.0), 35.0
_RADII = np.arange(0.0, 77.0, 4.0)
_FLOOR = 0.03
# Directions (base to apex, up, lateral) of what is compared with the heart: in front lies the wall of the chest, below
# the skin, and behind the mediastinum, deep inside.
_AROUND = {
    "front left": (0, 1, 1),
    "front right": (1, 1, -1),
    "mediastinum": (-1, 1, -1),
    "behind right": (-1, 0, -1),
}
_WALLS = {
    "inferior": (0, -1, 0),
    "anterior": (0, 1, 0),
    "septal": (0, 0, -1),
    "lateral": (0, 0, 1),
    "basal": (-1, 0, 0),
}
NAMES = (*_AROUND, "inferior/anterior", "septal/lateral", "basal", "cavity")


def figures(
    counts: NDArray, plane: str, spacing_mm: tuple[float, float, float], directions: NDArray | None = None
) -> NDArray[np.float64] | None:
    """The figures `NAMES` of a stack of slices, or None where no heart of one's usual place and size is in the field.

    counts: [slices, rows, columns] of plane "SA", "VLA" or "HLA", in any unit. spacing_mm: (slice, row, column), all
    positive. directions: unit vectors (LPS) along slices, rows' index and columns' index, [3, 3], where they are known;
    otherwise the stack is taken to lie as is customary. A figure whose surroundings lie outside the field, or where the
    field was blanked, is NaN.
    """
    counts = np.maximum(np.asarray(counts, np.float64), 0)
    if plane not in _CUSTOMARY or not np.isfinite(counts).all() or not (counts > 0).any():
        return None
    volume = _about_the_centre(counts, spacing_mm, _axes(plane, directions))
    rays = _rays(volume, _centre(volume))
    wall = np.nanmax(np.where(_between(_RADII, _WALL_MM)[:, None], rays, -np.inf), axis=0, initial=-np.inf)
    wall[~np.isfinite(wall)] = np.nan
    if np.isnan(wall).mean() > 0.5 or not np.nanpercentile(wall, 80) > 0:
        return None
    level = np.nanpercentile(wall, 80)
    around = rays[_between(_RADII, _BACKGROUND_MM)] / level
    found = [_log(_mean(around[:, _cone(direction)])) for direction in _AROUND.values()]
    walls = {name: _log(_mean(wall[_cone(direction)] / level)) for name, direction in _WALLS.items()}
    cavity = _log(_mean(rays[:2] / level))
    found += [walls["inferior"] - walls["anterior"], walls["septal"] - walls["lateral"], walls["basal"], cavity]
    return np.array(found)


def _axes(plane: str, directions: NDArray | None) -> list[tuple[int, int]]:
    axes = list(_CUSTOMARY[plane])
    if directions is None:
        return axes
    along = [float(np.asarray(directions[k]) @ _USUAL_AXES[axis]) for k, (axis, _) in enumerate(axes)]
    # An axis that lies across the usual one tells nothing.
    return [(axis, int(math.copysign(1, a)) if abs(a) > 0.3 else sign) for (axis, sign), a in zip(axes, along)]


def _about_the_centre(counts: NDArray, spacing_mm: tuple[float, float, float], axes: list[tuple[int, int]]) -> NDArray:
    """Smoothed counts on a grid (base to apex, up, lateral) about the stack's centre; NaN outside the field.

    Rows, columns and slices of zeros at the edges are a field that was blanked, not air.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    smooth = gaussian_filter(counts, [_SMOOTH_MM / mm for mm in spacing_mm])
    heart = np.meshgrid(_GRID, _GRID, _GRID, indexing="ij")
    where, inside = [], np.ones(heart[0].shape, bool)
    for k, (axis, sense) in enumerate(axes):
        index = sense * heart[axis] / spacing_mm[k] + (counts.shape[k] - 1) / 2
        filled = np.flatnonzero((counts > 0).any(axis=tuple(other for other in range(3) if other != k)))
        inside &= (index >= filled[0] - 0.5) & (index <= filled[-1] + 0.5)
        where.append(index)
    return np.where(inside, map_coordinates(smooth, where, order=1, mode="nearest"), np.nan)


def _centre(volume: NDArray) -> NDArray[np.float64]:
    """Where a ventricle is most likely, mm from the grid's centre: contrast of a shell, times a prior on the place."""
    from scipy.signal import fftconvolve

    counts = np.nan_to_num(volume)
    # Liver and gut may be far brighter than the heart.
    counts = np.minimum(counts, np.percentile(counts, 99.5))
    shell, cavity, around = (fftconvolve(counts, kernel, mode="same") for kernel in _kernels())
    with np.errstate(invalid="ignore", divide="ignore"):
        contrast = (shell - (cavity + around) / 2) / (shell + (cavity + around) / 2 + 0.2 * counts.max())
    squared = sum(axis**2 for axis in np.meshgrid(_GRID, _GRID, _GRID, indexing="ij"))
    score = contrast * np.exp(-squared / (2 * _PLACE_SD_MM**2))
    best = np.unravel_index(np.argmax(np.where(squared < _SEARCH_MM**2, score, -np.inf)), score.shape)
    return _GRID[list(best)]


@functools.cache
def _kernels() -> tuple[NDArray[np.float64], ...]:
    """Means over the shell of a ventricle's wall, over its cavity and over what is around it."""
    steps = np.arange(-63.0, 64.0, _STEP_MM)
    radius = np.sqrt(sum(axis**2 for axis in np.meshgrid(steps, steps, steps, indexing="ij")))
    parts = [_between(radius, limits) for limits in (_SHELL_MM, _CAVITY_MM, _AROUND_MM)]
    return tuple(part / part.sum() for part in parts)


@functools.cache
def _sphere(count: int = 600) -> NDArray[np.float64]:
    """Evenly spread unit vectors [count, 3] (Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + math.sqrt(5)) * k
    return np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], axis=1)


@functools.cache
def _cone(direction: tuple[int, int, int]) -> NDArray[np.bool_]:
    return _sphere() @ (np.array(direction) / np.linalg.norm(direction)) > math.cos(math.radians(_CONE_DEG))


def _rays(volume: NDArray, centre: NDArray) -> NDArray[np.float64]:
    """Counts along rays from the centre, [radii, directions]."""
    from scipy.ndimage import map_coordinates

    points = centre[:, None, None] + _sphere().T[:, None, :] * _RADII[None, :, None]
    return map_coordinates(volume, (points + _REACH_MM) / _STEP_MM, order=1, mode="constant", cval=np.nan)


def _between(values: NDArray, limits: tuple[float, float]) -> NDArray[np.bool_]:
    return (values >= limits[0]) & (values < limits[1])


def _mean(values: NDArray) -> float:
    """The mean of what lies in the field, NaN where most does not."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size >= values.size / 3 else math.nan


def _log(ratio: float) -> float:
    return math.log(max(ratio, 0.0) + _FLOOR)
