"""Patients reconstructed in every way a department might: with and without each correction, for the judge of images."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from spectac_fast.phantom.anatomy import build
from spectac_fast.phantom.people import draw
from spectac_fast.phantom.simulate import IMAGE_GRID, OBJECT_GRID, VIEWS, Protocol, acquire, halve
from spectac_fast.reconstruct import planes
from spectac_fast.reconstruct.camera import Collimator, Projector, to_columns, to_volume, view_angles
from spectac_fast.reconstruct.grid import Axes
from spectac_fast.reconstruct.osem import butterworth, filtered_back_projection, osem
from spectac_fast.terms import PHASES

SLICES_MM = 197.2
# Name -> (attenuation corrected, scatter corrected, resolution recovered); FBP knows no correction.
METHODS = {
    "NC OSEM": (False, False, False),
    "NC OSEM SC": (False, True, False),
    "NC OSEM RR": (False, False, True),
    "NC FBP": (False, False, False),
    "AC OSEM": (True, False, False),
    "AC OSEM SC": (True, True, False),
    "AC OSEM RR SC": (True, True, True),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cases", type=int, required=True, metavar="N", help="number of patients")
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="first seed; cases are S ... S+N-1")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder, a file for every patient")


def run(args: argparse.Namespace) -> int:
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in range(args.seed, args.seed + args.cases):
        target = args.out / f"case-{seed}.npz"
        if not target.exists():
            part = target.with_name(f".{target.name}.part.npz")
            np.savez_compressed(part, **reconstructed(seed))
            os.replace(part, target)
            print(target, flush=True)
    return 0


def reconstructed(seed: int) -> dict[str, np.ndarray]:
    """volumes: [method, phase, 48, 64, 64] float16, counts per voxel and view, before any post-filter; axes: [4, 3],
    the operator's long, up, lateral and centre (mm).
    """
    patient = draw(seed)
    with torch.inference_mode():
        anatomy = build(patient, OBJECT_GRID, "cpu")
        taken = acquire(patient, anatomy, Protocol(), "cpu")
        estimate = taken.scatter.clone()
        for i, phase in enumerate(PHASES):
            estimate[:, :, i * IMAGE_GRID.nz : (i + 1) * IMAGE_GRID.nz] *= patient.scatter_error[phase]
        mu = to_columns(halve(anatomy.mu_ct))
        volumes = []
        for name, (attenuation, scatter, recovery) in METHODS.items():
            grid = (IMAGE_GRID.n, IMAGE_GRID.nz, IMAGE_GRID.dx, view_angles(VIEWS))
            projector = Projector(*grid, collimator=Collimator() if recovery else None)
            if name == "NC FBP":
                columns = filtered_back_projection(projector, taken.counts)
            else:
                columns = osem(
                    projector, taken.counts, mu=mu if attenuation else None, scatter=estimate if scatter else None
                )
            volumes.append(to_volume(columns, IMAGE_GRID.nz).numpy())
        axes = planes.operator_axes(anatomy.lv.axes, patient.centring, patient.tilt)
    found = np.stack(volumes)
    # Half floats end at 65504 and lose digits below 1e-4: the scale is arbitrary.
    found *= 1000 / found.max(axis=(2, 3, 4), keepdims=True)
    return {"volumes": found.astype(np.float16), "axes": np.stack([axes.long, axes.up, axes.lateral, axes.centre])}


def cut(
    volume: np.ndarray, axes: np.ndarray, plane: str, pixel_mm: float, field_mm: float, cutoff: float
) -> np.ndarray:
    """A stack [slices, rows, columns] of a volume [48, 64, 64], filtered (cutoff in cycles/cm)."""
    long, up, lateral, centre = axes
    filtered = butterworth(torch.from_numpy(volume), IMAGE_GRID.dx, cutoff).numpy()
    along = planes.cuts(Axes(long, up, lateral, centre))[plane]
    counts = [round(size / pixel_mm) for size in (SLICES_MM, field_mm, field_mm)]
    steps = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * pixel_mm for n in counts], indexing="ij")
    where = [
        (centre[i] + sum(step * axis[i] for step, axis in zip(steps, (along.frames, along.down, along.right))))
        / IMAGE_GRID.dx
        + (size - 1) / 2
        for i, size in enumerate((IMAGE_GRID.n, IMAGE_GRID.n, IMAGE_GRID.nz))
    ]
    return map_coordinates(filtered, where[::-1], order=1, mode="constant")
