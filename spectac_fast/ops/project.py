"""The SPECT camera: what the detector sees of an activity, view by view.

With R_v the rotation of a view (`ViewTables`), x an activity, mu an attenuation map and K_d the collimator's kernel at
depth d, which is applied along both sides of the plane at that depth,

    s_vd = exp(-h (sum over d' > d of (R_v mu)_d' + (R_v mu)_d / 2))        photon_survival: h is the side of a voxel
    y_v  = sum over d of K_d (s_vd (R_v x)_d)                               project

A photon is emitted in the middle of its voxel, so it crosses half of that one (the rotation-based projector of Zeng and
Gullberg, IEEE Trans. Nucl. Sci. 39 (1992) 1024). Both sums run towards the detector. The transpose is `backproject`.

Counted in operations, a voxel of a view takes 4 multiply-adds to be rotated, 6 and an exponential to be attenuated and,
with r taps on each side, 2 r + 1 to be blurred across and r + 1 along (the sums of symmetric neighbours along z do not
depend on depth, so they are taken once a view): at 64^3 and r about 5 some 30 operations, 8 million a view. A subset of
8 views of OSEM, there and back, is 0.13 billion multiply-adds, 4 us at an H200's 30 trillion a second, and on CUDA its
planes are written and read twice, 8 views x 2 x 4 MB, 20 us at 3.4 TB/s; not yet run on one.

There is no Triton kernel: a block would have to read its neighbours' intermediate results at an offset (the blur of a
plane it has just made), which Triton's tensors of registers cannot do without a trip through memory at every depth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import check_no_gradient, check_tensor
from spectac_fast.ops._views import ViewTables, toeplitz, view_tables

PROJECTION_DTYPES = (torch.float32, torch.float64)

_TABLES = "Tensor index, Tensor weight, Tensor span"
_PROJECT = f"project(Tensor activity, {_TABLES}, Tensor? mu, Tensor? survival, Tensor? taps, float step) -> Tensor"
_SURVIVAL = f"photon_survival(Tensor mu, {_TABLES}, float step) -> Tensor"


def rotated(volume: Tensor, index: Tensor, weight: Tensor) -> Tensor:
    """[B, n, n, nz] -> [B, V, n (depth), n (lateral), nz]."""
    columns = volume.flatten(1, 2)
    n = index.shape[1]
    taken = (columns[:, index.long() + step] for step in (0, 1, n, n + 1))
    return sum(weight[..., k, None] * neighbour for k, neighbour in enumerate(taken))


def blurred(planes: Tensor, taps: Tensor | None) -> Tensor:
    """[B, V, n, n, nz] blurred along its last two dimensions by the kernel of its depth, the third."""
    if taps is None:
        return planes
    across, along = (toeplitz(taps, size) for size in planes.shape[-2:])
    return across @ planes @ along


def _project_reference(
    activity: Tensor,
    index: Tensor,
    weight: Tensor,
    span: Tensor,
    mu: Tensor | None,
    survival: Tensor | None,
    taps: Tensor | None,
    step: float,
) -> Tensor:
    dimmed = attenuated(rotated(activity, index, weight), index, weight, mu, survival, step)
    return blurred(dimmed, taps).sum(2)


def _survival_reference(mu: Tensor, index: Tensor, weight: Tensor, span: Tensor, step: float) -> Tensor:
    own = step * rotated(mu, index, weight)
    return torch.exp(-(own.flip(2).cumsum(2).flip(2) - 0.5 * own))


def attenuated(
    planes: Tensor, index: Tensor, weight: Tensor, mu: Tensor | None, survival: Tensor | None, step: float
) -> Tensor:
    """[B, V, n, n, nz] as what passes a map, or as a survival says."""
    if mu is not None:
        survival = _survival_reference(mu, index, weight, index, step)
    return planes if survival is None else planes * survival


def sample_tables(device: torch.device) -> Iterator[tuple[ViewTables, int]]:
    """Tables and slices: a blur that differs from view to view and crosses a tile's end, an even field, no blur."""
    sigma = np.linspace(14.0, 1.0, 18)[:9].repeat(1) * np.array([[1.0], [0.6], [0.3]])
    yield view_tables(9, 5.0, [-30.0, 0.0, 71.5], sigma).to(device), 67
    yield view_tables(8, 5.0, [225.0], np.linspace(6.0, 0.0, 8)).to(device), 3
    yield view_tables(6, 5.0, [10.0, 100.0]).to(device), 5


def _draw_project(device: torch.device) -> Iterator[dict[str, Any]]:
    for batch, (tables, nz) in enumerate(sample_tables(device), 1):
        call = {"activity": torch.rand(batch, tables.n, tables.n, nz, device=device), "tables": tables}
        survival = torch.rand(1, tables.views, tables.n, tables.n, nz, device=device)
        mu = 0.2 * torch.rand(1, tables.n, tables.n, nz, device=device)
        yield call | ({"survival": survival}, {}, {"mu": mu})[batch - 1]


def _draw_survival(device: torch.device) -> Iterator[dict[str, Any]]:
    for batch, (tables, nz) in enumerate(sample_tables(device), 1):
        yield {"mu": 0.2 * torch.rand(batch, tables.n, tables.n, nz, device=device), "tables": tables}


project_op = Op(_PROJECT, reference=_project_reference, triton=None, samples=_draw_project)
survival_op = Op(_SURVIVAL, reference=_survival_reference, triton=None, samples=_draw_survival)


def project(
    activity: Tensor,
    tables: ViewTables,
    *,
    mu: Tensor | None = None,
    survival: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """The views of an activity: what reaches every bin of the detector.

    activity:  [B, n, n, nz] (y, x, z), any unit per voxel; float32, or float64, which the reference computes.
    tables:    n, angles, voxels and collimator, on the same device and in the same dtype.
    mu:        attenuation map, [B or 1, n, n, nz] in 1/cm; None = nothing attenuates.
    survival:  [B or 1, V, n, n, nz] instead of mu, where something beyond the field attenuates too: made by
               `photon_survival` of a wider map.
    backend:   "reference" or "native"; None lets the dispatcher choose.

    Returns [B, V, n, nz], the sum over depth in the unit of activity. A NaN makes NaN of the bins that see it, and
    maybe of more of its own member of the batch, but of no other. Raises TypeError for a wrong dtype, ValueError for a
    wrong shape or device or both mu and survival, RuntimeError where a gradient would be needed
    (`spectac_fast.reconstruct.projector` has one) or the back end cannot run.
    """
    stencils = (tables.index, tables.weight, tables.span)
    if backend is None and activity.dtype == torch.float32 and project_op.may_try(activity, mu, survival):
        try:
            return project_op.default(activity, *stencils, mu, survival, tables.taps, tables.voxel_cm)
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or an input only lies otherwise.
    check_volume("project", "activity", activity, tables)
    check_attenuation("project", mu, survival, activity, tables)
    check_no_gradient("project", (activity, mu, survival))
    args = (activity.contiguous(), *stencils, dense(mu), dense(survival), tables.taps, tables.voxel_cm)
    return project_op(*args, backend=chosen(backend, activity))


def photon_survival(mu: Tensor, tables: ViewTables, *, backend: str | None = None) -> Tensor:
    """The probability that a photon from the middle of a voxel reaches the detector of a view.

    mu:       [B, n, n, nz] (y, x, z), linear attenuation coefficient in 1/cm; float32, or float64, which the reference
              computes.
    tables, backend: as of `project`; the collimator does not matter.

    Returns [B, V, n (depth), n (lateral), nz]: a view's worth is as large as the volume. A path of more than 87
    attenuation lengths leaves e^-87. Errors are those of `project`.
    """
    check_volume("photon_survival", "mu", mu, tables)
    check_no_gradient("photon_survival", (mu,))
    args = (mu.contiguous(), tables.index, tables.weight, tables.span, tables.voxel_cm)
    return survival_op(*args, backend=chosen(backend, mu))


def chosen(backend: str | None, like: Tensor) -> str | None:
    """Compiled code computes in float32 only."""
    return "reference" if backend is None and like.dtype == torch.float64 else backend


def check_volume(op: str, name: str, volume: Tensor, tables: ViewTables) -> None:
    n = tables.n
    if volume.dim() != 4 or volume.shape[1:3] != (n, n):
        raise ValueError(f"{op}: {name} must have shape [B, {n}, {n}, nz], found {list(volume.shape)}.")
    check_tensor(op, name, volume, volume, volume.shape, PROJECTION_DTYPES, name)
    check_tables(op, name, volume, tables)


def check_tables(op: str, name: str, like: Tensor, tables: ViewTables) -> None:
    if tables.weight.device != like.device or tables.weight.dtype != like.dtype:
        raise ValueError(
            f"{op}: tables must be on {like.device} in {like.dtype} like {name} (`ViewTables.to`), "
            f"found {tables.weight.device}, {tables.weight.dtype}."
        )


def check_attenuation(op: str, mu: Tensor | None, survival: Tensor | None, like: Tensor, tables: ViewTables) -> None:
    if mu is not None and survival is not None:
        raise ValueError(f"{op}: mu or survival may be given, found both.")
    field = (tables.n, tables.n, like.shape[-1])
    for name, given, shape in (("mu", mu, field), ("survival", survival, (tables.views, *field))):
        if given is not None:
            batch = 1 if given.shape[:1] == (1,) else like.shape[0]
            check_tensor(op, name, given, like, (batch, *shape), (like.dtype,), "the data")


def dense(given: Tensor | None) -> Tensor | None:
    return None if given is None else given.contiguous()
