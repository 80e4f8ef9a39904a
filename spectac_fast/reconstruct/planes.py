"""Reorientation of a transaxial volume into short-axis (SA), vertical long-axis (VLA) and horizontal long-axis (HLA)
stacks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectac_fast.reconstruct.grid import Axes, Grid

SLICES, MATRIX = 29, 64


@dataclass(frozen=True)
class Cut:
    """Directions (LPS unit vectors) of the frame, row-index and column-index axes of a stack and the centre of the
    stack, mm.
    """

    frames: np.ndarray
    down: np.ndarray
    right: np.ndarray
    centre: np.ndarray

    def first_voxel(self, voxel_mm: float, shape: tuple[int, int, int] = (SLICES, MATRIX, MATRIX)) -> np.ndarray:
        """Centre of voxel (0, 0, 0) of a stack of this shape, mm."""
        half = [-(size - 1) / 2 * voxel_mm for size in shape]
        return self.centre + half[0] * self.frames + half[1] * self.down + half[2] * self.right


def operator_axes(true: Axes, centring_mm: tuple[float, float, float], tilt_deg: tuple[float, float]) -> Axes:
    """The axes an operator would set by hand: close to the true ones, never on them."""
    a, b = (math.tan(math.radians(t)) for t in tilt_deg)
    long = true.long + a * true.up + b * true.lateral
    long /= np.linalg.norm(long)
    up = true.up - (true.up @ long) * long
    up /= np.linalg.norm(up)
    offset = sum(d * axis for d, axis in zip(centring_mm, (true.long, true.up, true.lateral), strict=True))
    return Axes(long, up, np.cross(up, long), true.centre + offset)


def cuts(axes: Axes) -> dict[str, Cut]:
    """SA from apex to base, VLA from septum to lateral wall, HLA from inferior to anterior; every frame axis is row x
    column, so spacing between slices is positive.
    """
    return {
        "SA": Cut(-axes.long, -axes.up, axes.lateral, axes.centre),
        "VLA": Cut(axes.lateral, -axes.up, axes.long, axes.centre),
        "HLA": Cut(axes.up, -axes.long, axes.lateral, axes.centre),
    }


def resample(
    volume: Tensor,
    grid: Grid,
    cut: Cut,
    shape: tuple[int, int, int] = (SLICES, MATRIX, MATRIX),
    slice_mm: float | None = None,
) -> Tensor:
    """Trilinear samples [batch, *shape] of volumes [batch, nz, n, n] at the grid's voxel size, slices slice_mm apart
    where that is given; 0 outside the volume.
    """
    spacing = (slice_mm or grid.dx, grid.dx, grid.dx)
    steps = [
        (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * mm for size, mm in zip(shape, spacing, strict=True)
    ]
    s, d, r = torch.meshgrid(*steps, indexing="ij")
    origin = (grid.axis_x()[0], grid.axis_y()[0], grid.axis_z()[0])
    extent = (grid.n, grid.n, grid.nz)
    normalised = []
    for i in range(3):
        position = cut.centre[i] + s * cut.frames[i] + d * cut.down[i] + r * cut.right[i]
        normalised.append((position - origin[i]) / grid.dx * (2 / (extent[i] - 1)) - 1)
    where = torch.stack(normalised, -1).to(volume)[None].expand(volume.shape[0], -1, -1, -1, -1)
    return torch.nn.functional.grid_sample(volume[:, None], where, padding_mode="zeros", align_corners=True)[:, 0]
