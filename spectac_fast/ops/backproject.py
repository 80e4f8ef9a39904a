"""The transpose of the SPECT camera, and how its views change with the attenuation map.

In the symbols of `project`, with a prime for a transpose and w a value for every bin of the detector,

    b = sum over v of R_v' (s_v K' w_v),    (K' w_v)_d = K_d w_v                                       backproject
    g = -h sum over v of R_v' T' (s_v (K' w_v) (R_v x)),    (T' p)_d = sum over d' < d of p_d' + p_d / 2
                                                                                            attenuation_gradient

b is the gradient of the sum of w y in x, and g the one in mu: what attenuates at depth d dims all that lies behind it.
The sum of w y is the sum of b x, so g is as well the gradient in mu of the sum of x b.

Operations and bytes are those of `project`, and so is the reason for having no Triton kernel. Shares are gathered on
CUDA and given on the CPU, each in an order of its own that neither threads nor neighbours in a batch change.
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
    attenuated,
    blurred,
    check_attenuation,
    check_tables,
    check_volume,
    chosen,
    dense,
    rotated,
    sample_tables,
)

_TABLES = "Tensor index, Tensor weight, Tensor span, Tensor turn"
_REST = "Tensor? mu, Tensor? survival, Tensor? taps, float step"
_BACKPROJECT = f"backproject(Tensor views, {_TABLES}, {_REST}) -> Tensor"
_GRADIENT = f"attenuation_gradient(Tensor activity, Tensor views, {_TABLES}, {_REST}) -> Tensor"


def _given_back(planes: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """The transpose of `rotated`: [B, V, n, n, nz] -> [B, n, n, nz]."""
    n = index.shape[1]
    columns, first = planes.flatten(1, 3), index.long().flatten()
    volume = planes.new_zeros(len(planes), n * n, planes.shape[-1])
    for k, step in enumerate((0, 1, n, n + 1)):
        volume.index_add_(1, first + step, weight[..., k].flatten()[:, None] * columns)
    return volume.unflatten(1, (n, n))


def _backproject_reference(
    views: Tensor,
    index: Tensor,
    weight: Tensor,
    span: Tensor,
    turn: Tensor,
    mu: Tensor | None,
    survival: Tensor | None,
    taps: Tensor | None,
    step: float,
) -> Tensor:
    planes = blurred(views.unsqueeze(2).expand(-1, -1, views.shape[2], -1, -1), taps)
    return _given_back(attenuated(planes, index, weight, mu, survival, step), index, weight)


def _gradient_reference(
    activity: Tensor,
    views: Tensor,
    index: Tensor,
    weight: Tensor,
    span: Tensor,
    turn: Tensor,
    mu: Tensor | None,
    survival: Tensor | None,
    taps: Tensor | None,
    step: float,
) -> Tensor:
    planes = blurred(views.unsqueeze(2).expand(-1, -1, views.shape[2], -1, -1), taps)
    product = attenuated(planes, index, weight, mu, survival, step) * rotated(activity, index, weight)
    return _given_back(-step * (product.cumsum(2) - 0.5 * product), index, weight)


def _draw_backproject(device: torch.device) -> Iterator[dict[str, Any]]:
    for batch, (tables, nz) in enumerate(sample_tables(device), 1):
        call = {"views": torch.rand(batch, tables.views, tables.n, nz, device=device), "tables": tables}
        survival = torch.rand(batch, tables.views, tables.n, tables.n, nz, device=device)
        mu = 0.2 * torch.rand(batch, tables.n, tables.n, nz, device=device)
        yield call | ({"survival": survival}, {}, {"mu": mu})[batch - 1]


def _draw_gradient(device: torch.device) -> Iterator[dict[str, Any]]:
    for call in _draw_backproject(device):
        if "survival" in call or "mu" in call:
            n, (batch, _, _, nz) = call["tables"].n, call["views"].shape
            yield {"activity": torch.rand(batch, n, n, nz, device=device), **call}


backproject_op = Op(_BACKPROJECT, reference=_backproject_reference, triton=None, samples=_draw_backproject)
gradient_op = Op(_GRADIENT, reference=_gradient_reference, triton=None, samples=_draw_gradient)


def backproject(
    views: Tensor,
    tables: ViewTables,
    *,
    mu: Tensor | None = None,
    survival: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """The transpose of `project`: what every bin gives back to the voxels it sees.

    views:     [B, V, n, nz], a value for every bin; float32, or float64, which the reference computes.
    tables, mu, survival, backend: as of `project`.

    Returns [B, n, n, nz] (y, x, z). Errors are those of `project`.
    """
    if backend is None and views.dtype == torch.float32 and backproject_op.may_try(views, mu, survival):
        try:
            rest = (mu, survival, tables.taps, tables.voxel_cm)
            return backproject_op.default(views, *_stencils(tables), *rest)
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or an input only lies otherwise.
    _check_views("backproject", views, tables)
    check_attenuation("backproject", mu, survival, views, tables)
    check_no_gradient("backproject", (views, mu, survival))
    rest = (dense(mu), dense(survival), tables.taps, tables.voxel_cm)
    return backproject_op(views.contiguous(), *_stencils(tables), *rest, backend=chosen(backend, views))


def attenuation_gradient(
    activity: Tensor,
    views: Tensor,
    tables: ViewTables,
    *,
    mu: Tensor | None = None,
    survival: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """The gradient in mu of the sum of `views` times `project(activity)`, each member of the batch having its own map.

    activity:  [B, n, n, nz].
    views:     [B, V, n, nz], like activity in dtype and device.
    tables, backend: as of `project`. mu, survival: one of them, as of `project`.

    Returns [B, n, n, nz], per 1/cm; where one map serves the whole batch its gradient is the sum. Errors are those of
    `project`.
    """
    name = "attenuation_gradient"
    check_volume(name, "activity", activity, tables)
    _check_views(name, views, tables)
    shape = (activity.shape[0], tables.views, tables.n, activity.shape[3])
    check_tensor(name, "views", views, activity, shape, (activity.dtype,), "activity")
    if mu is None and survival is None:
        raise ValueError(f"{name}: mu or survival must be given, found neither.")
    check_attenuation(name, mu, survival, views, tables)
    check_no_gradient(name, (activity, views, mu, survival))
    rest = (dense(mu), dense(survival), tables.taps, tables.voxel_cm)
    args = (activity.contiguous(), views.contiguous(), *_stencils(tables), *rest)
    return gradient_op(*args, backend=chosen(backend, activity))


def _stencils(tables: ViewTables) -> tuple[Tensor, ...]:
    return tables.index, tables.weight, tables.span, tables.turn


def _check_views(op: str, views: Tensor, tables: ViewTables) -> None:
    if views.dim() != 4 or views.shape[1:3] != (tables.views, tables.n):
        raise ValueError(f"{op}: views must have shape [B, {tables.views}, {tables.n}, nz], found {list(views.shape)}.")
    check_tensor(op, "views", views, views, views.shape, PROJECTION_DTYPES, "views")
    check_tables(op, "views", views, tables)
