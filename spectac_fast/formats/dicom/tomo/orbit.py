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
from spectac_fast.formats.dicom.tomo.heads import apart, faced, number

# Of a collimator's face from the axis of rotation, mm: what is assumed where nothing is said, and what is possible.
ASSUMED_RADIUS_MM, _NEAREST_MM, _FARTHEST_MM = 245.0, 80.0, 500.0
# A tilt that the projector, which turns about the table's axis alone, can leave out, degrees.
_LEAST_TILT = 2.0
# Two angles that are meant to be the same; an orientation need not be that exact, degrees.
_SAME, _ABOUT = 1.0, 10.0
# Heads whose arcs one detector's views may have been put together from.
_MOST_HEADS = 3


@dataclass(frozen=True, eq=False)
class Orbit:
    """angles: degrees, 0 in front of the patient, 90 at the left, -180 ... 180; radius_mm; both [detectors, rotations,
    views]. notes: sentences on what was assumed.
    """

    angles: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    notes: tuple[str, ...]


def orbit_of(frames: Frames, path: Path) -> Orbit:
    """Angle and radius of every view.

    Raises InputError where angles are not told, or not told of every detector, or contradict each other, and for a
    tilted detector.
    """
    for item in frames.detector_items:
        tilt = number(item.get("GantryDetectorTilt"))
        if not abs(tilt if math.isfinite(tilt) else 0.0) <= _LEAST_TILT:
            raise InputError(f"{path}: expected detectors without tilt, found one of {tilt:g} degrees.")
    starts, notes = _starts(frames, path)
    angles = np.empty((frames.detectors, frames.rotations, frames.views))
    radius = np.empty_like(angles)
    for d, detector in enumerate(frames.detector_items):
        for r, rotation in enumerate(frames.rotation_items[d]):
            step = _step(rotation, frames, path)
            # 0 at the patient's back and 90 at the left there; 0 in front and 90 at the left here.
            angles[d, r] = 180.0 - starts[d, r] - step * np.arange(frames.views)
            radius[d, r], said = _radius(detector, rotation, d, r, frames)
            notes += said
    return Orbit((angles + 180.0) % 360.0 - 180.0, radius, tuple(dict.fromkeys(notes)))


def _starts(frames: Frames, path: Path) -> tuple[NDArray[np.float64], list[str]]:
    """Start Angle of each detector in each rotation, [detectors, rotations], as DICOM counts; sentences.

    It stands in the items of the rotations, as the standard has it, or in those of the detectors, or of a rotation in
    one and of the other detectors in theirs.
    """
    detectors = frames.detectors
    own = np.array([number(item.get("StartAngle")) for item in frames.detector_items])
    turn = np.array([[number(item.get("StartAngle")) for item in items] for items in frames.rotation_items])
    notes: list[str] = []
    if not (np.isfinite(own).any() or np.isfinite(turn).any()):
        raise InputError(f"{path}: expected a Start Angle, found none; no view can be placed.")
    if np.isfinite(turn).any() and not np.isfinite(turn).all():
        raise InputError(f"{path}: expected a Start Angle of every rotation, found some of none.")
    if not np.isfinite(own).all():
        own[:] = math.nan
    if not np.isfinite(turn).any():
        if frames.rotations > 1:
            raise InputError(f"{path}: expected a Start Angle for each of {frames.rotations} rotations, found none.")
        starts = own[:, None]
    elif _each_its_own(turn[:, 0]):
        starts = turn
        if _disagree(own, turn[:, 0]).any():
            raise _contradiction(own, turn, path)
    elif detectors == 1 and not np.isfinite(own).all():
        starts = turn
    elif np.isfinite(own).all():
        starts = turn - turn[0, 0] + _of_detectors(own, turn, frames, path)[:, None]
    else:
        starts, said = _by_orientation(turn, frames, path)
        notes.append(said)
    for a in range(detectors):
        if any(apart(starts[a, 0], starts[b, 0]) <= _SAME for b in range(a)):
            raise InputError(
                f"{path}: expected a Start Angle of its own for each of {detectors} detectors, found one twice; two "
                "cannot stand at one place."
            )
    return starts, notes


def _each_its_own(angles: NDArray[np.float64]) -> bool:
    """Whether there are several angles and no two the same."""
    return len(angles) > 1 and all(apart(a, b) > _SAME for k, a in enumerate(angles) for b in angles[:k])


def _disagree(own: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.array([apart(a, b) > _SAME for a, b in zip(own, other)])


def _of_detectors(own: NDArray[np.float64], turn: NDArray[np.float64], frames: Frames, path: Path) -> NDArray:
    """Start Angle of each detector in the first rotation, where detectors and that rotation have one each.

    They are what they say if one of them is the rotation's; or count from there, if the detectors' orientations say so
    (or where an only detector has 0).
    """
    first = turn[0, 0]
    if not _disagree(own, np.full_like(own, first)).all():
        return own
    counted = own + first
    fits = [
        all(not apart(faced(item), angle, 180.0) > _ABOUT for item, angle in zip(frames.detector_items, candidate))
        for candidate in (own, counted)
    ]
    told = any(math.isfinite(faced(item)) for item in frames.detector_items)
    if told and fits[0] != fits[1]:
        return own if fits[0] else counted
    if len(own) == 1 and apart(own[0], 0.0) <= _SAME:
        return counted
    raise _contradiction(own, turn, path)


def _contradiction(own: NDArray[np.float64], turn: NDArray[np.float64], path: Path) -> InputError:
    detectors, rotations = (", ".join(f"{angle:g}" for angle in np.ravel(each)) for each in (own, turn))
    return InputError(
        f"{path}: expected Start Angles of detectors and rotations that agree, found {detectors} and {rotations}."
    )


def _by_orientation(turn: NDArray[np.float64], frames: Frames, path: Path) -> tuple[NDArray[np.float64], str]:
    """Start Angles of detectors that differ in their orientation alone; the rotation's is that of one of them."""
    angles = np.array([faced(item) for item in frames.detector_items])
    near = [apart(angle, turn[0, 0]) <= _ABOUT for angle in angles]
    if not (np.isfinite(angles).all() and any(near) and _each_its_own(angles)):
        raise InputError(
            f"{path}: expected a Start Angle for each of {frames.detectors} detectors, found one for the rotation "
            "alone."
        )
    starts = turn + (angles - angles[near.index(True)])[:, None]
    return starts, "its detectors have no Start Angles of their own; these are taken from their orientations."


def _step(rotation: Dataset, frames: Frames, path: Path) -> float:
    """Degrees that angles, as DICOM counts them, grow by from view to view."""
    signed, arc = number(rotation.get("AngularStep")), abs(number(rotation.get("ScanArc")))
    direction = str(rotation.get("RotationDirection") or "").strip().upper()
    if direction not in ("CW", "CC", "CCW"):
        found = "another value" if direction else "none"
        raise InputError(f"{path}: expected a Rotation Direction of CW or CC, found {found}.")
    if signed < 0 and direction != "CW":
        raise InputError(
            f"{path}: expected an Angular Step above zero for a rotation of {direction}, found {signed:g}."
        )
    step = abs(signed)
    if not 0 < step < 90:
        # An arc may be that of one detector or of all.
        step = arc / frames.views if frames.detectors == 1 else math.nan
        if not 0 < step < 90:
            raise InputError(f"{path}: expected an Angular Step or a Scan Arc, found neither.")
    elif arc % 90 == 0 and _rounded(step, arc, frames.views, rotation):
        step = arc / frames.views
    return -step if direction == "CW" else step


def check_scan_arc(frames: Frames, path: Path) -> None:
    """Raise InputError where a rotation's Scan Arc cannot be what its views cover in their steps."""
    for rotation in (item for items in frames.rotation_items for item in items):
        step, arc = abs(number(rotation.get("AngularStep"))), abs(number(rotation.get("ScanArc")))
        if step > 0 and arc > 0 and not _covers(arc, step, frames):
            raise InputError(
                f"{path}: expected a Scan Arc that {frames.views} views in steps of {step:g} degrees cover, found "
                f"{arc:g} degrees."
            )


def _rounded(step: float, arc: float, views: int, rotation: Dataset) -> bool:
    """Whether a step is that of so many views of an arc, written with too few digits.

    One of which the arc has a whole number is exact, and a view is missing.
    """
    digit = 10.0 ** -len(str(rotation.AngularStep).partition(".")[2])
    return abs(arc / views - step) < 0.5 * digit and abs(arc / step - round(arc / step)) > 1e-3


def _covers(arc: float, step: float, frames: Frames) -> bool:
    """Whether an arc can be meant for these views: of one detector or rotation or of all, or of one of several heads
    whose views were put together as one detector's. Both ends may be counted or only one.
    """
    own = step * frames.views
    meant = {1, frames.detectors, frames.rotations, frames.detectors * frames.rotations}
    heads = range(2, _MOST_HEADS + 1) if frames.detectors == 1 else ()
    whole, part = ([abs(arc - own * k) / k for k in meant], [abs(arc * k - own) / k for k in heads])
    return min(whole + part) <= 1.1 * step


def _radius(
    detector: Dataset, rotation: Dataset, d: int, r: int, frames: Frames
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Radius of every view of a detector in a rotation, mm, and what was assumed."""
    views, found = frames.views, np.empty(0)
    for item, place, all_of in ((detector, r, frames.rotations), (rotation, d, frames.detectors)):
        values = item.get("RadialPosition")
        if values is not None and values != "":
            found = np.array([number(each) for each in np.atleast_1d(np.asarray(values, object))])
            # The item of a detector may hold those of all rotations, that of a rotation those of all detectors.
            if len(found) == all_of * views > views:
                found = found[place * views : (place + 1) * views]
            break
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
