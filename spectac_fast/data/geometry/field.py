"""How far a stack reaches around its middle, and whether the patient goes on where it ends.

A field ends with the grid, with padding, or with a box or circle that zeros were put around. Zeros are also what air
holds, and what lies beyond the ends of a volume that was cut obliquely. Zeros that were put around the heart are told
from these by their edge: there are counts right up to it, and it lies at the same pixels in most slices. The ends of a
volume do so in VLA too, but as lines that are oblique to the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from spectac_fast.data.scale import count_scale
from spectac_fast.formats.series import Series

# What counts at an edge count as, relative to the stack's scale; soft tissue holds 0.1 to 0.3.
_EDGE = 0.03
# Of an edge that is one; no stack of 85 whole patients has any of a box or a circle so long.
_LONG_MM = 100.0
# Standard deviation of its distance from a circle, pixels.
_OFF_CIRCLE = 0.45


@dataclass(frozen=True, eq=False)
class Field:
    """What a stack shows of the patient.

    across_mm: twice the distance from the middle of the grid to where it ends. inside: bool [slices, rows, columns],
    False where padding or zeros were put around; None where there are none. ends_within: whether the patient goes on
    beyond it.
    """

    across_mm: float
    inside: NDArray[np.bool_] | None
    ends_within: bool

    def bounded(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """`values` [slices, rows, columns] with 0 outside the field."""
        return values if self.inside is None else np.where(self.inside, values, np.float32(0))


def field_of(series: Series) -> Field:
    """The field of a series, from its padding and its counts."""
    counts, shape = series.counts, series.counts.shape
    padded = None if series.padding is None else ~np.isnan(series.padding)
    inside = np.ones(shape[1:], bool) if padded is None else ~np.all(padded, axis=0)
    try:
        scale = count_scale(counts, series.spacing_mm)
    except ValueError:
        # Nothing can be corrected either; that is said where the scale is needed.
        return Field(_across(inside, series.pixel_mm), None if padded is None else ~padded, False)
    zeroed = _zeroed(counts, scale, series.pixel_mm)
    if zeroed is not None:
        inside = inside & zeroed
    ends = _sharp(counts, inside, scale).sum() * min(series.pixel_mm) >= _LONG_MM
    known = np.broadcast_to(inside, shape) if padded is None else inside & ~padded
    return Field(_across(inside, series.pixel_mm), None if known.all() else known, bool(ends))


def _across(inside: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> float:
    """Twice the distance, mm, from the middle of a grid to the nearest pixel that is not inside."""
    away = np.argwhere(~np.pad(inside, 1)) - (np.array(inside.shape) + 1) / 2
    # The two pixels beside the middle of an even number are straight away from it.
    away[np.abs(away) <= 0.5] = 0.0
    return 2.0 * float(np.hypot(*(away * pixel_mm).T).min()) - min(pixel_mm)


def _zeroed(counts: NDArray[np.float32], scale: float, pixel_mm: tuple[float, float]) -> NDArray[np.bool_] | None:
    """Pixels [rows, columns] that zeros were put around, None where there are no such zeros."""
    held = np.any(counts, axis=0)
    if held.all() or not held.any():
        return None
    sharp = _sharp(counts, _spanned(held), scale)
    rows = _sides(np.any(held, axis=1), sharp.sum(axis=1) * pixel_mm[1])
    columns = _sides(np.any(held, axis=0), sharp.sum(axis=0) * pixel_mm[0])
    box = np.zeros_like(held)
    box[rows, columns] = True
    return _circle(sharp & _within(held.shape), pixel_mm) if box.all() else box


def _sides(held: NDArray[np.bool_], edges_mm: NDArray[np.float64]) -> slice:
    """From where to where a box reaches along an axis: what is held there, but to the end of the grid where the edge,
    of so many mm along the other axis, is none.
    """
    first, last = np.flatnonzero(held)[[0, -1]]
    return slice(
        int(first) if edges_mm[first] >= _LONG_MM else 0, int(last) + 1 if edges_mm[last] >= _LONG_MM else None
    )


def _circle(sharp: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> NDArray[np.bool_] | None:
    """Pixels [rows, columns] in the circle on which others lie, None where these lie on none.

    By least squares: r^2 = 2 a.x + c (Kasa 1976).
    """
    at = np.argwhere(sharp)
    if len(at) * min(pixel_mm) < _LONG_MM:
        return None
    (a, b, c), *_ = np.linalg.lstsq(np.c_[2 * at, np.ones(len(at))], (at**2).sum(axis=1), rcond=None)
    away, radius = np.hypot(*(at - (a, b)).T), np.sqrt(max(c + a * a + b * b, 0.0))
    if (away - radius).std() > _OFF_CIRCLE:
        return None
    y, x = np.indices(sharp.shape)
    return np.hypot(y - a, x - b) <= away.max() + 1e-6


def _sharp(counts: NDArray[np.float32], inside: NDArray[np.bool_], scale: float) -> NDArray[np.bool_]:
    """The outermost pixels that are inside and hold counts in most slices that have any."""
    edge = inside & ~binary_erosion(inside)
    slices = counts[counts.any(axis=(1, 2))]
    sharp = np.zeros_like(inside)
    sharp[edge] = (slices[:, edge] > _EDGE * scale).mean(axis=0) >= 0.5
    return sharp


def _within(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels that do not lie at the end of a grid."""
    return binary_erosion(np.ones(shape, bool))


def _spanned(held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels between the first and the last that are held, along their row and along their column."""
    rows = np.logical_or.accumulate(held, 1) & np.logical_or.accumulate(held[:, ::-1], 1)[:, ::-1]
    columns = np.logical_or.accumulate(held, 0) & np.logical_or.accumulate(held[::-1], 0)[::-1]
    return rows & columns
