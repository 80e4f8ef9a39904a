"""The transpose of the SPECT camera, and how its views change with the attenuation map.

In the symbols of `project`, with a prime for a transpose and w a value for every bin of the detector,

    b = sum over v of R_v' (s_v K' w_v),    (K' w_v)_d = K_d w_v                                       backproject
    g = -h sum over v of R_v' T' (s_v (K' w_v) (R_v x)),    (T' p)_d = sum over d' < d of p_d' + p_d / 2
                                                                                            attenuation_gradient

b is the gradient of the sum of w y in x, and g the one in mu: what attenuates at depth d dims all that lies behind it.
The sum of w y is the sum of b x, so g is as well the gradient in mu of the sum of x b.

Operations and bytes are those of `project`, and so is the reason for having no Triton kernel; the planes of a view are
kept, because a voxel of the volume reads two to six of their columns, which is another 2 MB a view of 64^3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import check_no_gradient, check_tensor
from spectac_fast.ops._views import ViewTables
from spectac_fast.ops.project import (
    PROJECTION_DTYPES,
    blurred,
    check_survival,
    check_tables,
    check_volume,
    chosen,
    rotated,
    sample_tables,
)

_SHARES = "Tensor start, Tensor source, Tensor share"
_BACKPROJECT = f"backproject(Tensor views, {_SHARES}, Tensor span, Tensor? survival, Tensor? taps) -> Tensor"
_GRADIENT = (
    f"attenuation_gradient(Tensor activity, Tensor views, Tensor index, Tensor weight, Tensor span, {_SHARES}, "
    "Tensor survival, Tensor? taps, float step) -> Tensor"
)


def _gathered(planes: Tensor, start: Tensor, source: Tensor, share: Tensor) -> Tensor:
    """The transpose of `rotated`: [B, V, n, n, nz] -> [B, n, n, nz]."""
    batch, views, n, _, nz = planes.shape
    place = torch.searchsorted(start, torch.arange(source.shape[0], dtype=torch.int32, device=start.device), right=True)
    voxel, view = (place - 1) // max(views, 1), (place - 1) % max(views, 1)
    at = (view * n + (source >> 16)) * n + (source & 0xFFFF)
    volume = planes.new_zeros(batch, n * n, nz)
    return volume.index_add(1, voxel, share[:, None] * planes.flatten(1, 3)[:, at]).unflatten(1, (n, n))


def _spread(views: Tensor, survival: Tensor | None, taps: Tensor | None) -> Tensor:
    n = views.shape[2]
    planes = blurred(views.unsqueeze(2).expand(-1, -1, n, -1, -1), taps)
    return planes if survival is None else planes * survival


def _backproject_reference(
    views: Tensor,
    start: Tensor,
    source: Tensor,
    share: Tensor,
    span: Tensor,
    survival: Tensor | None,
    taps: Tensor | None,
) -> Tensor:
    return _gathered(_spread(views, survival, taps), start, source, share)


def _gradient_reference(
    activity: Tensor,
    views: Tensor,
    index: Tensor,
    weight: Tensor,
    span: Tensor,
    start: Tensor,
    source: Tensor,
    share: Tensor,
    survival: Tensor,
    taps: Tensor | None,
    step: float,
) -> Tensor:
    product = _spread(views, survival, taps) * rotated(activity, index, weight)
    return _gathered(-step * (product.cumsum(2) - 0.5 * product), start, source, share)


def _draw_backproject(device: torch.device) -> Iterator[dict[str, Any]]:
    for batch, (tables, nz) in enumerate(sample_tables(device), 1):
        call = {"views": torch.rand(batch, tables.views, tables.n, nz, device=device), "tables": tables}
        survival = torch.rand(batch, tables.views, tables.n, tables.n, nz, device=device)
        yield call | ({"survival": survival} if batch != 2 else {})


def _draw_gradient(device: torch.device) -> Iterator[dict[str, Any]]:
    for call in _draw_backproject(device):
        if "survival" in call:
            n, (batch, _, _, nz) = call["tables"].n, call["views"].shape
            yield {"activity": torch.rand(batch, n, n, nz, device=device), **call}


backproject_op = Op(_BACKPROJECT, reference=_backproject_reference, triton=None, samples=_draw_backproject)
gradient_op = Op(_GRADIENT, reference=_gradient_reference, triton=None, samples=_draw_gradient)


def backproject(
    views: Tensor, tables: ViewTables, *, survival: Tensor | None = None, backend: str | None = None
) -> Tensor:
    """The transpose of `project`: what every bin gives back to the voxels it sees.

    views:     [B, V, n, nz], a value for every bin; float32, or float64, which the reference computes.
    tables, survival, backend: as of `project`.

    Returns [B, n, n, nz] (y, x, z). Errors are those of `project`.
    """
    _check_views("backproject", views, tables)
    if survival is not None:
        check_survival("backproject", survival, views, tables)
    check_no_gradient("backproject", (views, survival))
    held = None if survival is None else survival.contiguous()
    args = (views.contiguous(), tables.start, tables.source, tables.share, tables.span, held, tables.taps)
    return backproject_op(*args, backend=chosen(backend, views))


def attenuation_gradient(
    activity: Tensor, views: Tensor, tables: ViewTables, *, survival: Tensor, backend: str | None = None
) -> Tensor:
    """The gradient in mu of the sum of `views` times `project(activity)`, each member of the batch having its own map.

    activity:  [B, n, n, nz].
    views:     [B, V, n, nz], like activity in dtype and device.
    tables, backend: as of `project`. survival: of the map, as of `project`.

    Returns [B, n, n, nz], per 1/cm; where one map serves the whole batch its gradient is the sum. Errors are those of
    `project`.
    """
    name = "attenuation_gradient"
    check_volume(name, "activity", activity, tables)
    _check_views(name, views, tables)
    shape = (activity.shape[0], tables.views, tables.n, activity.shape[3])
    check_tensor(name, "views", views, activity, shape, (activity.dtype,), "activity")
    check_survival(name, survival, views, tables)
    check_no_gradient(name, (activity, views, survival))
    stencils = (tables.index, tables.weight, tables.span, tables.start, tables.source, tables.share)
    args = (activity.contiguous(), views.contiguous(), *stencils, survival.contiguous(), tables.taps, tables.voxel_cm)
    return gradient_op(*args, backend=chosen(backend, activity))


def _check_views(op: str, views: Tensor, tables: ViewTables) -> None:
    if views.dim() != 4 or views.shape[1:3] != (tables.views, tables.n):
        raise ValueError(f"{op}: views must have shape [B, {tables.views}, {tables.n}, nz], found {list(views.shape)}.")
    check_tensor(op, "views", views, views, views.shape, PROJECTION_DTYPES, "views")
    check_tables(op, "views", views, tables)
