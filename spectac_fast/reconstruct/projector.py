"""The views of one acquisition as a linear map of activity and its transpose, both differentiable, in the attenuation
map too.

Arrays are columns along the axis of rotation: volumes [B, n, n, nz] (y, x, z), views [B, V, n, nz]. `to_columns` and
`to_volume` translate from and to [B, nz, ny, nx].
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectac_fast.ops import ViewTables, attenuation_gradient, backproject, photon_survival, project, view_tables
from spectac_fast.reconstruct.camera import Collimator

# A voxel that lies behind the collimator's face, in a corner of the field, is seen as if it lay just before it.
_NEAREST_MM = 5.0


@functools.lru_cache(maxsize=64)
def _tables(
    n: int,
    voxel_mm: float,
    angles: tuple[float, ...],
    radii_mm: tuple[float, ...],
    collimator: Collimator | None,
    device: torch.device,
    dtype: torch.dtype,
) -> ViewTables:
    sigma = None
    if collimator is not None:
        depth = (np.arange(n) - n / 2 + 0.5) * voxel_mm
        radii = radii_mm[:1] if len(set(radii_mm)) == 1 else radii_mm
        sigma = collimator.sigma(np.maximum(np.array(radii)[:, None] - depth, _NEAREST_MM))
    return view_tables(n, voxel_mm, angles, sigma).to(device, dtype)


class Projector:
    """V views of an n x n x nz field of cubic voxels, for any nz.

    n, voxel_mm:  voxels along each side of the field across the axis of rotation, and their side.
    angles:       degrees, [V]: 0 anterior, 90 left lateral, 180 posterior.
    radius_mm:    from the axis of rotation to the collimator's face; a number, or one per view (a contour orbit).
    collimator:   whose blur grows with the distance; None = no blur.
    device, dtype:  where and in what the arrays are; float64 is computed by the operators' references.
    backend:      "reference" or "native"; None lets the dispatcher choose.

    Raises ValueError for values that make no camera.
    """

    def __init__(
        self,
        n: int,
        voxel_mm: float,
        angles: Sequence[float],
        *,
        radius_mm: float | Sequence[float] = 245.0,
        collimator: Collimator | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        backend: str | None = None,
    ) -> None:
        self.n, self.voxel_mm, self.angles = n, float(voxel_mm), tuple(map(float, angles))
        radii = np.broadcast_to(np.asarray(radius_mm, dtype=np.float64), np.shape(radius_mm) or (len(self.angles),))
        if radii.shape != (len(self.angles),) or not (np.isfinite(radii) & (radii > 0)).all():
            raise ValueError(
                f"radius_mm must be a positive number or one for each of {len(self.angles)} views, found {radius_mm}."
            )
        self.radii_mm = tuple(radii.tolist())
        self.collimator, self.device, self.dtype, self.backend = collimator, torch.device(device), dtype, backend

    @property
    def views(self) -> int:
        return len(self.angles)

    @property
    def tables(self) -> ViewTables:
        """Made when they are first needed, and kept for every projector like this one."""
        made_of = (self.n, self.voxel_mm, self.angles, self.radii_mm, self.collimator, self.device, self.dtype)
        return _tables(*made_of)

    def part(self, views: Sequence[int]) -> Projector:
        """Some of the views, in this order."""
        return Projector(
            self.n,
            self.voxel_mm,
            [self.angles[v] for v in views],
            radius_mm=[self.radii_mm[v] for v in views],
            collimator=self.collimator,
            device=self.device,
            dtype=self.dtype,
            backend=self.backend,
        )

    def survival(self, mu: Tensor) -> Tensor:
        """[B, V, n, n, nz]: the probability that a photon reaches the detector; mu: 1/cm. V volumes in size, and only
        needed where a map is wider than the field. No gradient passes through it.
        """
        return photon_survival(mu.detach(), self.tables, backend=self.backend)

    def through(self, mu: Tensor) -> dict[str, Tensor]:
        """What `project`, `backproject` and `osem` are given for a map [B or 1, m, m, nz] in 1/cm that is as wide as
        the field, or wider: the map, or what survives of the field's photons in all of it.
        """
        if mu.shape[1] == self.n:
            return {"mu": mu}
        margin = (mu.shape[1] - self.n) // 2
        inner = slice(margin, margin + self.n)
        wide = Projector(
            mu.shape[1], self.voxel_mm, self.angles, device=self.device, dtype=self.dtype, backend=self.backend
        )
        # A few views at a time, for the map may be much wider.
        few = (range(v, min(v + 8, self.views)) for v in range(0, self.views, 8))
        return {"survival": torch.cat([wide.part(views).survival(mu)[:, :, inner, inner] for views in few], dim=1)}

    def project(self, activity: Tensor, *, mu: Tensor | None = None, survival: Tensor | None = None) -> Tensor:
        """The views [B, V, n, nz] of an activity [B, n, n, nz].

        mu:        attenuation map in 1/cm, [B or 1, n, n, nz]; None = nothing attenuates.
        survival:  instead of mu, what `survival` made of a map, for these voxels; a constant.

        Differentiable once, in activity and in mu.
        """
        return _Project.apply(activity, mu, survival, self.tables, self.backend)

    def backproject(self, views: Tensor, *, mu: Tensor | None = None, survival: Tensor | None = None) -> Tensor:
        """The transpose of `project`: [B, V, n, nz] -> [B, n, n, nz]. Differentiable once, in views and in mu."""
        return _Backproject.apply(views, mu, survival, self.tables, self.backend)


def _of_map(mu: Tensor, activity: Tensor, views: Tensor, tables: ViewTables, backend: str | None) -> Tensor:
    gradient = attenuation_gradient(activity, views, tables, mu=mu, backend=backend)
    return gradient if len(mu) == len(gradient) else gradient.sum(0, keepdim=True)


class _Once(torch.autograd.Function):
    """A gradient of what it is given with, which itself has none: torch would return without it and say nothing."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *of: Tensor | None) -> Tensor:
        return gradient

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        raise RuntimeError(
            "The projector is differentiable once: a gradient of its gradient was asked for, expected none."
        )


def _once(gradient: Tensor | None, *of: Tensor | None) -> Tensor | None:
    return _Once.apply(gradient, *of) if gradient is not None and torch.is_grad_enabled() else gradient


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, activity: Tensor, mu: Tensor | None, survival: Tensor | None, tables: ViewTables, backend: str | None
    ) -> Tensor:
        ctx.save_for_backward(activity, mu, survival)
        ctx.tables, ctx.backend = tables, backend
        return project(activity, tables, mu=mu, survival=survival, backend=backend)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        activity, mu, survival = ctx.saved_tensors
        of_activity = of_mu = None
        with torch.no_grad():
            if ctx.needs_input_grad[0]:
                of_activity = backproject(upstream, ctx.tables, mu=mu, survival=survival, backend=ctx.backend)
            if ctx.needs_input_grad[1]:
                of_mu = _of_map(mu, activity, upstream, ctx.tables, ctx.backend)
        return _once(of_activity, activity, mu, upstream), _once(of_mu, activity, mu, upstream), None, None, None


class _Backproject(torch.autograd.Function):
    """As `_Project`, the other way."""

    @staticmethod
    def forward(
        ctx: Any, views: Tensor, mu: Tensor | None, survival: Tensor | None, tables: ViewTables, backend: str | None
    ) -> Tensor:
        ctx.save_for_backward(views, mu, survival)
        ctx.tables, ctx.backend = tables, backend
        return backproject(views, tables, mu=mu, survival=survival, backend=backend)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        views, mu, survival = ctx.saved_tensors
        of_views = of_mu = None
        with torch.no_grad():
            if ctx.needs_input_grad[0]:
                of_views = project(upstream, ctx.tables, mu=mu, survival=survival, backend=ctx.backend)
            if ctx.needs_input_grad[1]:
                of_mu = _of_map(mu, upstream, views, ctx.tables, ctx.backend)
        return _once(of_views, views, mu, upstream), _once(of_mu, views, mu, upstream), None, None, None


def to_columns(volume: Tensor) -> Tensor:
    """[..., nz, ny, nx] -> [B, ny, nx, nz]."""
    return volume.reshape(-1, *volume.shape[-3:]).movedim(1, 3).contiguous()


def to_volume(columns: Tensor) -> Tensor:
    """[B, ny, nx, nz] -> [B, nz, ny, nx]."""
    return columns.movedim(3, 1).contiguous()
