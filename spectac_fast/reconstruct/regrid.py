"""Volumes on other voxels: means over what a voxel covers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from spectac_fast.reconstruct.grid import Grid


def halved(volume: Tensor) -> Tensor:
    """Mean over 2 x 2 x 2 voxels of [..., nz, ny, nx]."""
    *lead, nz, ny, nx = volume.shape
    return volume.reshape(*lead, nz // 2, 2, ny // 2, 2, nx // 2, 2).mean((-5, -3, -1))


def regridded(volume: Tensor, source: Grid, target: Grid) -> Tensor:
    """[..., nz, n, n] on `source` -> the mean over each voxel of `target`, about the same axis; 0 beyond the source."""
    if (2 * source.dx, source.n, source.nz, source.below) == (target.dx, 2 * target.n, 2 * target.nz, target.below):
        return halved(volume)
    axes = [
        (source.n, source.n / 2, target.n, target.n / 2),
        (source.n, source.n / 2, target.n, target.n / 2),
        (source.nz, source.nz * source.below, target.nz, target.nz * target.below),
    ]
    for axis, (n, zero, m, target_zero) in zip((-1, -2, -3), axes, strict=True):
        weights = overlap((np.arange(n + 1) - zero) * source.dx, (np.arange(m + 1) - target_zero) * target.dx)
        matrix = torch.tensor(weights, dtype=volume.dtype, device=volume.device)
        volume = torch.tensordot(volume, matrix, dims=([axis], [1])).movedim(-1, axis)
    return volume


def overlap(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[len(target) - 1, len(source) - 1]: share of every target interval that lies in every source interval; both are
    given by their edges.
    """
    low = np.maximum(target[:-1, None], source[None, :-1])
    high = np.minimum(target[1:, None], source[None, 1:])
    return np.maximum(high - low, 0) / np.diff(target)[:, None]


def interpolated(volume: Tensor, source: Grid, target: Grid) -> Tensor:
    """[..., nz, n, n] on `source` -> linear between its voxels at those of `target`, about the same axis; what lies
    beyond the source is its nearest voxel.
    """
    axes = [
        (source.axis_x(), target.axis_x()),
        (source.axis_y(), target.axis_y()),
        (source.axis_z(), target.axis_z()),
    ]
    for axis, (known, wanted) in zip((-1, -2, -3), axes, strict=True):
        # Every voxel of the source alone gives the weights of all.
        weights = np.stack([np.interp(wanted, known, unit) for unit in np.eye(len(known))], axis=1)
        matrix = torch.tensor(weights, dtype=volume.dtype, device=volume.device)
        volume = torch.tensordot(volume, matrix, dims=([axis], [1])).movedim(-1, axis)
    return volume
