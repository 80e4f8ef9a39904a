"""Which frame is which: by the vectors of the Frame Increment Pointer (PS3.3 C.8.4.8), never by position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError, NotApplicableError

# What tells frames apart: (vector, number of different values, what one of them is called).
_WINDOW = ("EnergyWindowVector", "NumberOfEnergyWindows", "energy windows")
_DETECTOR = ("DetectorVector", "NumberOfDetectors", "detectors")
_ROTATION = ("RotationVector", "NumberOfRotations", "rotations")
_INTERVAL = ("RRIntervalVector", "NumberOfRRIntervals", "R-R intervals")
_SLOT = ("TimeSlotVector", "NumberOfTimeSlots", "time slots")
_VIEW = ("AngularViewVector", "", "angular views")
_DYNAMIC = (("PhaseVector", "NumberOfPhases"), ("TimeSliceVector", "NumberOfTimeSlices"))


@dataclass(frozen=True, eq=False)
class Frames:
    """What each frame is, counted from 0, [frames]: its energy window, detector, rotation and angular view (counted
    within detector and rotation); gate: R-R interval and time slot together. windows, detectors, rotations, gates,
    views: how many there are.
    """

    window: NDArray[np.int64]
    detector: NDArray[np.int64]
    rotation: NDArray[np.int64]
    gate: NDArray[np.int64]
    view: NDArray[np.int64]
    windows: int
    detectors: int
    rotations: int
    gates: int
    views: int
    notes: tuple[str, ...] = ()

    def ordered(self, counts: NDArray[np.float32]) -> NDArray[np.float32]:
        """Counts [frames, rows, columns] as [windows, detectors, rotations, views, rows, columns], gates summed."""
        shape = (self.windows, self.detectors, self.rotations, self.views)
        place = np.ravel_multi_index((self.window, self.detector, self.rotation, self.view), shape)
        summed = np.zeros((math.prod(shape), *counts.shape[1:]), np.float32)
        np.add.at(summed, place, counts)
        return summed.reshape(*shape, *counts.shape[1:])


def frames_of(ds: Dataset, path: Path) -> Frames:
    """The place of every frame of a TOMO object.

    Raises InputError unless every combination of what is numbered is there once, NotApplicableError for a dynamic one.
    """
    for vector, number in _DYNAMIC:
        if int(ds.get(number) or 0) > 1 or len(set(_numbers(ds, vector) or ())) > 1:
            raise NotApplicableError(f"{path}: expected projections of one moment, found a dynamic acquisition.")
    total = int(ds.get("NumberOfFrames") or 1)
    known = {name: _numbers(ds, name) for name, *_ in (_WINDOW, _DETECTOR, _ROTATION, _INTERVAL, _SLOT, _VIEW)}
    for name, numbers in known.items():
        if numbers is not None and len(numbers) != total:
            raise InputError(f"{path}: expected a number for each of {total} frames in {name}, found {len(numbers)}.")
    window, windows = _index(ds, path, _WINDOW, known, total)
    detector, detectors = _index(ds, path, _DETECTOR, known, total)
    rotation, rotations = _index(ds, path, _ROTATION, known, total)
    interval, intervals = _index(ds, path, _INTERVAL, known, total)
    slot, slots = _index(ds, path, _SLOT, known, total)
    gate, gates = interval * slots + slot, intervals * slots
    group = np.ravel_multi_index((window, detector, rotation, gate), (windows, detectors, rotations, gates))
    groups = windows * detectors * rotations * gates
    notes = (f"its {gates} gates are summed.",) if gates > 1 else ()
    view, noted = _views(path, known[_VIEW[0]], detector * rotations + rotation, groups, total)
    said = _promised(ds, detectors)
    views = int(view.max()) + 1
    there = np.bincount(group * views + view, minlength=groups * views)
    complete = len(there) == groups * views and (there == 1).all()
    if not complete or (said and views not in said):
        promised = groups * (said[0] if said else views)
        raise InputError(
            f"{path}: expected {promised} frames ({_product(windows, detectors, rotations, gates, promised)}), found "
            f"{total}{'' if total != promised else ', some of them twice'}."
        )
    return Frames(window, detector, rotation, gate, view, windows, detectors, rotations, gates, views, (*notes, *noted))


def _numbers(ds: Dataset, keyword: str) -> list[int] | None:
    value = ds.get(keyword)
    if value is None or value == "":
        return None
    return [int(each) for each in np.atleast_1d(np.asarray(value))]


def _index(
    ds: Dataset, path: Path, kind: tuple[str, str, str], known: dict[str, list[int] | None], total: int
) -> tuple[NDArray[np.int64], int]:
    """Which of its kind each frame is, from 0, and how many there are."""
    vector, number, said = kind
    count, numbers = int(ds.get(number) or 0), known[vector]
    if numbers is None:
        if count > 1:
            raise InputError(f"{path}: expected a {vector} that tells frames of {count} {said} apart, found none.")
        return np.zeros(total, np.int64), 1
    found = sorted(set(numbers))
    if count and len(found) != count and not (len(found) == 1 and count <= 1):
        raise InputError(f"{path}: expected frames of {count} {said}, found {len(found)} in {vector}.")
    return np.searchsorted(found, numbers).astype(np.int64), len(found)


def _views(
    path: Path, numbers: list[int] | None, turn: NDArray[np.int64], groups: int, total: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Angular view of each frame within its detector and rotation (`turn`), from 0."""
    if numbers is None:
        if groups > 1:
            raise InputError(f"{path}: expected an AngularViewVector that tells its frames apart, found none.")
        return np.arange(total), ("it has no Angular View Vector; frames are taken in the order in which they are.",)
    view = np.array(numbers, np.int64)
    for each in np.unique(turn):
        # Some number the views of the second detector on from those of the first.
        view[turn == each] -= view[turn == each].min()
    return view, ()


def _promised(ds: Dataset, detectors: int) -> tuple[int, ...]:
    """Views of a detector in a rotation, as the header may mean it; () where it does not say."""
    items = ds.get("RotationInformationSequence") or ()
    said = {int(item.get("NumberOfFramesInRotation") or 0) for item in items} - {0}
    if len(said) != 1:
        return ()
    count = said.pop()
    # Meant for one detector; some write those of all.
    return (count, count // detectors) if detectors > 1 and count % detectors == 0 else (count,)


def _product(windows: int, detectors: int, rotations: int, gates: int, promised: int) -> str:
    views = promised // (windows * detectors * rotations * gates)
    parts = ((windows, "energy windows"), (detectors, "detectors"), (rotations, "rotations"), (gates, "gates"))
    return " x ".join([*(f"{count} {said}" for count, said in parts if count > 1), f"{views} views"])
