"""Patients of a cohort as series in memory, and fields cut out of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.cohort.cohort import Cohort
from spectac_fast.data.scale import heart_mask
from spectac_fast.formats.series import Series
from spectac_fast.reconstruct.grid import Axes
from spectac_fast.reconstruct.planes import cuts
from spectac_fast.terms import PLANES

FIELDS_MM = (150, 180, 200, 217, 240, 272, 326, 380, 435)
KINDS = ("cropped, square", "zeroed, square", "zeroed, circle")
# One pixel down and one to the right, 9.6 mm.
OFF_PX = (0, 1)


@dataclass(frozen=True)
class Cut:
    """A field of so many mm; off: pixels by which it is moved along rows and columns."""

    field_mm: float
    kind: str
    off: int

    def of(self, series: Series) -> tuple[Series, NDArray[np.bool_]]:
        """The series cut, and which of its whole grid's pixels [rows, columns] it still holds."""
        size, mm = series.counts.shape[1], series.pixel_mm[0]
        n = min(round(self.field_mm / mm), size)
        first = (size - n) // 2 + self.off
        held = slice(max(first, 0), min(first + n, size))
        inside = np.zeros(series.counts.shape[1:], bool)
        inside[held, held] = True
        if self.kind == KINDS[2]:
            y, x = np.indices(inside.shape) - (2 * first + n - 1) / 2
            inside &= y * y + x * x <= (n / 2) ** 2
        if self.kind == KINDS[0]:
            # The first voxel that is left lies further along the rows and columns.
            step = held.start * mm * (np.array(series.orientation[:3]) + series.orientation[3:])
            position = tuple(np.array(series.position) + step)
            return replace(series, counts=series.counts[:, held, held], position=position), inside
        return replace(series, counts=np.where(inside, series.counts, np.float32(0))), inside


def patient(cohort: Cohort, index: int, phase: str) -> list[Series]:
    """The NC series of one phase of a patient, SA, VLA and HLA, as they lie to each other."""
    long, up = np.eye(3)[:2]
    planes, mm = cuts(Axes(long, up, np.cross(up, long), np.zeros(3))), cohort.spacing_mm
    found = []
    for plane in PLANES:
        counts, cut = cohort.pair(index, phase, plane)[0], planes[plane]
        header = Dataset()
        header.SeriesInstanceUID, header.FrameOfReferenceUID = f"2.25.{index}{PLANES.index(plane)}", "2.25.1"
        half = (np.array(counts.shape) - 1) / 2 * mm
        found.append(
            Series(
                counts=counts,
                plane=plane,
                phase=phase,
                pixel_mm=(mm[1], mm[2]),
                slice_mm=mm[0],
                orientation=(*cut.right, *cut.down),
                position=tuple(cut.centre - half @ np.stack([cut.frames, cut.down, cut.right])),
                attenuation_corrected=False,
                path=Path(f"patient{index}_{phase}_{plane}"),
                header=header,
            )
        )
    return found


def deviation(found: NDArray[np.float32], whole: NDArray[np.float32], inside: NDArray[np.bool_], mm: float) -> float:
    """Root mean square of found - whole in the heart region, over that of whole, both where whole is above 20 % of its
    maximum there; found: [slices, rows, columns] on the whole grid or on the box of what is inside of it.
    """
    if found.shape != whole.shape:
        box = np.argwhere(inside)
        (top, left), (bottom, right) = box.min(axis=0), box.max(axis=0) + 1
        placed = np.zeros_like(whole)
        placed[:, top:bottom, left:right] = found
        found = placed
    heart = heart_mask(whole.shape, (mm, mm, mm))
    counted = heart & (whole > 0.2 * whole[heart].max())
    if not inside[counted.any(axis=0)].all():
        raise ValueError(f"a field of {np.sqrt(inside.sum()) * mm:.0f} mm does not hold the heart region.")
    return float(np.sqrt(np.mean((found - whole)[counted] ** 2) / np.mean(whole[counted] ** 2)))
