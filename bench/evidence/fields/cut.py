"""Patients of a cohort as series in memory, and fields cut out of them."""

from __future__ import annotations

import math
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

FIELDS_MM = (150, 170, 190, 218, 245, 272, 299, 326, 381, 435)
KINDS = ("cropped, square", "zeros around, square", "zeros around, circle")


@dataclass(frozen=True)
class Cut:
    """A field of so many mm about the middle of the slices; kind: one of KINDS."""

    field_mm: float
    kind: str

    def of(self, series: Series) -> tuple[Series, NDArray[np.bool_]]:
        """The series cut, and which of its whole grid's pixels [rows, columns] it still holds."""
        size, mm = series.counts.shape[1], series.pixel_mm[0]
        # An even number of pixels, so that the middle stays where it is.
        first = size // 2 - min(round(self.field_mm / mm / 2), size // 2)
        held = slice(first, size - first)
        inside = np.zeros(series.counts.shape[1:], bool)
        inside[held, held] = True
        if self.kind == KINDS[2] and first:
            y, x = np.indices(inside.shape) - (size - 1) / 2
            inside &= y * y + x * x <= (size / 2 - first) ** 2
        if self.kind == KINDS[0]:
            # The first voxel that is left lies further along the rows and columns.
            step = first * mm * (np.array(series.orientation[:3]) + series.orientation[3:])
            position = tuple(map(float, np.array(series.position) + step))
            return replace(series, counts=series.counts[:, held, held], position=position), inside
        return replace(series, counts=np.where(inside, series.counts, np.float32(0))), inside


def patient(cohort: Cohort, index: int, phase: str) -> list[Series]:
    """The NC series of one phase of a patient, SA, VLA and HLA, as they lie to each other."""
    long, up = np.eye(3)[:2]
    planes, mm = cuts(Axes(long, up, np.cross(up, long), np.zeros(3))), cohort.spacing_mm
    found = []
    for number, plane in enumerate(PLANES, start=1):
        counts, cut = cohort.pair(index, phase, plane)[0], planes[plane]
        header = Dataset()
        header.SeriesInstanceUID = f"2.25.{cohort.seeds[index]}{number}"
        header.StudyInstanceUID, header.FrameOfReferenceUID = f"2.25.{cohort.seeds[index]}", "2.25.1"
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


def deviation(
    found: NDArray[np.float32], whole: NDArray[np.float32], inside: NDArray[np.bool_], mm: float
) -> tuple[float, float]:
    """Root mean square of found - whole in the heart region, over that of whole, both where whole is above 20 % of its
    maximum there, as it is and after the factor that suits found best; found: [slices, rows, columns] on the whole grid
    or on the box of what is inside of it.
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
    a, b = (stack[counted].astype(np.float64) for stack in (found, whole))
    best = a @ b / (a @ a)
    as_is, rescaled = (math.sqrt(np.mean((factor * a - b) ** 2) / np.mean(b**2)) for factor in (1.0, best))
    return as_is, rescaled
