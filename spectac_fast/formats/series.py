"""One stack of slices, whatever file it came from, and what is said of how one is made or read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from spectac_fast.formats.orientation import AS_STORED, Turn

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Of files that hold a stack and no more: read and written as such.
VOLUME_ENDINGS = (".nii.gz", ".nii", ".npy")


class Form(Protocol):
    """How a stack was stored. frame: a name for the coordinates of its geometry, "" where there are none to rely on."""

    frame: str

    def encode(self, counts: NDArray[np.float32], note: str) -> bytes:
        """A file like the source with other counts, in the order of the file; its bytes depend on nothing else."""
        ...


@dataclass(frozen=True, eq=False)
class Series:
    """One stack of slices.

    counts: float32 [slices, rows, columns], at least zero, after every slope, intercept and table of the header, as
    slices of its plane are shown (`formats.orientation`); slice k lies at position + k * slice_mm * (row x column
    direction).
    plane: "SA", "VLA" or "HLA"; "TRA" (transaxial) only where reading was forced. phase: "stress" or "rest".
    pixel_mm: (row spacing, column spacing), mm. slice_mm: signed distance from slice to slice, mm.
    orientation: direction cosines of row and column (LPS). position: centre of the first slice's first voxel (LPS), mm.
    attenuation_corrected: whether attenuation is corrected already, by all the evidence, or may be.
    kind_told: whether the user said so. doubt: what the evidence is where it leaves that open. evidence: all of it, a
    clause each (`formats.evidence`).
    path: the file it came from. header: its DICOM attributes without pixels, or None if it did not come from DICOM.
    instances: where every slice has a file of its own, the SOP Instance UIDs of these; path is the first of them.
    form: how a NIfTI or npy file stores it, or None for DICOM.
    step: counts between two neighbouring stored values; 0 where there are none (floating point, tables).
    padding: float32 like counts: what the file holds in voxels that it says hold no signal (0 counts) and NaN in all
    others; None where there is no such voxel.
    turn: from the order of the file to that of counts.
    assumed: of "orientation" and "position" what the file does not tell: a typical heart's, and the origin amid it.
    notes: what was assumed when it was read, a sentence each, to be read after the file's name and a colon.
    """

    counts: NDArray[np.float32]
    plane: str
    phase: str
    pixel_mm: tuple[float, float]
    slice_mm: float
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    attenuation_corrected: bool
    path: Path
    header: Dataset | None = None
    instances: tuple[str, ...] = ()
    form: Form | None = None
    step: float = 1.0
    padding: NDArray[np.float32] | None = None
    turn: Turn = AS_STORED
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    kind_told: bool = False
    doubt: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """The notes as sentences that name the file."""
        return [f"{self.path}: {note}" for note in self.notes]

    def silenced(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """`values` [slices, rows, columns] with 0 where the file says that there is no signal."""
        return values if self.padding is None else np.where(np.isnan(self.padding), values, np.float32(0))

    @property
    def uid(self) -> str:
        """The Series Instance UID, or plane and phase where there is no header."""
        return str(self.header.SeriesInstanceUID) if self.header is not None else f"{self.phase}/{self.plane}"

    @property
    def frame_of_reference(self) -> str:
        """The UID, or another name, of the coordinates of orientation and position, "" where none is known."""
        if self.form is not None:
            return self.form.frame
        if self.assumed:
            return "assumed"
        return str(self.header.get("FrameOfReferenceUID") or "") if self.header is not None else ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distances of neighbouring voxel centres along (slice, row, column), mm, all positive."""
        return (abs(self.slice_mm), *self.pixel_mm)

    @property
    def directions(self) -> NDArray[np.float64]:
        """Where slices, rows and columns run (LPS), unit vectors, float64 [3, 3]."""
        row, column = np.array(self.orientation[:3], float), np.array(self.orientation[3:], float)
        return np.stack([np.sign(self.slice_mm) * np.cross(row, column), column, row])

    def turned(self, turn: Turn) -> Series:
        """The same voxels in another order, at the same places."""
        if turn == AS_STORED:
            return self
        mm, shape = np.array(self.spacing_mm), self.counts.shape
        first, _ = turn.steps(np.array(self.position, float), self.directions * mm[:, None], shape)
        _, (along, down, right) = turn.steps(first, self.directions, shape)
        slice_mm, *pixel_mm = map(float, mm[list(turn.axes)])
        return replace(
            self.reread(turn),
            pixel_mm=(pixel_mm[0], pixel_mm[1]),
            slice_mm=math.copysign(slice_mm, np.cross(right, down) @ along),
            orientation=(*map(float, right), *map(float, down)),
            position=tuple(map(float, first)),
        )

    def reread(self, turn: Turn) -> Series:
        """The file read in another order, with other voxels at the same places."""
        padding = None if self.padding is None else np.ascontiguousarray(turn.apply(self.padding))
        counts = np.ascontiguousarray(turn.apply(self.counts))
        return replace(self, counts=counts, padding=padding, turn=self.turn.then(turn))


@dataclass(frozen=True)
class Provenance:
    """What made the corrected counts; goes into the derived objects' text and, as entropy, into their UIDs.

    model: its name. weights: SHA-256 of the weights in hex, "" for a model without any. version: of this package.
    settings: everything else that the counts depend on (steps, samples, seed, device kind ...). uncertainty: what
    their standard deviations depend on besides; it is in the text and the UIDs of these alone.
    """

    model: str
    weights: str
    version: str
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    uncertainty: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What the user says of files; None where nothing.

    plane: of NIfTI and npy files, "SA", "VLA" or "HLA". phase: "stress" or "rest", whatever the file says. pixel_mm,
    slice_mm: of npy files, mm. kind: "NC" or "AC", whatever the evidence. keep_scatter: that the AC which is wanted is
    of a department that leaves scatter in. sharper: that it is of a reconstruction that recovers resolution, where that
    of NC does not.
    """

    plane: str | None = None
    phase: str | None = None
    pixel_mm: float | None = None
    slice_mm: float | None = None
    kind: str | None = None
    keep_scatter: bool | None = None
    sharper: bool | None = None


NOTHING = Told()


def volume_ending(path: Path) -> str:
    """What a NIfTI or npy file's name ends with, in small letters; "" for any other."""
    return next((ending for ending in VOLUME_ENDINGS if path.name.lower().endswith(ending)), "")
