"""The coordinates of a voxel grid, and the primitives from which organs are made."""

from __future__ import annotations

import torch
from torch import Tensor

from spectac_fast.phantom.heart import occupancy
from spectac_fast.reconstruct.grid import Grid

TORSO_CENTRE_Y = 12.0


class Canvas:
    """Coordinates x, y, z (LPS mm, broadcast to [z, y, x]) of a grid, x reversed in a patient whose right and left are
    exchanged.
    """

    def __init__(self, grid: Grid, device: str, mirrored: bool) -> None:
        x, y, z = (
            torch.tensor(axis, dtype=torch.float32, device=device)
            for axis in (grid.axis_x(), grid.axis_y(), grid.axis_z())
        )
        self.x, self.y, self.z = (-x if mirrored else x)[None, None, :], y[None, :, None], z[:, None, None]
        self.dx, self.device = grid.dx, device

    def ellipsoid(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Tensor:
        """Signed depth in mm, positive inside."""
        terms = [((c - c0) / r) ** 2 for c, c0, r in zip((self.x, self.y, self.z), centre, radii, strict=True)]
        return (1 - torch.sqrt(terms[0] + terms[1] + terms[2])) * min(radii)

    def organ(self, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Tensor:
        return occupancy(self.ellipsoid(centre, radii))

    def outline(self, half_width: Tensor | float, half_depth: Tensor | float, power: float, depth_mm: float) -> Tensor:
        """Signed depth in mm of an upright superelliptic cylinder about the torso's axis."""
        radius = (
            torch.abs(self.x / half_width) ** power + torch.abs((self.y - TORSO_CENTRE_Y) / half_depth) ** power
        ) ** (1 / power)
        return (1 - radius) * depth_mm
