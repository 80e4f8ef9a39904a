"""An attenuation map of an NC reconstruction, by a network: what a CT would be for, of a patient who had none.

Huxohl et al., EJNMMI Phys 2023 and Liu et al., J Nucl Cardiol 2022 do so too. The network sees a transaxial slice, its
neighbours and where the camera's field ends; its map is what OSEM then corrects the patient's own counts by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.device import resolve_device
from spectac_fast.models.description import Description, describe, read_apart, reading
from spectac_fast.models.methods.regression import context_of
from spectac_fast.models.networks.build import build_network
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.regrid import interpolated, regridded

NAME = "mumap"
# 1/cm in model units: -1 is air, 1 is soft tissue at 140.5 keV; and what a map may hold at most.
MU_UNIT, MU_MOST = 0.15, 0.30
# Counts over a level are compressed by log(1 + counts / KNEE): a body's outline is some percent of a heart or liver.
_KNEE = 0.05
# The level is what half a litre exceeds: the brightest organ's, whatever the field is.
_LEVEL_MM3 = 0.5e6
_BATCH = 16


def level_of(nc: Tensor, voxel_mm: float) -> float:
    """The counts that half a litre of an NC volume exceeds; above 0."""
    voxels = min(max(round(_LEVEL_MM3 / voxel_mm**3), 1), nc.numel())
    return max(float(nc.flatten().float().topk(voxels).values[-1]), 1e-20)


def compressed(counts: Tensor) -> Tensor:
    """Counts over their level in model units: 0 -> -1, 1 -> 1."""
    return 2.0 * torch.log1p(counts.clamp_min(0) / _KNEE) / math.log1p(1 / _KNEE) - 1.0


def mu_of(units: Tensor) -> Tensor:
    """1/cm of model units."""
    return 0.5 * MU_UNIT * (units + 1.0)


def units_of(mu: Tensor) -> Tensor:
    """Model units of 1/cm."""
    return 2.0 * mu / MU_UNIT - 1.0


class MapNetwork(nn.Module):
    """forward([B, 2 + 2 context, H, W]) -> [B, 1, H, W], in model units: an NC slice, its neighbours from below to
    above, and the camera's field (1 inside, -1 outside); the map of the slice.

    Raises ValueError for a network of other channels.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.context_slices, self.multiple = context_of(network), network.multiple

    def forward(self, seen: Tensor) -> Tensor:
        start = torch.zeros(len(seen), dtype=torch.int64, device=seen.device)
        return self.network(seen[:, -1:], start, context=seen[:, :-1])


def seen_slices(nc: Tensor, field: Tensor, context: int) -> Tensor:
    """[nz, 2 + 2 context, H, W] of what `MapNetwork` sees: an NC volume [nz, H, W] in model units, whose ends repeat,
    and the field [H, W].
    """
    offsets = (0, *(k for k in range(-context, context + 1) if k))
    every = torch.arange(len(nc))
    beside = [nc[(every + k).clamp(0, len(nc) - 1)] for k in offsets]
    return torch.stack([*beside, field.expand(len(nc), -1, -1)], dim=1)


class MapVolumes:
    """Volumes in and out of a network of attenuation maps of slices.

    voxel_mm: of the volumes that the network sees. size: (rows, columns) that it sees at least. context_slices:
    neighbours on either side. multiple: what rows and columns are divisible by. card, weights_sha256: where it comes
    from.
    """

    def __init__(
        self,
        said: Description,
        context_slices: int,
        multiple: int,
        device: torch.device,
    ) -> None:
        self.voxel_mm, self.size, self.device = said.pixel_mm, said.size, device
        self.card, self.weights_sha256 = said.card, said.weights_sha256
        self.context_slices, self.multiple = context_slices, multiple

    def working_grid(self, grid: Grid) -> Grid:
        """The voxels that the network sees of a reconstruction: its own, about the same axis, over as many whole slices
        as there are, and so wide that the body around a small field is there too.
        """
        mm, multiple = self.voxel_mm, self.multiple
        across = max(self.size[0], math.ceil(grid.n * grid.dx / mm - 1e-6))
        rows = max(math.floor(grid.nz * grid.dx / mm + 1e-6), 1)
        below = grid.nz * grid.below * grid.dx / mm / rows
        return Grid(multiple * math.ceil(across / multiple), rows, mm, below, grid.centre)

    def seen(self, nc: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """`seen_slices` of an NC volume [nz, n, n] on `grid`, and the voxels that they are on."""
        working = self.working_grid(grid)
        coarse = regridded(nc.float(), grid, working).to(self.device)
        x, y = (torch.from_numpy(axis).float() for axis in (working.axis_x(), working.axis_y()))
        half = grid.n * grid.dx / 2
        inside = ((x - grid.centre[0]).abs() < half) & ((y - grid.centre[1]).abs() < half)[:, None]
        units = compressed(coarse / level_of(coarse, working.dx))
        return seen_slices(units, 2.0 * inside.to(units) - 1.0, self.context_slices), working

    def placed(self, units: Tensor, working: Grid, grid: Grid, device: torch.device) -> Tensor:
        """A map in model units on the working voxels, as 1/cm on those of a reconstruction on `grid` and as wide as
        `working`, because what lies beside a small field attenuates too.
        """
        wide = max(grid.n, 2 * math.ceil(working.n * working.dx / grid.dx / 2 - 1e-6))
        target = Grid(wide, grid.nz, grid.dx, grid.below, grid.centre)
        return interpolated(mu_of(units).clamp(0.0, MU_MOST), working, target).to(device)


class MapModel(MapVolumes):
    """A trained network that makes the most likely map; attributes: see `MapVolumes`."""

    def __init__(self, tensors: Mapping[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> None:
        with reading(path):
            said = describe(header, path)
            model = MapNetwork(build_network(header["config"]["network"]))
        fill(model, {name: value.float() for name, value in tensors.items()}, str(path))
        self.network = model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        super().__init__(said, model.context_slices, model.multiple, device)

    @torch.no_grad()
    def predict(self, nc: Tensor, grid: Grid) -> Tensor:
        """A map float32 [nz, m, m] in 1/cm of an NC volume [nz, n, n] on `grid`, on its voxels and m >= n of them
        across: as wide as `working_grid`.
        """
        seen, working = self.seen(nc, grid)
        mu = torch.cat([self.network(part) for part in seen.split(_BATCH)])[:, 0]
        return self.placed(mu, working, grid, nc.device)


def load_map_model(path: str | Path | None = None, device: str = "auto") -> MapModel:
    """The shipped model, or that of a weight file.

    Raises SetupError where none is installed, InputError for a file that is not such a model.
    """
    return MapModel(*read_apart(NAME, path), torch.device(resolve_device(device)))
