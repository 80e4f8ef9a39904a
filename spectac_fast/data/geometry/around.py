"""A stack about a heart, of which a part is known, and what it costs where that part is small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Stack:
    """A stack as the surroundings see it.

    counts: over scale, float32 [slices, rows, columns]. known: bool, alike; False outside of the field. first: float64
    [3], where voxel (0, 0, 0) lies, and steps: float64 [3, 3], where the next along slices, rows and columns does, mm
    along (long axis to the base, up, lateral) from the middle of the volume.
    """

    counts: NDArray[np.float32]
    known: NDArray[np.bool_]
    first: NDArray[np.float64]
    steps: NDArray[np.float64]


class Filling(Protocol):
    """What knows the surroundings of hearts, from a population for one."""

    def filled(self, stacks: Sequence[Stack]) -> list[NDArray[np.float32]]:
        """The counts over scale of the stacks of one volume, filled in where they are not known."""
        ...


@dataclass(frozen=True)
class Expected:
    """What a small field costs: of fields of field_mm, ascending, the error in the heart relative to the full field's.

    mean, worst: over patients, root mean square over voxels above 20 % of the maximum. shape: the mean of what is left
    of it after the one factor that suits a patient's counts best, which no relative reading sees.
    """

    field_mm: tuple[float, ...]
    mean: tuple[float, ...]
    worst: tuple[float, ...]
    shape: tuple[float, ...]

    def at(self, across_mm: float) -> tuple[float, float]:
        """(mean, worst) of a field, linear between those that were measured."""
        mean, worst = (float(np.interp(across_mm, self.field_mm, each)) for each in (self.mean, self.worst))
        return mean, worst

    def least(self, mean: float, shape: float) -> float:
        """The least field from which on neither the mean nor the shape's exceeds so much, mm."""
        measured = zip(self.field_mm, self.mean, self.shape)
        above = [mm for mm, of_counts, of_shape in measured if of_counts > mean or of_shape > shape]
        within = [mm for mm in self.field_mm if mm > max(above, default=0.0)]
        return min(within, default=math.inf)
