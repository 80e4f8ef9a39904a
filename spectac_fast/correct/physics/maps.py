"""Attenuation maps on the grid of a reconstruction: read from files, or predicted from NC."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from spectac_fast.data.search import dicom_files
from spectac_fast.errors import InputError, NoInputError, UsageError
from spectac_fast.formats.dicom import file_content
from spectac_fast.formats.dicom.patient import identity
from spectac_fast.formats.dicom.tomo.maps import AttenuationMap, read_map_files
from spectac_fast.formats.dicom.tomo.stacks import frame_of
from spectac_fast.formats.projections import Projections
from spectac_fast.models.mumap import MU_MOST, MapModel
from spectac_fast.models.mumap_bridge import MapBridge
from spectac_fast.reconstruct.acquired import central, uniform_map
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.maps import mu_of_hu

# Lung is above this, 1/cm; so much of the body that emission shows must be, and so much about the heart be in the map.
_BODY_MU, _COVERED, _HEART_MM = 0.02, 0.7, 40.0
# What most of a body attenuates, 1/cm at 140.5 keV: between lung and bone.
_SOFT = (0.08, 0.20)


@dataclass(frozen=True, eq=False)
class Placed:
    """What a map is needed for. nc: volume [z, y, x] of the usual reconstruction on `grid`, made when it is asked for.
    heart_z: height of the heart, mm.
    """

    projections: Projections
    grid: Grid
    nc: Callable[[], Tensor]
    heart_z: float


class MapSource(Protocol):
    """Where attenuation maps come from. digest: what identifies it. sources: (class, instance) UIDs of its DICOM
    objects. words: what it is, for a header.
    """

    digest: str
    sources: tuple[tuple[str, str], ...]
    words: str

    def place(self, of: Placed) -> tuple[Tensor, tuple[str, ...]]:
        """The map float32 [z, m, m] in 1/cm on the voxels of the reconstruction, m at least its own across; sentences
        on it. Raises InputError for a map that is none of this patient.
        """
        ...

    def spread(self, of: Placed, mu: Tensor, count: int, seed: int) -> Tensor:
        """[count, z, m, m]: maps that may be true where `mu`, that of `place`, may be."""
        ...

    @property
    def doubted(self) -> Doubted:
        """What `spread` is made of."""
        ...


@dataclass(frozen=True)
class Doubted:
    """What a deviation is made of. words: for a header. settings: everything that it depends on besides the counts'.
    floor: what is to be added to it, squares to squares, as a share of the counts. notes: sentences.
    """

    words: str
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    floor: float = 0.0
    notes: tuple[str, ...] = ()


class FileMap:
    """A `MapSource` of what was read from files (`load_map`), whose SHA-256 is `digest`."""

    def __init__(self, found: AttenuationMap, digest: str) -> None:
        self._found, self.digest = found, digest
        self.sources = self._found.sources
        self.words = "CT map" if self._found.unit == "HU" else "NM map"

    def place(self, of: Placed) -> tuple[Tensor, tuple[str, ...]]:
        mu, notes = on_grid(self._found, of.grid, of.projections)
        check_overlap(mu, uniform_map(of.nc()) > 0, self._found, of.heart_z)
        return mu, notes

    def spread(self, of: Placed, mu: Tensor, count: int, seed: int) -> Tensor:
        """The map itself: how wrong a measured one is, such as by a breath, nothing tells here."""
        return mu.expand(count, *mu.shape)

    @property
    def doubted(self) -> Doubted:
        return Doubted("photons", notes=("the deviations are of photons alone; the map is taken to be right.",))


class PredictedMap:
    """A `MapSource` of a network that sees the NC reconstruction. bridge: draws the maps of `spread`, None = nothing
    is asked of that.
    """

    sources: tuple[tuple[str, str], ...] = ()

    def __init__(self, model: MapModel, bridge: MapBridge | None = None) -> None:
        self._model, self._bridge, self.digest = model, bridge, model.weights_sha256
        self.words = f"map predicted from NC by mumap, weights {self.digest[:12]}"

    def place(self, of: Placed) -> tuple[Tensor, tuple[str, ...]]:
        nc = of.nc()
        mu = self._model.predict(nc, of.grid)
        check_sense(central(mu, of.grid.n), uniform_map(nc) > 0, of.projections.path)
        return mu, ()

    def spread(self, of: Placed, mu: Tensor, count: int, seed: int) -> Tensor:
        """About the predicted map, as far from it as drawn maps lie from their mean, by the bridge's calibration."""
        bridge = self._drawing()
        drawn = bridge.samples(of.nc(), of.grid, count, seed)
        off = (drawn - drawn.mean(0)).mul_(bridge.calibration.temperature)
        return off.add_(mu).clamp_(0.0, MU_MOST)

    @property
    def doubted(self) -> Doubted:
        bridge = self._drawing()
        by, digest = bridge.calibration, bridge.weights_sha256
        calibrated = f"temperature {by.temperature:.2f}, floor {by.floor:.3f}" if by.measured else "not calibrated"
        words = f"photons and map, maps by mumap-bridge, weights {digest[:12]}, {calibrated}"
        settings: dict[str, str | int | float] = {"bridge": digest, "temperature": by.temperature, "floor": by.floor}
        unmeasured = "its deviations are not calibrated: the weights that draw maps have none."
        return Doubted(words, settings, by.floor, () if by.measured else (unmeasured,))

    def _drawing(self) -> MapBridge:
        if self._bridge is None:
            raise UsageError("uncertainty: expected weights that draw maps, found none.")
        return self._bridge


def load_map(path: Path) -> tuple[AttenuationMap, str]:
    """The map in a file, or in the CT series of a folder, and the SHA-256 of what was read.

    Raises NoInputError where there is none, and as `read_map_files`.
    """
    unread: list[str] = []
    paths = dicom_files(path, unread.append)[0] if path.is_dir() else [path]
    if unread:
        raise InputError(unread[0])
    if not paths:
        raise NoInputError(f"{path}: expected an attenuation map, found no DICOM file.")
    files = [(each, file_content(each)) for each in paths]
    digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for _, content in files)).hexdigest()
    return read_map_files(files), digest


def on_grid(found: AttenuationMap, grid: Grid, projections: Projections) -> tuple[Tensor, tuple[str, ...]]:
    """The map as float32 [z, y, x] in 1/cm on the voxels of a reconstruction, at their resolution; sentences on how.

    The axis of rotation is taken to be the line x = y = 0 of the map's frame of reference. Slices beyond the map repeat
    its end, 0 is what lies beside it.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    if found.unit == "HU":
        mu = mu_of_hu(torch.from_numpy(found.values)).numpy()
    else:
        mu = found.values
    sides = np.linalg.norm(found.steps, axis=1)
    # A voxel of emission is a mean over many of a CT.
    blurred = gaussian_filter(mu, [0.4 * grid.dx / side if side < grid.dx else 0.0 for side in sides])
    z, y, x = np.meshgrid(grid.axis_z(), grid.axis_y(), grid.axis_x(), indexing="ij")
    away = np.stack([x, y, z], -1) - found.first
    index = np.moveaxis(away @ np.linalg.inv(found.steps), -1, 0)
    along = np.argmax(np.abs(found.steps[:, 2]))
    index[along] = np.clip(index[along], 0, mu.shape[along] - 1)
    values = map_coordinates(blurred, index, order=1, mode="constant", cval=0.0)
    notes = list(found.notes)
    if found.patient and found.patient != (identity(projections.header) or found.patient):
        notes.append("the attenuation map names another patient, or the same one otherwise.")
    if found.frame == frame_of(projections):
        return torch.from_numpy(values.astype(np.float32)), tuple(notes)
    notes += ["the attenuation map is placed with the axis of rotation at x = y = 0 of its coordinates."]
    if found.frame != str(projections.header.get("FrameOfReferenceUID") or ""):
        notes.append("the attenuation map has another frame of reference; it is taken to lie where the patient did.")
    return torch.from_numpy(values.astype(np.float32)), tuple(notes)


def check_overlap(mu: Tensor, body: Tensor, found: AttenuationMap, heart_z: float) -> None:
    """Raise InputError unless a map [z, y, x] covers the body that emission shows, and the heart at a height, mm.

    body: bool [z, y, x].
    """
    ends = found.first[2] + np.array([0.0, (found.values.shape[0] - 1) * found.steps[0, 2]])
    low, high = float(ends.min()), float(ends.max())
    if abs(found.steps[0, 2]) > 0.5 * np.linalg.norm(found.steps[0]) and not (
        low <= heart_z - _HEART_MM and heart_z + _HEART_MM <= high
    ):
        raise InputError(
            f"{found.path}: expected an attenuation map about the heart at {heart_z:.0f} mm, found one from "
            f"{low:.0f} to {high:.0f} mm along the patient."
        )
    share = float((mu[body] > _BODY_MU).float().mean()) if bool(body.any()) else 0.0
    if share < _COVERED:
        raise InputError(
            f"{found.path}: expected an attenuation map that overlaps the body, found that it covers "
            f"{100 * share:.0f} % of what emission shows."
        )


def check_sense(mu: Tensor, body: Tensor, path: Path) -> None:
    """Raise InputError unless a predicted map [z, y, x] is one of a body where emission shows one, bool [z, y, x]."""
    inside = mu[body]
    if not bool(body.any()) or not bool(inside.isfinite().all()):
        raise InputError(f"{path}: expected counts of a body to predict an attenuation map from, found none.")
    share, middle = float((inside > _BODY_MU).float().mean()), float(inside.median())
    if share < _COVERED or not _SOFT[0] <= middle <= _SOFT[1]:
        raise InputError(
            f"{path}: expected a predicted attenuation map of {_SOFT[0]:g} to {_SOFT[1]:g}/cm in the body, found "
            f"{middle:.2f}/cm and {100 * share:.0f} % of the body covered; give a map (--ac FILE), or none."
        )
