"""Which way the views of a file lie, by the detectors' orientation; all come out head up and as the camera saw them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.tomo.heads import ALONG, directions, faced, floats
from spectac_fast.formats.dicom.tomo.orbit import Orbit

# Detectors may lie so much higher or lower than each other, bins.
_LEVEL = 0.5


def upright(
    counts: NDArray[np.float32], detectors: tuple[Dataset, ...], orbit: Orbit, pixel_mm: float, path: Path
) -> tuple[NDArray[np.float32], float, tuple[str, ...]]:
    """Views [windows, detectors, ...] with rows from head to feet and columns towards the left of a patient who faces
    the detector; the first row's place along the patient, mm; what was assumed.

    Raises InputError for a detector whose orientation says that it is elsewhere than its Start Angle does, and for
    detectors of which one is higher than another.
    """
    rows = counts.shape[-2]
    lain = [directions(item) for item in detectors]
    if all(found is None for found in lain):
        said = "it does not tell which way its views lie; rows are taken from head to feet."
        return counts, (rows - 1) / 2 * pixel_mm, (said,)
    counts, notes, tops = counts.copy(), [], []
    for d, (item, found) in enumerate(zip(detectors, lain)):
        if found is None or abs(found[1][2]) < ALONG:
            notes.append("its rows do not run along the patient by its header; they are taken from head to feet.")
            continue
        place, feet_first = floats(item.get("ImagePositionPatient"), 3), found[1][2] > 0
        if place is not None:
            tops.append(float(place[2]) + (rows - 1) * pixel_mm * feet_first)
        if feet_first:
            counts[:, d] = counts[:, d, ..., ::-1, :]
            notes.append("its rows run from feet to head by its header; they are turned over.")
        start = float(orbit.angles[d, 0, 0])
        across = float(found[0] @ (np.cos(np.radians(start)), np.sin(np.radians(start)), 0))
        if abs(across) < ALONG and np.isnan(faced(item)):
            notes.append("its detectors are oriented as if in front of the patient; their Start Angles are taken.")
        elif abs(across) < ALONG or (across < 0 and _elsewhere(place, start)):
            raise InputError(
                f"{path}: expected a Start Angle that agrees with the detector's orientation and position, found "
                f"{(180 - start) % 360:.0f} degrees and an orientation of {faced(item) % 360:.0f}."
            )
        elif across < 0:
            counts[:, d] = counts[:, d, ..., ::-1]
            notes.append("its columns run towards the patient's right by its header; they are turned over.")
    if np.ptp(tops or [0.0]) > _LEVEL * pixel_mm:
        raise InputError(
            f"{path}: expected detectors at one place along the patient, found them {np.ptp(tops):.0f} mm apart."
        )
    return counts, tops[0] if tops else (rows - 1) / 2 * pixel_mm, tuple(dict.fromkeys(notes))


def _elsewhere(place: NDArray[np.float64] | None, start: float) -> bool:
    """Whether a detector's position is on the other side of the patient than its angle."""
    return place is not None and float(place[:2] @ (np.sin(np.radians(start)), -np.cos(np.radians(start)))) < 0
