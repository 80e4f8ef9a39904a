"""Where the detectors stood at each view (PS3.3 C.8.4.8 to C.8.4.11)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.tomo.frames import Frames

# Of a collimator's face from the axis of rotation, mm: what is assumed where nothing is said, and what is possible.
ASSUMED_RADIUS_MM, _NEAREST_MM, _FARTHEST_MM = 245.0, 80.0, 500.0
# A tilt that the projector, which turns about the table's axis alone, can leave out, degrees.
_LEAST_TILT = 2.0


@dataclass(frozen=True, eq=False)
class Orbit:
    """angles: degrees, 0 in front of the patient, 90 at the left, -180 ... 180; radius_mm; both [detectors, rotations,
    views]. notes: sentences on what was assumed.
    """

    angles: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    notes: tuple[str, ...]


def orbit_of(ds: Dataset, frames: Frames, path: Path) -> Orbit:
    """Angle and radius of every view.

    Start Angle and Radial Position stand in the items of the detectors or in those of the rotations; a detector's own
    win. Raises InputError where angles are not told, or not told of every detector, and for a tilted detector.
    """
    detectors = _items(ds, "DetectorInformationSequence", frames.detectors)
    rotations = _items(ds, "RotationInformationSequence", frames.rotations)
    for item in detectors:
        tilt = _number(item.get("GantryDetectorTilt"))
        if not abs(tilt if math.isfinite(tilt) else 0.0) <= _LEAST_TILT:
            raise InputError(f"{path}: expected detectors without tilt, found one of {tilt:g} degrees.")
    angles = np.empty((frames.detectors, frames.rotations, frames.views))
    radius, notes = np.empty_like(angles), []
    for r, rotation in enumerate(rotations):
        step = _step(rotation, frames.views, path)
        for d, detector in enumerate(detectors):
            # 0 at the patient's back and 90 at the left there; 0 in front and 90 at the left here.
            start = 180.0 - _start(detector, rotation, frames.detectors, path)
            angles[d, r] = start - step * np.arange(frames.views)
            radius[d, r], said = _radius(detector, rotation, d, frames)
            notes += said
    return Orbit((angles + 180.0) % 360.0 - 180.0, radius, tuple(dict.fromkeys(notes)))


def _items(ds: Dataset, keyword: str, count: int) -> list[Dataset]:
    """One item for each of `count`; an only item, or none, stands for all."""
    items = list(ds.get(keyword) or ())
    if len(items) >= count:
        return items[:count]
    return [items[0] if items else Dataset()] * count


def _start(detector: Dataset, rotation: Dataset, detectors: int, path: Path) -> float:
    own = _number(detector.get("StartAngle"))
    if math.isfinite(own):
        return own
    start = _number(rotation.get("StartAngle"))
    if not math.isfinite(start):
        raise InputError(f"{path}: expected a Start Angle, found none; no view can be placed.")
    if detectors > 1:
        raise InputError(
            f"{path}: expected a Start Angle for each of {detectors} detectors, found one for the rotation alone."
        )
    return start


def _step(rotation: Dataset, views: int, path: Path) -> float:
    """Degrees that angles, as DICOM counts them, grow by from view to view."""
    step = abs(_number(rotation.get("AngularStep")))
    if not 0 < step < 90:
        arc = abs(_number(rotation.get("ScanArc")))
        step = arc / views
    if not 0 < step < 90:
        raise InputError(f"{path}: expected an Angular Step or a Scan Arc, found neither.")
    direction = str(rotation.get("RotationDirection") or "").strip().upper()
    if direction not in ("CW", "CC", "CCW"):
        found = "another value" if direction else "none"
        raise InputError(f"{path}: expected a Rotation Direction of CW or CC, found {found}.")
    return -step if direction == "CW" else step


def _radius(
    detector: Dataset, rotation: Dataset, number: int, frames: Frames
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Radius of every view of a detector in a rotation, mm, and what was assumed."""
    views, found = frames.views, np.empty(0)
    for item in (detector, rotation):
        values = item.get("RadialPosition")
        if values is not None and values != "":
            found = np.array([_number(each) for each in np.atleast_1d(np.asarray(values, object))])
            break
    if len(found) == frames.detectors * views > views:
        found = found[number * views : (number + 1) * views]
    usable = (found >= _NEAREST_MM) & (found <= _FARTHEST_MM)
    if len(found) in (1, views) and usable.all():
        return np.broadcast_to(found, (views,)).astype(float), ()
    if not usable.any():
        said = f"it tells no radius of its orbit between {_NEAREST_MM:g} and {_FARTHEST_MM:g} mm"
        return np.full(views, ASSUMED_RADIUS_MM), (f"{said}; {ASSUMED_RADIUS_MM:g} mm is assumed.",)
    mean = float(found[usable].mean())
    return np.full(views, mean), (
        f"it tells {len(found)} radii of its orbit for {views} views, {int(usable.sum())} of them possible; their mean "
        f"of {mean:.0f} mm is assumed for all.",
    )


def _number(value: object) -> float:
    """A number of a header, NaN for what is none."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan
