"""Where things lie: voxel grids, and the axes of a heart. Frame: LPS mm, arrays [z, y, x]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Grid:
    """A voxel grid: n x n x nz voxels of dx mm about the axis of rotation at `centre` (x, y), mm; z = 0 lies `below` of
    the height above the lowest slice.
    """

    n: int
    nz: int
    dx: float
    below: float = 0.48
    centre: tuple[float, float] = (0.0, 0.0)

    def axis_x(self) -> np.ndarray:
        return (np.arange(self.n) - self.n / 2 + 0.5) * self.dx + self.centre[0]

    def axis_y(self) -> np.ndarray:
        return (np.arange(self.n) - self.n / 2 + 0.5) * self.dx + self.centre[1]

    def axis_z(self) -> np.ndarray:
        return (np.arange(self.nz) - self.nz * self.below + 0.5) * self.dx


@dataclass(frozen=True)
class Axes:
    """Orthonormal directions (LPS) and the point on the long axis about which slices are cut: `long` runs from base
    to apex, `up` is the anterior direction of a short-axis slice, `lateral` its right-hand side on the screen.
    """

    long: np.ndarray
    up: np.ndarray
    lateral: np.ndarray
    centre: np.ndarray
