"""One patient, imaged: anatomy -> projections -> NC and AC reconstructions -> SA, VLA and HLA stacks, stress and
rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectac_fast.phantom.anatomy import Anatomy, build
from spectac_fast.phantom.people import Patient
from spectac_fast.reconstruct import planes
from spectac_fast.reconstruct.camera import Collimator, rebinned, scatter_source, view_angles
from spectac_fast.reconstruct.filters import butterworth
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.osem import osem
from spectac_fast.reconstruct.projector import Projector, to_columns, to_volume
from spectac_fast.terms import KINDS, PHASES

OBJECT_GRID = Grid(128, 96, 3.4)
IMAGE_GRID = Grid(64, 48, 6.8)
VIEWS = 64


@dataclass(frozen=True)
class Protocol:
    """What a study is made with; the defaults are the cohort's, the others find out which effect causes what.

    exact_ct: the attenuation map and the scatter estimate are those of the emission; resolution_recovery: OSEM models
    the collimator. acquisition: another number counts other photons of the same patient.
    """

    scatter: bool = True
    scatter_correction: bool = True
    noise: bool = True
    exact_ct: bool = False
    resolution_recovery: bool = False
    iterations: int = 4
    subsets: int = 8
    acquisition: int = 0


@dataclass(frozen=True)
class Acquisition:
    """Projections of both phases [2, VIEWS, 64, 48]: noisy counts, expected scatter counts, and counts per unit
    activity.
    """

    counts: Tensor
    scatter: Tensor
    gain: dict[str, float]
    scatter_to_primary: float


@dataclass(frozen=True)
class Case:
    """stacks: [phase, plane, kind (NC, AC, TRUTH), 29, 64, 64] float32 in counts (all views); axes: the operator's
    reorientation.
    """

    patient: Patient
    protocol: Protocol
    stacks: np.ndarray
    cuts: dict[str, planes.Cut]
    lv: dict[str, float]
    scatter_to_primary: float


def acquire(patient: Patient, anatomy: Anatomy, protocol: Protocol, device: str) -> Acquisition:
    """64 views over 180 degrees. The primary is projected at 3.4 mm and rebinned to 6.8 mm bins, so reconstruction
    never sees its own model of the object; scatter is smooth and is projected at 6.8 mm.
    """
    fine, coarse = (_projector(grid, Collimator(), device) for grid in (OBJECT_GRID, IMAGE_GRID))
    activity = torch.stack([anatomy.activity[phase] for phase in PHASES])
    mu_coarse = halve(anatomy.mu_emission)
    primary = rebinned(fine.project(to_columns(activity), mu=to_columns(anatomy.mu_emission)), 2)
    # A coarse voxel stands for 8 fine ones, all of which a rebinned view of the fine grid sums.
    source = 8 * scatter_source(halve(activity), mu_coarse, IMAGE_GRID.dx)
    scatter = (
        coarse.project(to_columns(source), mu=to_columns(mu_coarse)) if protocol.scatter else torch.zeros_like(primary)
    )
    expected = primary + scatter
    rng = np.random.default_rng((patient.seed, 3, protocol.acquisition))
    counts, gain = torch.empty_like(expected), {}
    for i, phase in enumerate(PHASES):
        gain[phase] = patient.counts[phase] / float(expected[i].sum(dtype=torch.float64))
        lam = (expected[i].clamp_min(0) * gain[phase]).cpu().numpy()
        drawn = rng.poisson(lam) if protocol.noise else lam
        counts[i] = torch.from_numpy(drawn.astype(np.float32)).to(device)
        scatter[i] *= gain[phase]
        primary[i] *= gain[phase]
    return Acquisition(counts, scatter, gain, float(scatter.sum() / primary.sum()))


def reconstruct(
    patient: Patient, anatomy: Anatomy, taken: Acquisition, protocol: Protocol, device: str
) -> dict[str, Tensor]:
    """NC and AC volumes [2 phases, 48, 64, 64] in counts per voxel over all views."""
    projector = _projector(IMAGE_GRID, Collimator() if protocol.resolution_recovery else None, device)
    start = taken.counts.mean() / IMAGE_GRID.n
    settings = {"iterations": protocol.iterations, "subsets": protocol.subsets, "start": start}
    errors = [1.0 if protocol.exact_ct else patient.scatter_error[phase] for phase in PHASES]
    estimate = taken.scatter * torch.tensor(errors, device=device)[:, None, None, None]
    mu = to_columns(halve(anatomy.mu_emission if protocol.exact_ct else anatomy.mu_ct))
    volumes = {
        "NC": osem(projector, taken.counts, **settings),
        "AC": osem(
            projector, taken.counts, mu=mu, scatter=estimate if protocol.scatter_correction else None, **settings
        ),
    }
    return {kind: VIEWS * butterworth(to_volume(v), IMAGE_GRID.dx) for kind, v in volumes.items()}


def _projector(grid: Grid, collimator: Collimator | None, device: str) -> Projector:
    return Projector(grid.n, grid.dx, view_angles(VIEWS), collimator=collimator, device=device)


def simulate(patient: Patient, protocol: Protocol | None = None, device: str = "cpu") -> Case:
    """Image one patient at stress and rest. Deterministic in the patient (and the protocol) on a given device."""
    protocol = protocol or Protocol()
    with torch.inference_mode():
        anatomy = build(patient, OBJECT_GRID, device)
        taken = acquire(patient, anatomy, protocol, device)
        volumes = reconstruct(patient, anatomy, taken, protocol, device)
        activity = torch.stack([halve(anatomy.activity[phase]) * taken.gain[phase] for phase in PHASES])
        volumes["TRUTH"] = 8 * VIEWS * activity
        axes = planes.operator_axes(anatomy.lv.axes, patient.centring, patient.tilt)
        cuts = planes.cuts(axes)
        stacks = torch.stack(
            [torch.stack([planes.resample(volumes[k], IMAGE_GRID, cut) for k in KINDS], 1) for cut in cuts.values()], 1
        )
    return Case(
        patient, protocol, stacks.cpu().numpy(), cuts, _sampling(patient, anatomy, axes), taken.scatter_to_primary
    )


def halve(volume: Tensor) -> Tensor:
    """Mean over 2 x 2 x 2 voxels of [..., nz, ny, nx]."""
    *lead, nz, ny, nx = volume.shape
    return volume.reshape(*lead, nz // 2, 2, ny // 2, 2, nx // 2, 2).mean((-5, -3, -1))


def _sampling(patient: Patient, anatomy: Anatomy, operator: planes.Axes) -> dict[str, float]:
    """Where the ventricle lies in the short-axis stack: the base plane relative to the stack's centre along (long,
    up, lateral), mm.
    """
    base = anatomy.lv.axes.centre - anatomy.lv.axes.long * 0.42 * patient.lv_length - operator.centre
    position = {
        f"base_{name}_mm": float(base @ axis)
        for name, axis in (("long", operator.long), ("up", operator.up), ("lateral", operator.lateral))
    }
    return {**anatomy.lv.summary(), **position}
