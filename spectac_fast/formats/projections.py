"""What a gamma camera counted, before anything is reconstructed: views of every energy window, and where each was taken
from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Window:
    """An energy window. ranges_kev: its (lower, upper) limits, of which most windows have one pair, keV.

    counts: float32 [views, rows, columns], at least zero.
    """

    ranges_kev: tuple[tuple[float, float], ...]
    counts: NDArray[np.float32]

    @property
    def width_kev(self) -> float:
        return sum(high - low for low, high in self.ranges_kev)

    @property
    def columns(self) -> NDArray[np.float32]:
        """The counts as a reconstruction takes them, [views, bins, rows from feet to head]."""
        return np.ascontiguousarray(self.counts[:, ::-1].transpose(0, 2, 1))

    def __str__(self) -> str:
        return " and ".join(f"{low:g} to {high:g} keV" for low, high in self.ranges_kev)


@dataclass(frozen=True, eq=False)
class Projections:
    """One acquisition, views sorted by angle, those of all detectors together.

    peak: the photopeak. others: the other windows, scatter windows among them.
    angles: where the detector stood at each view, degrees: 0 in front of the patient, 90 at the left, ascending.
    radius_mm: distance of the collimator's face from the axis of rotation at each view, mm.
    pixel_mm: side of a bin. Rows run from head to feet, columns towards the left of a patient whom the detector faces.
    top_mm: where the centre of the first row lies along the patient (LPS z), mm; the middle row is at 0 where the file
    does not tell.
    isotope: "Tc-99m" or "Tl-201", as far as the file tells. phase: "stress" or "rest". collimator: its name or "".
    frame_ms: time at a view, 0 where the file does not tell. gates: parts of the heartbeat that were summed, 1 if none.
    scatter_corrected: its scatter was subtracted before it was written.
    path: the file. header: its DICOM attributes without pixels. notes: what was assumed or is unusual, a sentence each,
    to be read after the file's name and a colon.
    """

    peak: Window
    others: tuple[Window, ...]
    angles: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    pixel_mm: float
    top_mm: float
    isotope: str
    phase: str
    collimator: str
    frame_ms: float
    gates: int
    path: Path
    header: Dataset
    notes: tuple[str, ...] = ()
    scatter_corrected: bool = False

    @property
    def views(self) -> int:
        return len(self.angles)

    @property
    def covered(self) -> float:
        """Degrees of the circle that the views stand for; a gap counts as one and a half steps at most."""
        return covered(self.angles)

    @property
    def warnings(self) -> list[str]:
        """The notes as sentences that name the file."""
        return [f"{self.path}: {note}" for note in self.notes]


def gaps(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees from each of ascending angles to the next, round the circle."""
    return np.diff(angles, append=angles[:1] + 360.0)


def step_of(angles: NDArray[np.float64]) -> float:
    """Degrees from view to view, the usual distance."""
    return float(np.median(gaps(angles)))


def covered(angles: NDArray[np.float64]) -> float:
    """See `Projections.covered`."""
    return float(np.minimum(gaps(angles), 1.5 * step_of(angles)).sum() - 0.5 * step_of(angles) * _open(angles))


def _open(angles: NDArray[np.float64]) -> bool:
    """Whether the views leave a part of the circle out, of which half a step lies at either end."""
    return bool(gaps(angles).max() > 1.5 * step_of(angles))
