"""One patient, imaged: anatomy -> projections -> NC and AC reconstructions, stress and rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spectac_fast.phantom.anatomy import Anatomy, build
from spectac_fast.phantom.people import Patient
from spectac_fast.phantom.protocol import HANOI, Protocol
from spectac_fast.phantom.scan import (
    Acquisition,
    Scan,
    acquire,
    map_for,
    object_grid,
    prepare,
    scatter_estimate,
)
from spectac_fast.reconstruct import planes
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.regrid import regridded
from spectac_fast.reconstruct.settings import Reconstruction
from spectac_fast.terms import PHASES


@dataclass(frozen=True)
class Case:
    """volumes: NC, AC, TRUTH and, where asked for, IDEAL, {kind: [phase, nz, n, n]} float32 in stored units
    (`Protocol.stored_per_count` of them a count of all views) on `grid`; cuts: the operator's reorientation; radius_mm:
    of the orbit at every view; lv: where the ventricle lies in the short-axis stack; views: the counts that all were
    made of, [phase, views, rows from head to feet, bins], on `detector`.
    """

    patient: Patient
    protocol: Protocol
    volumes: dict[str, Tensor]
    grid: Grid
    cuts: dict[str, planes.Cut]
    radius_mm: tuple[float, ...]
    lv: dict[str, float]
    scatter_to_primary: float
    views: Tensor
    detector: Grid


def simulate(patient: Patient, protocol: Protocol = HANOI, device: str = "cpu", *, ideal: bool = False) -> Case:
    """Image one patient at stress and rest; ideal: also what AC would be with the exact map, exact scatter, no noise.

    Deterministic in the patient and the protocol on a given device.
    """
    with torch.inference_mode():
        anatomy = build(patient, object_grid(patient, protocol.camera), device)
        scan = prepare(anatomy, protocol.camera, device)
        taken = acquire(patient, anatomy, protocol, scan)
        volumes = reconstruct(patient, anatomy, taken, protocol, scan)
        volumes["TRUTH"] = truth(anatomy, taken, protocol, scan)
        if ideal:
            volumes["IDEAL"] = reconstruct_ideal(anatomy, taken, protocol, scan)
        axes = planes.operator_axes(anatomy.lv.axes, patient.centring, patient.tilt)
        volumes = {kind: protocol.stored_per_count * volume for kind, volume in volumes.items()}
    lv = sampling(patient, anatomy, axes)
    radius = tuple(scan.radius.tolist())
    views = _from_head(taken.counts)
    sides = planes.cuts(axes)
    return Case(
        patient, protocol, volumes, scan.image, sides, radius, lv, taken.scatter_to_primary, views, scan.detector
    )


def reconstruct(
    patient: Patient, anatomy: Anatomy, taken: Acquisition, protocol: Protocol, scan: Scan
) -> dict[str, Tensor]:
    """NC and AC volumes [phase, nz, n, n] in counts per voxel over all views."""
    estimates = {
        how.scatter: scatter_estimate(how.scatter, patient, taken, scan, protocol.acquisition)
        for how in (protocol.nc, protocol.ac)
    }
    mu = _map(anatomy.mu_emission if protocol.exact_map else anatomy.mu_ct, protocol, scan)
    return {
        "NC": _volume(protocol.nc, protocol, scan, taken.counts, estimates[protocol.nc.scatter], None),
        "AC": _volume(protocol.ac, protocol, scan, taken.counts, estimates[protocol.ac.scatter], mu),
    }


def reconstruct_ideal(anatomy: Anatomy, taken: Acquisition, protocol: Protocol, scan: Scan) -> Tensor:
    """AC's reconstruction of the expected counts with the exact map and the exact scatter, as `reconstruct`."""
    mu = _map(anatomy.mu_emission, protocol, scan)
    return _volume(protocol.ac, protocol, scan, taken.expected, taken.scatter, mu)


def truth(anatomy: Anatomy, taken: Acquisition, protocol: Protocol, scan: Scan) -> Tensor:
    """The activity itself in the voxels and units of `reconstruct`."""
    activity = torch.stack([anatomy.activity[phase] for phase in PHASES])
    gain = torch.tensor([taken.gain[phase] for phase in PHASES], device=activity.device)[:, None, None, None]
    voxels = (scan.image.dx / scan.object.dx) ** 3
    return voxels * protocol.camera.views * (regridded(activity, scan.object, scan.image) * gain)


def _map(volume: Tensor, protocol: Protocol, scan: Scan) -> Tensor:
    mu = map_for(volume, scan)
    return mu if protocol.attenuation else torch.zeros_like(mu)


def _volume(
    how: Reconstruction,
    protocol: Protocol,
    scan: Scan,
    counts: Tensor,
    scatter: Tensor | None,
    mu: Tensor | None,
) -> Tensor:
    """counts and scatter: of the whole detector; mu None = no attenuation correction."""
    counts, scatter = (None if views is None else views[..., scan.rows].contiguous() for views in (counts, scatter))
    if how.method == "OSEM":
        slices = scan.osem(protocol.camera, how, counts, scatter, mu)
    elif mu is None:
        slices = scan.back_project(counts if scatter is None else counts - scatter)
    else:
        raise ValueError("attenuation is corrected by OSEM, not by filtered back-projection")
    return protocol.camera.views * low_pass(slices, scan.image.dx, how.filter)


def _from_head(views: Tensor) -> Tensor:
    """Views [phase, views, bins, rows from feet to head] as `Case.views`."""
    return views.movedim(3, 2).flip(2)


def sampling(patient: Patient, anatomy: Anatomy, operator: planes.Axes) -> dict[str, float]:
    """Where the ventricle lies in the short-axis stack: the base plane relative to the stack's centre along (long,
    up, lateral), mm.
    """
    base = anatomy.lv.axes.centre - anatomy.lv.axes.long * 0.42 * patient.lv_length - operator.centre
    position = {
        f"base_{name}_mm": float(base @ axis)
        for name, axis in (("long", operator.long), ("up", operator.up), ("lateral", operator.lateral))
    }
    return {**anatomy.lv.summary(), **position}
