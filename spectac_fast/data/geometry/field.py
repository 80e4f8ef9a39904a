"""How far a stack reaches around its middle: its grid, or a box or circle within it with zeros put around.

Zeros are also what air holds, and what lies beyond the ends of a volume that was cut obliquely. Zeros that were put
around the heart are told from these by their edge. There are counts right up to it, and it lies at the same pixels in
most slices; the ends of a volume do so in VLA too, but as lines that are oblique to the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

# What counts at an edge count as, relative to the phase's scale; soft tissue holds 0.1 to 0.3.
_EDGE = 0.03
# Of an edge that is one. Of 438 stacks of the cohort in SA and HLA none has more than 34 mm.
_LONG_MM = 100.0
# Share of its pixels that lie on the sides of a box: at least 0.78 up to 326 mm, of the ends of a volume at most 0.2.
_ON_SIDES = 0.5
# Standard deviation of their distance from a circle, pixels: at most 0.3 up to 326 mm, else at least 0.6.
_OFF_CIRCLE = 0.45


@dataclass(frozen=True, eq=False)
class Field:
    """across_mm: twice the distance from the middle of the grid to where counts end. inside: bool [rows, columns], the
    pixels that zeros were put around, or None where counts end with the grid.
    """

    across_mm: float
    inside: NDArray[np.bool_] | None = None


def field_of(counts: NDArray[np.float32], pixel_mm: tuple[float, float], scale: float, plane: str) -> Field:
    """The field of a stack [slices, rows, columns].

    pixel_mm: (row, column). scale: counts that map to +1 (`data.scale.count_scale`).
    """
    whole = Field(min(n * mm for n, mm in zip(counts.shape[1:], pixel_mm)))
    held = counts.any(axis=0)
    if held.all() or not held.any():
        return whole
    inside = _spanned(held)
    edge = inside & binary_dilation(~inside)
    slices = counts[counts.any(axis=(1, 2))]
    sharp = np.zeros_like(inside)
    sharp[edge] = (slices[:, edge] > _EDGE * scale).mean(axis=0) >= 0.5
    at = np.argwhere(sharp)
    if len(at) * min(pixel_mm) < _LONG_MM or (plane == "VLA" and not (_box(at, inside) or _circle(at))):
        return whole
    away = (at - (np.array(inside.shape) - 1) / 2) * pixel_mm
    return Field(2.0 * float(np.hypot(*away.T).min()) + min(pixel_mm), inside)


def _spanned(held: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels between the first and the last that are held, along their row and along their column."""
    rows = np.logical_or.accumulate(held, 1) & np.logical_or.accumulate(held[:, ::-1], 1)[:, ::-1]
    columns = np.logical_or.accumulate(held, 0) & np.logical_or.accumulate(held[::-1], 0)[::-1]
    return rows & columns


def _box(at: NDArray[np.int64], inside: NDArray[np.bool_]) -> bool:
    """Whether pixels (row, column) lie on the sides of the box around what is inside."""
    box = np.argwhere(inside)
    return bool(((at == box.min(axis=0)) | (at == box.max(axis=0))).any(axis=1).mean() > _ON_SIDES)


def _circle(at: NDArray[np.int64]) -> bool:
    """Whether pixels (row, column) lie on a circle, by least squares: r^2 = 2 a.x + c (Kasa 1976)."""
    (a, b, c), *_ = np.linalg.lstsq(np.c_[2 * at, np.ones(len(at))], (at**2).sum(axis=1), rcond=None)
    return bool((np.hypot(*(at - (a, b)).T) - np.sqrt(max(c + a * a + b * b, 0))).std() < _OFF_CIRCLE)
