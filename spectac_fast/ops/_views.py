"""Where the views of a SPECT acquisition look from, as the tables that the projection operators read.

Voxels are cubes; the axis of rotation is the middle of the n x n field and runs along z. A plane of a view is
[lateral, z] at one depth, and depth grows towards the detector. At an angle of 0 degrees the detector looks from the
front (-y), at 90 from the left (+x), at 180 from the back: with phi the angle and everything counted from the axis, the
voxel (depth, lateral) of a view lies at

    x = lateral cos(phi) + depth sin(phi),    y = lateral sin(phi) - depth cos(phi)

and is the bilinear mean of its four neighbours there, those beyond the field being 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

LARGEST_SIDE = 32767
# What a kernel may lose beyond its last tap, of 1: float32's own rounding.
_TAIL = 2.0**-24


@dataclass(frozen=True)
class ViewTables:
    """V views of an n x n field; `view_tables` makes them.

    index:     int32 [V, n, n], the first of the four neighbours (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1) of the
               voxel (depth, lateral) of a view, as y n + x.
    weight:    [V, n, n, 4], of the four.
    span:      int32 [V, n, 2], the laterals of every depth that lie in the field: first, and past the last.
    turn:      [V, 2], cosine and sine of the angle.
    taps:      [V or 1, n, reach + 1], half of the collimator's kernel at every depth, the middle first; None = no blur.
    voxel_cm:  side of a voxel.
    """

    index: Tensor
    weight: Tensor
    span: Tensor
    turn: Tensor
    taps: Tensor | None
    voxel_cm: float

    @property
    def views(self) -> int:
        return self.index.shape[0]

    @property
    def n(self) -> int:
        return self.index.shape[1]

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> ViewTables:
        """The same elsewhere; in float64 for the reference."""

        def moved(t: Tensor) -> Tensor:
            return t.to(device, dtype if t.is_floating_point() else t.dtype)

        return replace(
            self,
            index=moved(self.index),
            weight=moved(self.weight),
            span=moved(self.span),
            turn=moved(self.turn),
            taps=None if self.taps is None else moved(self.taps),
        )


def view_tables(n: int, voxel_mm: float, angles: Sequence[float], sigma_mm: np.ndarray | None = None) -> ViewTables:
    """Tables on the CPU, in float64; `ViewTables.to` takes them where they are needed.

    n:         voxels along each side of the field, 2 to 32767.
    voxel_mm:  side of a voxel.
    angles:    degrees, [V].
    sigma_mm:  standard deviation of the collimator's Gaussian at every depth, [n] or [V, n]; None = no blur. Its kernel
               is the Gaussian integrated over each pixel, up to where less than 2^-24 is left.

    Raises ValueError for a wrong shape or value.
    """
    if not 2 <= n <= LARGEST_SIDE:
        raise ValueError(f"view_tables: n must be 2 to {LARGEST_SIDE}, found {n}.")
    if not 0 < voxel_mm < np.inf:
        raise ValueError(f"view_tables: voxel_mm must be positive and finite, found {voxel_mm}.")
    turned = np.asarray(angles, dtype=np.float64)
    if turned.ndim != 1 or not np.isfinite(turned).all():
        raise ValueError(f"view_tables: angles must be finite numbers of degrees [V], found {angles}.")
    index, weight = _stencils(n, turned)
    turn = np.stack([np.cos(np.radians(turned)), np.sin(np.radians(turned))], -1)
    taps = None if sigma_mm is None else _taps(n, len(turned), np.asarray(sigma_mm, dtype=np.float64) / voxel_mm)
    return ViewTables(
        index=torch.from_numpy(index),
        weight=torch.from_numpy(weight),
        span=torch.from_numpy(_spans(weight)),
        turn=torch.from_numpy(turn),
        taps=taps,
        voxel_cm=voxel_mm / 10,
    )


def _stencils(n: int, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    phi = np.radians(angles)[:, None, None]
    middle = n / 2 - 0.5
    depth, lateral = np.meshgrid(np.arange(n) - middle, np.arange(n) - middle, indexing="ij")
    x, weight_x = _neighbours(n, lateral * np.cos(phi) + depth * np.sin(phi) + middle)
    y, weight_y = _neighbours(n, lateral * np.sin(phi) - depth * np.cos(phi) + middle)
    weight = weight_y[..., :, None] * weight_x[..., None, :]
    return (y * n + x).astype(np.int32), weight.reshape(*weight.shape[:3], 4)


def _neighbours(n: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of two neighbours that both lie in the field, and the weights of both: 0 for what is not near."""
    first = np.floor(position).clip(0, n - 2)
    return first, np.maximum(0, 1 - np.abs(position[..., None] - first[..., None] - np.arange(2)))


def _spans(weight: np.ndarray) -> np.ndarray:
    inside = np.any(weight > 0, axis=-1)
    first, past = inside.argmax(-1), inside.shape[-1] - inside[..., ::-1].argmax(-1)
    return np.stack([first, np.where(inside.any(-1), past, first)], -1).astype(np.int32)


def _taps(n: int, views: int, sigma: np.ndarray) -> Tensor:
    """[V or 1, n, reach + 1] from standard deviations in pixels."""
    widths = torch.from_numpy(np.atleast_2d(sigma))
    if widths.shape not in ((1, n), (views, n)) or not (widths.isfinite().all() and (widths >= 0).all()):
        raise ValueError(
            f"view_tables: sigma_mm must be finite and 0 or more, [{n}] or [{views}, {n}], "
            f"found shape {list(sigma.shape)}."
        )
    edge = torch.arange(n) + 0.5
    beyond = torch.special.ndtr(-edge / widths.clamp(min=1e-3)[..., None])
    taps = torch.cat([1 - 2 * beyond[..., :1], beyond[..., :-1] - beyond[..., 1:]], -1)
    # A tap is kept where what lies beyond its inner edge is worth it.
    kept = torch.cat([torch.ones_like(beyond[..., :1]), beyond[..., :-1]], -1) > _TAIL / 2
    reach = int(kept.sum(-1).max()) - 1
    return torch.where(kept, taps, 0.0)[..., : reach + 1].contiguous()


def toeplitz(taps: Tensor, size: int) -> Tensor:
    """[..., size, size]: the symmetric kernels [..., reach + 1] as matrices; nothing comes from beyond the ends."""
    at = torch.arange(size, device=taps.device)
    apart = (at[:, None] - at[None]).abs()
    return torch.where(apart < taps.shape[-1], taps[..., apart.clamp(max=taps.shape[-1] - 1)], 0.0)
