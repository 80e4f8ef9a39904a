"""What a header says of an acquisition that could not be reconstructed as it is: other collimators than parallel holes,
a table that moved, corrections that were already made.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom.tomo.frames import Frames
from spectac_fast.formats.dicom.tomo.heads import number
from spectac_fast.formats.evidence.header import values_of

# Collimator Type (PS3.3 C.8.4.10): those that do not look straight ahead, and names of such.
_OTHERS = {
    "PINH": "a pinhole collimator",
    "FANB": "a fan-beam collimator",
    "CONE": "a cone-beam collimator",
    "SLNT": "a slant-hole collimator",
    "ASTG": "an astigmatic collimator",
    "DIVG": "a diverging collimator",
}
_NAMES = {
    r"SMART ?ZOOM|CARDIO ?FOCAL|MULTI ?FOCAL|ASTIGMATIC": "ASTG",
    r"(MULTI ?)?PIN ?HOLES?|MPH": "PINH",
    r"FAN ?(BEAM)?": "FANB",
    r"CONE ?(BEAM)?": "CONE",
    r"SLANT ?(HOLES?)?": "SLNT",
    r"DIVERGING": "DIVG",
}
# A table that stays where it is may be told to differ by this, mm; so may the views' middle from the axis, bins.
_STILL_MM, _CENTRED = 2.0, 0.5
# Counts that a header tells of its frames are theirs within this, relative.
_COUNTED = 0.01


def check_acquired(ds: Dataset, frames: Frames, pixel_mm: float, path: Path) -> tuple[str, ...]:
    """Sentences on corrections that were made before.

    Raises NotApplicableError for collimators whose holes are not parallel, and InputError for rotations about several
    places, a centre of rotation beside the middle, and projections that were corrected for attenuation.
    """
    for item in frames.detector_items:
        if kind := _collimator(item):
            raise NotApplicableError(f"{path}: expected a collimator of parallel holes, found {_OTHERS[kind]}.")
    for keyword, what in (("TableTraverse", "along"), ("TableHeight", "across")):
        told = [number(item.get(keyword)) for item in frames.rotation_items[0]]
        found = [each for each in told if np.isfinite(each)]
        if found and max(found) - min(found) > _STILL_MM:
            raise InputError(
                f"{path}: expected rotations about one place, found that the table moved by "
                f"{max(found) - min(found):.0f} mm {what} the patient between them."
            )
    corrected = corrections(ds)
    if "ATTN" in corrected:
        raise InputError(f"{path}: expected projections as acquired, found them corrected for attenuation.")
    for item in frames.detector_items:
        offset = number(item.get("CenterOfRotationOffset"))
        if abs(offset) > _CENTRED * pixel_mm and "COR" not in corrected:
            raise InputError(
                f"{path}: expected an axis of rotation in the middle of the views, found it {abs(offset):.0f} mm "
                "beside."
            )
    return ("its scatter was subtracted before.",) if "SCAT" in corrected else ()


def corrections(ds: Dataset) -> set[str]:
    """What a header's Corrected Image lists."""
    return {str(each).strip().upper() for each in values_of(ds, "CorrectedImage")}


def _collimator(item: Dataset) -> str:
    """A key of `_OTHERS`; "" for parallel holes, and for what is not told."""
    kind = str(item.get("CollimatorType") or "").strip().upper()
    if kind in _OTHERS:
        return kind
    name = " ".join(re.findall(r"[A-Z]+", str(item.get("CollimatorGridName") or "").upper()))
    named = [key for pattern, key in _NAMES.items() if re.search(rf"\b({pattern})\b", name)]
    if named or kind == "PARA":
        return named[0] if named else ""
    # Parallel holes meet nowhere.
    return "FANB" if number(item.get("FocalDistance")) > 0 else ""


def counted_note(ds: Dataset, counts: NDArray[np.float32]) -> tuple[str, ...]:
    """A sentence where the header tells another number of counts than there are in the frames, [windows, detectors,
    ...], or in those of a window or of a detector.
    """
    told = number(ds.get("CountsAccumulated"))
    sums = counts.reshape(*counts.shape[:2], -1).sum(-1, dtype=np.float64)
    some = [sums.sum(), *sums.sum(0), *sums.sum(1), *sums.ravel()]
    if not told > 0 or any(abs(told / each - 1) <= _COUNTED for each in some if each > 0):
        return ()
    return (f"its header tells {told:.0f} counts, its frames hold {sums.sum():.0f}.",)
