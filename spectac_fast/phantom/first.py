"""The first cohort's camera and OSEM, operation by operation: its bytes depend on the last bit of every sum.

All other protocols are imaged by `reconstruct`, whose operators are faster and agree with this to float32's rounding; a
Poisson draw whose expectation moves by one such rounding is another draw.

Volumes are columns [ny * nx, nz * batch] (float32, z fastest within a batch member), because rotation about z is then
one sparse matrix product, and back-projection is the product with the transposed matrix.
"""

from __future__ import annotations

import functools
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectac_fast.phantom.protocol import Camera, Reconstruction
from spectac_fast.phantom.scan import Scan
from spectac_fast.reconstruct.camera import Collimator
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.osem import bit_reversed


@dataclass(frozen=True)
class FirstScan(Scan):
    """A scan of the first cohort: a circular orbit, slices that hold the map, OSEM alone."""

    def project(self, activity: Tensor, mu: Tensor, grid: Grid, camera: Camera) -> Tensor:
        rebin = round(self.detector.dx / grid.dx)
        projector = _Projector(grid, self.angles, self.device, Collimator(), float(self.radius[0]), rebin)
        columns, map_ = _columns(activity), _columns(mu)
        views = [projector.forward(columns, v, projector.survival(map_, v)) for v in range(len(self.angles))]
        return _parted(torch.stack(views), len(activity))

    def osem(
        self, camera: Camera, how: Reconstruction, counts: Tensor, scatter: Tensor | None, mu: Tensor | None
    ) -> Tensor:
        projector = _Projector(self.image, self.angles, self.device)
        views, added = _joined(counts), None if scatter is None else _joined(scatter)
        columns = _osem(projector, views, None if mu is None else _columns(mu), added, how)
        return columns.T.reshape(-1, self.image.nz, self.image.n, self.image.n)


def _columns(volume: Tensor) -> Tensor:
    """[..., nz, ny, nx] -> [ny*nx, batch*nz]."""
    ny, nx = volume.shape[-2:]
    return volume.reshape(-1, ny * nx).T.contiguous()


def _parted(views: Tensor, batch: int) -> Tensor:
    """[V, bins, batch * rows] -> [batch, V, bins, rows]."""
    return views.reshape(*views.shape[:2], batch, -1).permute(2, 0, 1, 3).contiguous()


def _joined(views: Tensor) -> Tensor:
    """[batch, V, bins, rows] -> [V, bins, batch * rows]."""
    return views.permute(1, 2, 0, 3).reshape(*views.shape[1:3], -1).contiguous()


def _blurs(n: int, sigma: np.ndarray, rebin: int) -> np.ndarray:
    """[depth, n / rebin, n]: blur by Gaussians of `sigma` pixels, integrated over the pixel, then sum groups."""
    edge = (np.arange(n // rebin + 1) * rebin - 0.5)[:, None] - np.arange(n)[None]
    return np.stack([np.diff(torch.special.ndtr(torch.from_numpy(edge / max(s, 1e-3))).numpy(), axis=0) for s in sigma])


def _rotation(n: int, angle: float) -> tuple[Tensor, Tensor]:
    """Bilinear rotation [n*n (depth, lateral) <- n*n (y, x)] as CSR, and its transpose."""
    phi = math.radians(angle)
    g = np.arange(n) - n / 2 + 0.5
    depth, lateral = np.meshgrid(g, g, indexing="ij")
    px = lateral * math.cos(phi) + depth * math.sin(phi) + n / 2 - 0.5
    py = lateral * math.sin(phi) - depth * math.cos(phi) + n / 2 - 0.5
    x0, y0 = np.floor(px).astype(np.int64), np.floor(py).astype(np.int64)
    fx, fy = px - x0, py - y0
    target = np.arange(n * n).reshape(n, n)
    rows, cols, weights = [], [], []
    for oy, ox, w in ((0, 0, (1 - fy) * (1 - fx)), (0, 1, (1 - fy) * fx), (1, 0, fy * (1 - fx)), (1, 1, fy * fx)):
        y, x = y0 + oy, x0 + ox
        inside = (y >= 0) & (y < n) & (x >= 0) & (x < n) & (w > 1e-7)
        rows.append(target[inside])
        cols.append((y * n + x)[inside])
        weights.append(w[inside])
    index = torch.from_numpy(np.stack([np.concatenate(rows), np.concatenate(cols)]))
    values = torch.from_numpy(np.concatenate(weights).astype(np.float32))
    forward = torch.sparse_coo_tensor(index, values, (n * n, n * n), check_invariants=False).coalesce()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return forward.to_sparse_csr(), forward.t().coalesce().to_sparse_csr()


@functools.lru_cache(maxsize=2)
def _rotations(n: int, angles: tuple[float, ...], device: str) -> list[tuple[Tensor, Tensor]]:
    return [tuple(m.to(device) for m in _rotation(n, a)) for a in angles]


class _Projector:
    """Columns to views [lateral bins, rows * batch]; without a collimator also back."""

    def __init__(
        self,
        grid: Grid,
        angles: np.ndarray,
        device: str,
        collimator: Collimator | None = None,
        radius: float = 0.0,
        rebin: int = 1,
    ) -> None:
        self.n, self.nz, self.dx, self.rebin = grid.n, grid.nz, grid.dx, rebin
        self.rotations = _rotations(grid.n, tuple(float(a) for a in angles), device)
        self.lateral: Tensor | None = None
        if collimator is not None:
            depth = (np.arange(grid.n) - grid.n / 2 + 0.5) * grid.dx
            sigma = collimator.sigma(np.maximum(radius - depth, 5.0)) / grid.dx
            self.lateral, axial = (
                torch.tensor(_blurs(size, sigma, rebin), dtype=torch.float32, device=device)
                for size in (grid.n, grid.nz)
            )
            self.axial_t = axial.transpose(1, 2).contiguous()

    def survival(self, mu: Tensor, view: int) -> Tensor:
        along = (self.rotations[view][0] @ mu).reshape(self.n, self.n, self.nz) * (self.dx / 10)
        to_detector = along.flip(0).cumsum(0).flip(0) - 0.5 * along
        return torch.exp(-to_detector)

    def forward(self, columns: Tensor, view: int, survival: Tensor | None = None) -> Tensor:
        n, batch = self.n, columns.shape[1] // self.nz
        rotated = (self.rotations[view][0] @ columns).reshape(n, n, batch, self.nz)
        if survival is not None:
            rotated = rotated * survival.unsqueeze(2)
        if self.lateral is None:
            return rotated.sum(0).reshape(n, -1)
        bins = n // self.rebin
        blurred = torch.bmm(self.lateral, rotated.reshape(n, n, -1)).reshape(n, bins * batch, self.nz)
        return torch.bmm(blurred, self.axial_t).sum(0).reshape(bins, -1)

    def backward(self, bins: Tensor, view: int, survival: Tensor | None = None) -> Tensor:
        n, batch = self.n, bins.shape[1] // self.nz
        spread = bins.reshape(1, n, batch, self.nz).expand(n, -1, -1, -1)
        if survival is not None:
            spread = spread * survival.unsqueeze(2)
        return self.rotations[view][1] @ spread.reshape(n * n, -1)


def _osem(
    projector: _Projector, views: Tensor, mu: Tensor | None, scatter: Tensor | None, how: Reconstruction
) -> Tensor:
    count, width = views.shape[0], views.shape[2]
    survival = [None if mu is None else projector.survival(mu, v) for v in range(count)]
    order = [list(range(k, count, how.subsets)) for k in bit_reversed(how.subsets)]
    ones = torch.ones_like(views[0])
    sensitivity = [sum(projector.backward(ones, v, survival[v]) for v in subset).clamp_min(1e-4) for subset in order]
    estimate = torch.full((projector.n**2, width), float(views.mean()) / projector.n, device=views.device)
    for _ in range(how.iterations):
        for subset, norm in zip(order, sensitivity, strict=True):
            correction = torch.zeros_like(estimate)
            for v in subset:
                expected = projector.forward(estimate, v, survival[v])
                if scatter is not None:
                    expected = expected + scatter[v]
                correction += projector.backward(views[v] / expected.clamp_min(1e-6), v, survival[v])
            estimate = estimate * (correction / norm)
    return estimate
