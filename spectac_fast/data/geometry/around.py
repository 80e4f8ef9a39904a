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

    mean, worst: over patients, root mean square over voxels above 20 % of the maximum.
    """

    field_mm: tuple[float, ...]
    mean: tuple[float, ...]
    worst: tuple[float, ...]

    def at(self, across_mm: float) -> tuple[float, float]:
        """(mean, worst) of a field, linear between those that were measured."""
        return tuple(float(np.interp(across_mm, self.field_mm, each)) for each in (self.mean, self.worst))

    def least(self, error: float) -> float:
        """The least field from which on the mean does not exceed an error, mm."""
        above = [mm for mm, mean in zip(self.field_mm, self.mean) if mean > error]
        within = [mm for mm in self.field_mm if mm > max(above, default=0.0)]
        return min(within, default=math.inf)
