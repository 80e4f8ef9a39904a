"""Patients reconstructed in every way a department might: with and without each correction, for the judge of images."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import map_coordinates

from bench.outputs import appearing
from spectac_fast.phantom.anatomy import build
from spectac_fast.phantom.people import draw
from spectac_fast.phantom.protocol import HANOI
from spectac_fast.phantom.scan import acquire, map_for, object_grid, prepare, scatter_estimate
from spectac_fast.reconstruct import planes
from spectac_fast.reconstruct.filters import butterworth
from spectac_fast.reconstruct.grid import Axes, Grid

SLICES_MM = 197.2
# Of the volumes: the camera's own.
GRID = Grid(64, 48, 6.8)
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
            with appearing(target) as part, part.open("wb") as file:
                np.savez_compressed(file, **reconstructed(seed))
            print(target, flush=True)
    return 0


def reconstructed(seed: int) -> dict[str, np.ndarray]:
    """volumes: [method, phase, 48, 64, 64] float16, counts per voxel and view, before any post-filter; axes: [4, 3],
    the operator's long, up, lateral and centre (mm).
    """
    patient = draw(seed)
    with torch.inference_mode():
        anatomy = build(patient, object_grid(patient, HANOI.camera), "cpu")
        scan = prepare(anatomy, HANOI.camera, "cpu")
        taken = acquire(patient, anatomy, HANOI, scan)
        estimate = scatter_estimate("estimate", patient, taken, scan, HANOI.acquisition)
        mu = map_for(anatomy.mu_ct, scan)
        volumes = []
        for name, (attenuation, scatter, recovery) in METHODS.items():
            if name == "NC FBP":
                slices = scan.back_project(taken.counts)
            else:
                how = replace(HANOI.nc, iterations=4, subsets=8, resolution_recovery=recovery)
                given = (estimate if scatter else None, mu if attenuation else None)
                slices = scan.osem(HANOI.camera, how, taken.counts, *given)
            volumes.append(slices.numpy())
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
    filtered = butterworth(torch.from_numpy(volume), GRID.dx, cutoff).numpy()
    along = planes.cuts(Axes(long, up, lateral, centre))[plane]
    counts = [round(size / pixel_mm) for size in (SLICES_MM, field_mm, field_mm)]
    steps = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * pixel_mm for n in counts], indexing="ij")
    where = [
        (centre[i] + sum(step * axis[i] for step, axis in zip(steps, (along.frames, along.down, along.right))))
        / GRID.dx
        + (size - 1) / 2
        for i, size in enumerate((GRID.n, GRID.n, GRID.nz))
    ]
    return map_coordinates(filtered, where[::-1], order=1, mode="constant")
