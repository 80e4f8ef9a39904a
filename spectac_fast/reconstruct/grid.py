"""Where things lie: voxel grids, and the axes of a heart. Frame: LPS mm, arrays [z, y, x]."""

from __future__ import annotations

import math
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

    @property
    def azimuth(self) -> float:
        """Degrees from straight ahead towards the left of where the apex points."""
        return math.degrees(math.atan2(self.long[0], -self.long[1]))

    @property
    def elevation(self) -> float:
        """Degrees by which the apex points towards the feet."""
        return math.degrees(math.asin(min(max(-self.long[2], -1.0), 1.0)))


def axes_at(azimuth: float, elevation: float, centre: np.ndarray) -> Axes:
    """The axes of a long axis of these angles (see `Axes`), degrees, through `centre` (LPS), mm; up is as close to the
    head as it gets.
    """
    a, e = math.radians(azimuth), math.radians(elevation)
    long = np.array([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), -math.sin(e)])
    up = np.array([0, 0, 1.0]) - long[2] * long
    up /= np.linalg.norm(up)
    return Axes(long, up, np.cross(up, long), np.asarray(centre, float))
