"""Which frame is which: by the vectors of the Frame Increment Pointer (PS3.3 C.8.4.8), never by position."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom.tomo.windows import windows_of

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
    views: how many there are. window_items, detector_items, rotation_items: the item of each in the sequence that
    describes it, empty where there is none; rotation_items are [detectors][rotations], since some cameras describe
    what every detector did.
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
    window_items: tuple[Dataset, ...]
    detector_items: tuple[Dataset, ...]
    rotation_items: tuple[tuple[Dataset, ...], ...]
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
    window, of_windows = _index(ds, path, _WINDOW, known, total)
    detector, of_detectors = _index(ds, path, _DETECTOR, known, total)
    rotation, of_rotations = _index(ds, path, _ROTATION, known, total)
    interval, of_intervals = _index(ds, path, _INTERVAL, known, total)
    slot, of_slots = _index(ds, path, _SLOT, known, total)
    detector_items = _described(ds, path, "DetectorInformationSequence", of_detectors)
    window_items = _described(ds, path, "EnergyWindowInformationSequence", of_windows)
    window, window_items = _of_any_detector(window, detector, window_items)
    turns = _turns(ds, path, len(of_detectors), of_rotations)
    rotation, turns = _of_one_detector_each(rotation, detector, turns)
    windows, detectors, rotations = len(window_items), len(detector_items), len(turns[0])
    gate, gates = interval * len(of_slots) + slot, len(of_intervals) * len(of_slots)
    group = np.ravel_multi_index((window, detector, rotation, gate), (windows, detectors, rotations, gates))
    groups = windows * detectors * rotations * gates
    notes = (f"its {gates} gates are summed.",) if gates > 1 else ()
    view, noted = _views(path, known[_VIEW[0]], detector * rotations + rotation, groups, total)
    views = int(view.max()) + 1
    there = np.bincount(group * views + view, minlength=groups * views)
    complete = len(there) == groups * views and (there == 1).all()
    said = _promised(turns)
    if not complete or not all(_means(each, views, (windows, detectors, gates)) for each in said):
        promised = groups * (said[0] if said else views)
        raise InputError(
            f"{path}: expected {promised} frames ({_product(windows, detectors, rotations, gates, promised)}), found "
            f"{total}{'' if total != promised else ', some of them twice'}."
        )
    return Frames(
        window, detector, rotation, gate, view, windows, detectors, rotations, gates, views, window_items,
        detector_items, turns, (*notes, *noted),
    )  # fmt: skip


def _numbers(ds: Dataset, keyword: str) -> list[int] | None:
    value = ds.get(keyword)
    if value is None or value == "":
        return None
    return [int(each) for each in np.atleast_1d(np.asarray(value))]


def _index(
    ds: Dataset, path: Path, kind: tuple[str, str, str], known: dict[str, list[int] | None], total: int
) -> tuple[NDArray[np.int64], list[int]]:
    """Which of its kind each frame is, from 0, and the number that each has in the header."""
    vector, number, said = kind
    count, numbers = int(ds.get(number) or 0), known[vector]
    if numbers is None:
        if count > 1:
            raise InputError(f"{path}: expected a {vector} that tells frames of {count} {said} apart, found none.")
        return np.zeros(total, np.int64), [1]
    found = sorted(set(numbers))
    if count and len(found) != count and not (len(found) == 1 and count <= 1):
        raise InputError(f"{path}: expected frames of {count} {said}, found {len(found)} in {vector}.")
    return np.searchsorted(found, numbers).astype(np.int64), found


def _described(ds: Dataset, path: Path, sequence: str, numbers: list[int]) -> tuple[Dataset, ...]:
    """The item that describes each of `numbers`: its own by its number, or in their order where there are as many.

    An only item stands for all, none is an empty one.
    """
    items = list(ds.get(sequence) or ())
    # Some count from 0.
    places = [number - (min(numbers) > 0) for number in numbers]
    if min(places) >= 0 and max(places) < len(items):
        return tuple(items[place] for place in places)
    if len(items) == len(numbers):
        return tuple(items)
    if len(items) <= 1:
        return tuple(items or [Dataset()]) * len(numbers)
    raise InputError(f"{path}: expected an item of {sequence} for each of {len(numbers)}, found {len(items)}.")


def _turns(ds: Dataset, path: Path, detectors: int, numbers: list[int]) -> tuple[tuple[Dataset, ...], ...]:
    """What describes each rotation of each detector, [detectors][rotations].

    Raises InputError where one item is to describe several rotations, and where items that no frame names contradict
    that of the frames.
    """
    items = list(ds.get("RotationInformationSequence") or ())
    if len(numbers) == 1 and len(items) == detectors > 1:
        return tuple((item,) for item in items)
    if len(items) == 1 < len(numbers):
        raise InputError(f"{path}: expected Rotation Information for each of {len(numbers)} rotations, found one item.")
    of = _described(ds, path, "RotationInformationSequence", numbers)
    if len(items) > len(of) and len({_course(item) for item in items}) > 1:
        raise InputError(
            f"{path}: expected Rotation Information of {len(of)} rotation{'s' * (len(of) > 1)}, found {len(items)} "
            "items that differ."
        )
    return (of,) * detectors


def _of_any_detector(
    window: NDArray[np.int64], detector: NDArray[np.int64], items: tuple[Dataset, ...]
) -> tuple[NDArray[np.int64], tuple[Dataset, ...]]:
    """Windows of which each is of one detector alone, as the windows that all detectors have: those of equal limits are
    one. Anything else stays as it is.
    """
    limits = windows_of(items)
    per_detector = [set(detector[window == k].tolist()) for k in range(len(items))]
    known = list(dict.fromkeys(limits))
    detectors = int(detector.max()) + 1
    if detectors == 1 or len(known) * detectors != len(items) or any(len(each) != 1 for each in per_detector):
        return window, items
    return np.array([known.index(each) for each in limits])[window], tuple(items[limits.index(each)] for each in known)


def _of_one_detector_each(
    rotation: NDArray[np.int64], detector: NDArray[np.int64], turns: tuple[tuple[Dataset, ...], ...]
) -> tuple[NDArray[np.int64], tuple[tuple[Dataset, ...], ...]]:
    """Rotations of which each is of one detector alone, as one rotation that each detector describes for itself."""
    pairs = sorted(set(zip(detector.tolist(), rotation.tolist())))
    if not len(turns) == len(turns[0]) == len(pairs) > 1 or len({r for _, r in pairs}) < len(pairs):
        return rotation, turns
    return np.zeros_like(rotation), tuple((turns[d][r],) for d, r in pairs)


def _course(rotation: Dataset) -> tuple[str, ...]:
    return tuple(str(rotation.get(keyword)) for keyword in ("StartAngle", "AngularStep", "RotationDirection"))


def _views(
    path: Path, numbers: list[int] | None, turn: NDArray[np.int64], groups: int, total: int
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Angular view of each frame within its detector and rotation (`turn`), from 0.

    Raises InputError where these do not begin with the first: then no frame's angle is known.
    """
    if numbers is None:
        if groups > 1:
            raise InputError(f"{path}: expected an AngularViewVector that tells its frames apart, found none.")
        return np.arange(total), ("it has no Angular View Vector; frames are taken in the order in which they are.",)
    view = np.array(numbers, np.int64)
    # Some count from 0.
    first = int(view.min() > 0)
    for each in np.unique(turn):
        own = view[turn == each]
        # Some number the views of the second detector on from those of the first.
        if (own.min() - first) % len(set(own)):
            raise InputError(f"{path}: expected angular views that are numbered from 1, found them from {own.min()}.")
        view[turn == each] -= own.min()
    return view, ()


def _promised(turns: tuple[tuple[Dataset, ...], ...]) -> list[int]:
    """Views of a detector in each rotation as the header says, where it does."""
    said = (int(item.get("NumberOfFramesInRotation") or 0) for items in turns for item in items)
    return [count for count in said if count]


def _means(said: int, views: int, kinds: tuple[int, ...]) -> bool:
    """Whether a number of frames in a rotation can be meant for so many views: of one detector, window and gate, or of
    all of some of them.
    """
    return any(said == views * math.prod(some) for k in range(len(kinds) + 1) for some in combinations(kinds, k))


def _product(windows: int, detectors: int, rotations: int, gates: int, promised: int) -> str:
    views = promised // (windows * detectors * rotations * gates)
    parts = ((windows, "energy windows"), (detectors, "detectors"), (rotations, "rotations"), (gates, "gates"))
    return " x ".join([*(f"{count} {said}" for count, said in parts if count > 1), f"{views} views"])
