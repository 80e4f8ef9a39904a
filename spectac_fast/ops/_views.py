"""Where the views of an acquisition look from, as the tables that the projection operators read.

Planes of a view are [depth, lateral]; depth grows towards the detector, and both are counted from 0 at one side of the
n x n field, whose middle is the axis of rotation. At `angle` the detector looks from the front (0), from the left (90),
from the back (180); a rotated voxel is the bilinear mean of its four neighbours in the volume, zero beyond the field.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spectac_fast.ops._check import FLOAT32, check_tensor

LARGEST_SIDE = 255 * 128
_TAIL = 2.0**-24  # what a kernel may lose beyond its last tap, of 1: float32's own rounding


@dataclass(frozen=True)
class ViewTables:
    """V views of an n x n field. Made by `view_tables`; the operators of `project` and `backproject` read them.

    index:   int32 [V, n, n], of the first of the four neighbours (y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1) of the
             rotated voxel (depth, lateral), as y n + x.
    weight:  [V, n, n, 4], of the four.
    span:    int32 [V, n, 2], the rotated voxels (depth, lateral) that lie in the field: first lateral, and past the last.
    start:   int32 [n n V + 1], where the entries of (voxel, view) begin in `source` and `share`.
    source:  int32 [N], rotated voxels that hold a share of it, as depth 65536 + lateral.
    share:   [N], how much; together they are the transpose of index and weight.
    taps:    [V or 1, n, reach + 1], half of the collimator's kernel at every depth, the middle first; None = no blur.
    """

    index: Tensor
    weight: Tensor
    span: Tensor
    start: Tensor
    source: Tensor
    share: Tensor
    taps: Tensor | None

    @property
    def views(self) -> int:
        return self.index.shape[0]

    @property
    def n(self) -> int:
        return self.index.shape[1]

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> ViewTables:
        """The same on another device; float64 for the reference."""
        return ViewTables(
            self.index.to(device),
            self.weight.to(device, dtype),
            self.span.to(device),
            self.start.to(device),
            self.source.to(device),
            self.share.to(device, dtype),
            None if self.taps is None else self.taps.to(device, dtype),
        )

    def without_blur(self) -> ViewTables:
        return replace(self, taps=None)


def view_tables(n: int, angles: Sequence[float], sigma: np.ndarray | None = None) -> ViewTables:
    """Tables in float64 on the CPU; `ViewTables.to` takes them to where they are needed.

    n:       pixels along each side of the field, 2 to 32640.
    angles:  degrees, [V].
    sigma:   standard deviation of the collimator's Gaussian at every depth in pixels, [n] or [V, n]; None = no blur.

    Raises ValueError for a wrong n, shape or value.
    """
    if not 2 <= n <= LARGEST_SIDE:
        raise ValueError(f"view_tables: n must be 2 to {LARGEST_SIDE}, found {n}.")
    turned = np.asarray(angles, dtype=np.float64)
    if turned.ndim != 1 or not np.isfinite(turned).all():
        raise ValueError(f"view_tables: angles must be finite numbers of degrees [V], found {angles!r}.")
    index, weight = _stencils(n, turned)
    start, source, share = _transpose(n, index, weight)
    arrays = (index, weight, _spans(weight), start, source, share)
    return ViewTables(*(torch.from_numpy(a) for a in arrays), None if sigma is None else _taps(n, len(turned), sigma))


def _stencils(n: int, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    phi = np.radians(angles)[:, None, None]
    middle = n / 2 - 0.5
    depth, lateral = np.meshgrid(np.arange(n) - middle, np.arange(n) - middle, indexing="ij")
    x = lateral * np.cos(phi) + depth * np.sin(phi) + middle
    y = lateral * np.sin(phi) - depth * np.cos(phi) + middle
    (x0, wx), (y0, wy) = _neighbours(n, x), _neighbours(n, y)
    weight = wy[..., :, None] * wx[..., None, :]
    return (y0 * n + x0).astype(np.int32), weight.reshape(*weight.shape[:3], 4)


def _neighbours(n: int, position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First of two neighbours that both lie in the field, and the weights of the two; those of voxels beyond it are 0."""
    below = np.floor(position)
    first = below.clip(0, n - 2)
    at = first[..., None] + np.arange(2)
    return first, np.maximum(0, 1 - np.abs(position[..., None] - at))


def _spans(weight: np.ndarray) -> np.ndarray:
    inside = (weight > 0).any(-1)
    n = inside.shape[-1]
    first, past = inside.argmax(-1), n - inside[..., ::-1].argmax(-1)
    return np.stack([first, np.where(inside.any(-1), past, first)], -1).astype(np.int32)


def _transpose(n: int, index: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    views = len(index)
    view, depth, lateral = np.meshgrid(*(np.arange(k, dtype=np.int32) for k in (views, n, n)), indexing="ij")
    voxel = (index[..., None] + np.array([0, 1, n, n + 1], dtype=np.int32)).ravel()
    held = np.flatnonzero(weight.ravel() > 0)
    if len(held) > torch.iinfo(torch.int32).max:
        raise ValueError(f"view_tables: {views} views of {n} x {n} need {len(held)} entries, more than 2^31 - 1.")
    # A stable sort of 16 bits is linear in their number; views are in order already.
    order = held[np.argsort(voxel[held].astype(np.uint16 if n <= 256 else np.int32), kind="stable")]
    rotated = order // 4
    found = np.bincount(voxel[order].astype(np.int64) * views + view.ravel()[rotated], minlength=n * n * views)
    source = (depth * 65536 + lateral).ravel()[rotated]
    return np.concatenate([[0], np.cumsum(found)]).astype(np.int32), source, weight.ravel()[order]


def _taps(n: int, views: int, sigma: np.ndarray) -> Tensor:
    """[V or 1, n, reach + 1]: a Gaussian integrated over each pixel."""
    widths = torch.as_tensor(np.atleast_2d(np.asarray(sigma, dtype=np.float64)))
    if widths.shape not in ((1, n), (views, n)) or not (torch.isfinite(widths).all() and (widths >= 0).all()):
        raise ValueError(f"view_tables: sigma must be [{n}] or [{views}, {n}] and 0 or more, found {list(widths.shape)}.")
    edge = torch.arange(n) + 0.5
    beyond = torch.special.ndtr(-edge / widths.clamp(min=1e-3)[..., None])
    reach = int((2 * beyond > _TAIL).sum(-1).max()) if widths.numel() else 0
    reach = min(reach, n - 1)
    first = 1 - 2 * beyond[..., :1]
    taps = torch.cat([first, beyond[..., :-1] - beyond[..., 1:]], -1)[..., : reach + 1]
    kept = torch.arange(reach + 1) <= (2 * beyond > _TAIL).sum(-1, keepdim=True)
    return torch.where(kept, taps, 0.0).contiguous()


def check_views(op: str, like: Tensor, tables: ViewTables) -> None:
    """The tables are on the device of `like` and in its dtype."""
    dtypes = (like.dtype,)
    for name in ("index", "start", "source"):
        tensor = getattr(tables, name)
        check_tensor(op, name, tensor, like, tensor.shape, (torch.int32,), "the data")
    for name in ("weight", "share", "taps"):
        tensor = getattr(tables, name)
        if tensor is not None:
            check_tensor(op, name, tensor, like, tensor.shape, dtypes, "the data")


__all__ = ["FLOAT32", "LARGEST_SIDE", "ViewTables", "check_views", "view_tables"]
