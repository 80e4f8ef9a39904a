"""One stack of slices, whatever file it came from, and what is said of how one is made or read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Of files that hold a stack and no more: read and written as such.
VOLUME_ENDINGS = (".nii.gz", ".nii", ".npy")


class Form(Protocol):
    """How a stack was stored. frame: a name for the coordinates of its geometry, "" where there are none to rely on."""

    frame: str

    def encode(self, counts: NDArray[np.float32], note: str) -> bytes:
        """A file like the source with other counts, [slices, rows, columns]; its bytes depend on nothing else."""
        ...


@dataclass(frozen=True, eq=False)
class Series:
    """One stack of slices.

    counts: float32 [slices, rows, columns]; slice k lies at position + k * slice_mm * (row x column direction).
    plane: "SA", "VLA" or "HLA"; "TRA" (transaxial) only where reading was forced. phase: "stress" or "rest".
    pixel_mm: (row spacing, column spacing), mm. slice_mm: signed distance from slice to slice, mm.
    orientation: direction cosines of row and column (LPS). position: centre of the first slice's first voxel (LPS), mm.
    attenuation_corrected: whether the source says that attenuation was corrected.
    path: the file it came from. header: its DICOM attributes without pixels, or None if it did not come from DICOM.
    instances: where every slice has a file of its own, the SOP Instance UIDs of these; path is the first of them.
    form: how a NIfTI or npy file stores it, or None for DICOM.
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

    @property
    def uid(self) -> str:
        """The Series Instance UID, or plane and phase where there is no header."""
        return str(self.header.SeriesInstanceUID) if self.header is not None else f"{self.phase}/{self.plane}"

    @property
    def frame_of_reference(self) -> str:
        """The UID, or another name, of the coordinates of orientation and position, "" where none is known."""
        if self.form is not None:
            return self.form.frame
        return str(self.header.get("FrameOfReferenceUID") or "") if self.header is not None else ""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distances of neighbouring voxel centres along (slice, row, column), mm, all positive."""
        return (abs(self.slice_mm), *self.pixel_mm)


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
    """What the user says of NIfTI and npy files; None where nothing.

    plane: "SA", "VLA" or "HLA". phase: "stress" or "rest". pixel_mm, slice_mm: of npy files, mm.
    """

    plane: str | None = None
    phase: str | None = None
    pixel_mm: float | None = None
    slice_mm: float | None = None


NOTHING = Told()


def volume_ending(path: Path) -> str:
    """What a NIfTI or npy file's name ends with, in small letters; "" for any other."""
    return next((ending for ending in VOLUME_ENDINGS if path.name.lower().endswith(ending)), "")
