"""SA, VLA and HLA stacks of a case: on its own pixels, as an archive has them, or on the working grid of an array."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.cohort.cohort import STACK_SHAPE
from spectac_fast.data.geometry.resample import SAME_PIXEL, linear_weights
from spectac_fast.phantom.protocol import Field
from spectac_fast.phantom.simulate import Case
from spectac_fast.reconstruct import planes

WORKING_MM = 6.8
STACK_MM = STACK_SHAPE[0] * WORKING_MM


def working_stacks(case: Case, kinds: Sequence[str]) -> NDArray[np.float32]:
    """[phase, plane, kind, 29, 64, 64] on 6.8 mm: slices 6.8 mm apart through the volume, in-plane resampled from their
    own pixels as `data.resample` does when a study is read, with 0 beyond their field.
    """
    n, pixel = case.protocol.camera.matrix, case.grid.dx
    shape = (STACK_SHAPE[0], n, n)
    across = _to_working(n, pixel)
    stacks = sampled(case, kinds, shape, WORKING_MM)
    return (across @ stacks @ across.T).astype(np.float32) if across is not None else stacks


def native_stacks(case: Case, kinds: Sequence[str]) -> NDArray[np.float32]:
    """[phase, plane, kind, slices, n, n] in cubic voxels of the camera's pixel size."""
    pixel, field = case.grid.dx, case.protocol.field
    slices, n = math.ceil(STACK_MM / pixel - 1e-6), case.protocol.camera.matrix
    if field.outside == "cropped":
        kept = 2 * math.ceil(field.half_mm / pixel)
        slices, n = min(slices, kept), min(n, kept)
    return sampled(case, kinds, (slices, n, n), pixel)


def sampled(case: Case, kinds: Sequence[str], shape: tuple[int, int, int], slice_mm: float) -> NDArray[np.float32]:
    """[phase, plane, kind, *shape] in-plane on the camera's pixels, slices slice_mm apart, as much as is kept."""
    cuts = case.cuts.values()
    with torch.inference_mode():
        stacks = torch.stack(
            [
                torch.stack(
                    [planes.resample(case.volumes[kind], case.grid, cut, shape, slice_mm) for kind in kinds], dim=1
                )
                for cut in cuts
            ],
            dim=1,
        )
        kept = _kept(case.protocol.field, shape, (slice_mm, case.grid.dx, case.grid.dx))
        return (stacks if kept is None else stacks * kept.to(stacks)).cpu().numpy()


def _kept(field: Field, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> Tensor | None:
    """1 where a department keeps the stack, 0 elsewhere; None where it keeps all. What is cropped off the matrix is 0
    on a grid that is larger.
    """
    if field.outside == "kept":
        return None
    steps = [(torch.arange(n) - (n - 1) / 2).abs() * mm for n, mm in zip(shape, spacing_mm, strict=True)]
    s, d, r = torch.meshgrid(*steps, indexing="ij")
    if field.outside == "cropped":
        # Slices that are cropped away are no slices of zeros.
        return (torch.maximum(d, r) <= field.half_mm).float()
    if field.round:
        return (s * s + d * d + r * r <= field.half_mm**2).float()
    return (torch.maximum(torch.maximum(s, d), r) <= field.half_mm).float()


def _to_working(n: int, pixel_mm: float) -> NDArray[np.float64] | None:
    """[64, n] weights from a row of n pixels to 64 of 6.8 mm; None where that is the row itself."""
    m = STACK_SHAPE[1]
    if abs(pixel_mm / WORKING_MM - 1) <= SAME_PIXEL:
        return None if n == m else _central(n, m)
    weights = linear_weights(n, pixel_mm, m, WORKING_MM)
    beyond = (np.abs(np.arange(m) - (m - 1) / 2) - 0.5) * WORKING_MM >= n * pixel_mm / 2
    weights[beyond] = 0.0
    return weights


def _central(n: int, m: int) -> NDArray[np.float64]:
    """[m, n]: the central m of n pixels, or n pixels in the middle of m; n and m are even."""
    return np.eye(m, n, k=(n - m) // 2)
