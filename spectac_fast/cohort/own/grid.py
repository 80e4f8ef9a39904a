"""Pairs of studies on one grid, as training needs them: other pixels are brought to it as `correct` brings them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spectac_fast.cohort.cohort import SeriesKey, reference_plane
from spectac_fast.cohort.own.studies import StudyPairs
from spectac_fast.data.facts import StudyFacts
from spectac_fast.data.geometry.resample import SAME_PIXEL, check_pixels, linear_weights
from spectac_fast.data.scale import count_scale
from spectac_fast.errors import InputError


class OneGrid:
    """`StudyPairs` whose stacks all have one spacing and one size of slices; members as of `PairFolder`.

    spacing_mm: (slice, row, column), None for the commonest of the folder that all others can be brought to. shape:
    (rows, columns), None for the commonest of those with that spacing. Stacks of another spacing are resampled
    linearly; slices of another size are cropped to their middle, or stand in the middle of zeros. Raises InputError for
    pixels that are far from those.
    """

    def __init__(
        self,
        studies: StudyPairs,
        spacing_mm: tuple[float, float, float] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> None:
        grids = studies.grids().most_common()
        self.studies, self.folder, self.kinds, self.cases = studies, studies.folder, studies.kinds, studies.cases
        every = [mm for (*_, mm), _ in grids]
        square = [(depth, min(pixel), min(pixel)) for depth, *pixel in every]
        self.spacing_mm = spacing_mm or next((mm for mm in square if _serves(mm, every)), square[0])
        for mm in every:
            check_pixels(str(self.folder), mm[1:], self.spacing_mm[1])
        fitting = [(rows, columns) for (rows, columns, mm), _ in grids if not _unlike(mm, self.spacing_mm)]
        self.shape: tuple[int, int] = shape or (fitting or [grid[:2] for grid, _ in grids])[0]

    def __len__(self) -> int:
        return len(self.studies)

    def series(self, case: int) -> list[SeriesKey]:
        """(phase, plane) of the pairs of a patient."""
        return self.studies.series(case)

    def pair(self, case: int, phase: str | None, plane: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """NC and AC counts of one pair on the grid."""
        own = self.studies.spacing_of(case, phase, plane)
        nc, ac = (self._on_grid(stack, own) for stack in self.studies.pair(case, phase, plane))
        return nc, ac

    def ideal(self, case: int, phase: str | None, plane: str | None) -> NDArray[np.float32]:
        """Raises InputError: what AC would be without its errors is known of synthetic patients alone."""
        return self.studies.ideal(case, phase, plane)

    def facts_of(self, case: int) -> StudyFacts:
        """What the headers of a patient's series say."""
        return self.studies.facts_of(case)

    def mapped(self, case: int, phase: str | None, plane: str | None) -> None:
        """None: files of their own are no mapped array."""

    def spacing_of(self, case: int, phase: str | None = None, plane: str | None = None) -> tuple[float, float, float]:
        """(slice, row, column) spacing of every stack, mm."""
        return self.spacing_mm

    def scale(self, case: int, phase: str | None) -> float:
        """The phase's count scale: from its NC short-axis stack, or the first plane at hand where there is none."""
        plane = reference_plane(self.series(case), phase)
        return count_scale(self.pair(case, phase, plane)[0], self.spacing_mm)

    def _on_grid(self, stack: NDArray[np.float32], own_mm: tuple[float, float, float]) -> NDArray[np.float32]:
        for axis in _unlike(own_mm, self.spacing_mm):
            stack = _resampled(stack, axis, own_mm[axis], self.spacing_mm[axis])
        for axis, wanted in enumerate(self.shape, 1):
            stack = _central(stack, axis, wanted)
        return np.ascontiguousarray(stack, np.float32)


def _serves(mm: tuple[float, ...], every: Sequence[tuple[float, float, float]]) -> bool:
    """Whether pixels of all spacings can be brought to those of one."""
    try:
        for other in every:
            check_pixels("", other[1:], mm[1])
    except InputError:
        return False
    return True


def _unlike(own_mm: tuple[float, ...], mm: tuple[float, ...]) -> list[int]:
    """The axes along which two spacings differ."""
    return [axis for axis, (a, b) in enumerate(zip(own_mm, mm)) if abs(a / b - 1) > SAME_PIXEL]


def _resampled(stack: NDArray[np.float32], axis: int, own_mm: float, mm: float) -> NDArray[np.float32]:
    n = stack.shape[axis]
    weights = linear_weights(n, own_mm, max(1, round(n * own_mm / mm)), mm)
    return np.moveaxis(np.asarray(np.tensordot(weights, stack, (1, axis)), np.float32), 0, axis)


def _central(stack: NDArray[np.float32], axis: int, wanted: int) -> NDArray[np.float32]:
    """The middle of an axis, or the axis in the middle of zeros; what is odd goes to its end."""
    n = stack.shape[axis]
    if n > wanted:
        first = (n - wanted) // 2
        return stack.take(range(first, first + wanted), axis)
    sides = [(0, 0)] * stack.ndim
    sides[axis] = ((wanted - n) // 2, wanted - n - (wanted - n) // 2)
    return np.pad(stack, sides)
