"""project: a subset of OSEM, eight views over 180 degrees, with attenuation and a collimator's blur and without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from bench.speed.case import Case
from spectac_fast.ops import ViewTables, project, view_tables

SIDES = (64, 128)
VIEWS, FIELD_MM, RADIUS_MM = 8, 435.2, 245.0


def subset(side: int, device: torch.device) -> ViewTables:
    """The views as a low-energy high-resolution collimator sees them: 4 to 22 mm at half maximum."""
    voxel = FIELD_MM / side
    distance = np.maximum(RADIUS_MM - (np.arange(side) - side / 2 + 0.5) * voxel, 5.0)
    sigma = np.hypot(1.5 * (35.0 + distance) / 35.0, 3.8) / 2.3548
    return view_tables(side, voxel, np.linspace(-45.0, 135.0, VIEWS, endpoint=False), sigma).to(device)


def cases(device: torch.device) -> Iterator[Case]:
    for side in SIDES:
        blurred = subset(side, device)
        plain = view_tables(side, FIELD_MM / side, np.linspace(-45.0, 135.0, VIEWS, endpoint=False)).to(device)
        volume = torch.rand(1, side, side, side, device=device)
        mu = 0.15 * torch.rand_like(volume)
        for name, tables, more in (("attenuated, blurred", blurred, {"mu": mu}), ("neither", plain, {})):
            yield Case(
                op="project",
                size=f"{side}^3, {VIEWS} views, {name}",
                ours=lambda tables=tables, more=more, x=volume: project(x, tables, **more),
                rivals={
                    "plain torch": lambda tables=tables, more=more, x=volume: project(
                        x, tables, backend="reference", **more
                    )
                },
                moved=4 * (volume.numel() * (1 + len(more)) + VIEWS * side * side),
            )
