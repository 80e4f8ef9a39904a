"""Where an NM stack lies: direction cosines, position and spacings, wherever a file keeps them, and what is assumed of
those that it lacks.

The standard keeps orientation and position in the item of the (only) detector; other systems write them at the top
level, into the item of another detector, or as functional groups. Frames run along row x column where
SpacingBetweenSlices is positive, against it where it is negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError
from spectac_fast.formats.orientation import AS_STORED, ENDS, VIEWS, Turn, turn_to_view

# Of unit vectors that are at right angles, and between two sets of direction cosines that are the same.
_SKEW, _SAME = 0.01, 0.01
# By how much of their distance slices may be thicker or thinner.
_AS_THICK = 0.1
# Of the distance between frames, and mm: positions are written with few digits.
_UNEVEN, _ASIDE_MM = 0.02, 1.0
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
# Slice Progression Direction of each plane: whether frames then run against the order in which they are shown.
_AGAINST = {
    "SA": {"APEX_TO_BASE": False, "BASE_TO_APEX": True},
    "VLA": {"SEPTUM_TO_WALL": False, "WALL_TO_SEPTUM": True},
    "HLA": {"INF_TO_ANT": False, "ANT_TO_INF": True},
}


@dataclass(frozen=True)
class Place:
    """Where a stack lies as it is stored, the turn to how it is shown, and sentences about what was assumed.

    Fields are those of `Series`, before the turn.
    """

    pixel_mm: tuple[float, float]
    slice_mm: float
    orientation: tuple[float, ...]
    position: tuple[float, ...]
    assumed: tuple[str, ...]
    turn: Turn
    notes: tuple[str, ...]


def cosines_of(ds: Dataset, path: Path) -> dict[str, tuple[float, ...]]:
    """Every set of direction cosines in a file by the name of its place, the standard's place first; none may differ.

    Raises InputError where there are only such as are none: not six numbers, or no unit vectors at right angles.
    """
    found: dict[str, tuple[float, ...]] = {}
    refused = None
    for name, home in _homes(ds):
        try:
            cosines = _numbers(home, path, "ImageOrientationPatient", 6, absent=True)
        except InputError as reason:
            refused = refused or reason
            continue
        if not any(cosines):
            continue
        row, column = np.array(cosines[:3]), np.array(cosines[3:])
        if max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column)) > _SKEW:
            refused = refused or InputError(
                f"{path}: expected perpendicular unit vectors in ImageOrientationPatient, found {cosines}."
            )
            continue
        found[name] = cosines
    if refused and not found:
        raise refused
    return found


def shows(cosines: Mapping[str, tuple[float, ...]], plane: str) -> bool:
    """Whether frames with these direction cosines (`cosines_of`) are slices of a plane of the heart."""
    turn = _chosen(cosines, plane)[1]
    return turn is not None and turn.axes[0] == 0


def place_of(
    ds: Dataset, path: Path, plane: str, cosines: Mapping[str, tuple[float, ...]], order: NDArray[np.int64]
) -> Place:
    """Where the stack of a plane ("SA", "VLA", "HLA", or "TRA", which is not turned) lies.

    cosines: as `cosines_of` gives them. order: the stored frames in the order of their slices. Raises InputError for
    spacings that are missing or no spacings, and for frames whose own positions are uneven.
    """
    row_mm, column_mm = _numbers(ds, path, "PixelSpacing", 2)
    pixel_mm = row_mm, column_mm
    if min(pixel_mm) <= 0:
        raise InputError(f"{path}: expected positive spacings, found pixels of {pixel_mm} mm.")
    slice_mm, notes = _slice_spacing(ds, path)
    shape = (len(order), int(ds.Rows), int(ds.Columns))
    name, turn = _chosen(cosines, plane)
    first, own_mm, said_of_frames = _by_frames(ds, path, cosines.get(name), slice_mm, order)
    if plane in VIEWS and turn is None:
        last_first, said = _customary(ds, plane, slice_mm, bool(cosines))
        _, rows, columns = VIEWS[plane]
        slice_mm = -abs(slice_mm) if last_first else abs(slice_mm)
        turn = AS_STORED if slice_mm > 0 else Turn(flips=(True, False, False))
        orientation = (*map(float, columns), *map(float, rows))
        middle = _about_origin(orientation, pixel_mm, slice_mm, shape)
        return Place(pixel_mm, slice_mm, orientation, middle, ("orientation", "position"), turn, (*notes, said))
    orientation, slice_mm, notes = cosines[name], own_mm, (*notes, *said_of_frames)
    turn = _signed(turn, slice_mm) if turn else AS_STORED
    notes += tuple(_contradictions(ds, plane, cosines, name, turn))
    position = first or position_of(ds, path, name)
    if position is None:
        position = _about_origin(orientation, pixel_mm, slice_mm, shape)
        notes += ("ImagePositionPatient is missing; the planes of a volume are taken to share their middle.",)
        return Place(pixel_mm, slice_mm, orientation, position, ("position",), turn, notes)
    return Place(pixel_mm, slice_mm, orientation, position, (), turn, notes)


def _homes(ds: Dataset) -> Iterator[tuple[str, Dataset]]:
    """Where orientation and position may be, and what to call these places."""
    for k, item in enumerate(ds.get("DetectorInformationSequence") or (), 1):
        yield f"detector item {k}", item
    yield "the top level", ds
    for keyword in _GROUPS:
        for item in list(ds.get(keyword) or ())[:1]:
            for part in ("PlaneOrientationSequence", "PlanePositionSequence"):
                for each in item.get(part) or ():
                    yield "the functional groups", each


def _chosen(cosines: Mapping[str, tuple[float, ...]], plane: str) -> tuple[str, Turn | None]:
    """The place whose direction cosines are used, "" where there is none: the first where they are a heart's, or the
    first; and the turn by them, for frames that run along row x column.
    """
    if plane in VIEWS:
        for name, orientation in cosines.items():
            turn = turn_to_view(_steps(orientation, (1.0, 1.0), 1.0), plane, own_slices=True)
            if turn is not None:
                return name, turn
    return next(iter(cosines), ""), None


def _signed(turn: Turn, slice_mm: float) -> Turn:
    """The turn for frames that run as the sign says."""
    own = turn.axes.index(0)
    return replace(turn, flips=tuple(flip != (k == own and slice_mm < 0) for k, flip in enumerate(turn.flips)))


def _contradictions(
    ds: Dataset, plane: str, cosines: Mapping[str, tuple[float, ...]], name: str, turn: Turn
) -> Iterator[str]:
    """A sentence for each thing in a header that direction cosines and spacing do not bear out."""
    if any(np.abs(np.subtract(other, cosines[name])).max() > _SAME for other in cosines.values()):
        yield f"direction cosines differ from place to place; those of {name} are used."
    if turn.axes[0] != 0:
        yield f"by their direction cosines its frames are no {plane} slices; these are cut from the volume of them."
    elif _progression(ds, plane) not in (None, turn.flips[0]):
        yield (
            f"frames run from {_way(plane, turn.flips[0])} by direction cosines and SpacingBetweenSlices, "
            "the other way by SliceProgressionDirection; the former is used."
        )


def _customary(ds: Dataset, plane: str, slice_mm: float, others: bool) -> tuple[bool, str]:
    """Whether frames run against the customary order where no direction cosines are a heart's, and what was assumed.

    others: there are direction cosines of something else.
    """
    why = "its direction cosines are not those of a heart" if others else "ImageOrientationPatient is missing"
    told = _progression(ds, plane)
    last_first = slice_mm < 0 if told is None else told
    reason = " by the sign of SpacingBetweenSlices" if slice_mm < 0 else ""
    reason = reason if told is None else " by SliceProgressionDirection"
    _, rows, columns = ENDS[plane]
    return last_first, (
        f"{why}; rows are taken to run from {rows[0]} to {rows[1]}, columns from {columns[0]} to {columns[1]}, frames "
        f"from {_way(plane, last_first)}{reason}."
    )


def _progression(ds: Dataset, plane: str) -> bool | None:
    """Whether Slice Progression Direction says that frames run against the customary order; None where it is silent."""
    return _AGAINST.get(plane, {}).get(str(ds.get("SliceProgressionDirection") or ""))


def _way(plane: str, last_first: bool) -> str:
    first, last = reversed(ENDS[plane][0]) if last_first else ENDS[plane][0]
    return f"{first} to {last}"


def _slice_spacing(ds: Dataset, path: Path) -> tuple[float, tuple[str, ...]]:
    """The signed distance from frame to frame, mm, and what was assumed or is odd."""
    spacing = _numbers(ds, path, "SpacingBetweenSlices", 1, absent=True)
    thickness = _numbers(ds, path, "SliceThickness", 1, absent=True)
    if spacing and spacing[0]:
        mm, thick = abs(spacing[0]), abs(thickness[0]) if thickness else 0.0
        if not thick or abs(thick / mm - 1) <= _AS_THICK:
            return spacing[0], ()
        said = f"its slices are {thick:g} mm thick and lie {mm:g} mm apart by its header, which is followed; check it."
        return spacing[0], (said,)
    if not thickness or not thickness[0]:
        found = "0" if spacing or thickness else "neither"
        raise InputError(f"{path}: expected a distance in SpacingBetweenSlices or SliceThickness, found {found}.")
    mm = abs(thickness[0])
    return mm, (
        f"SpacingBetweenSlices is missing; frames are taken to lie SliceThickness, {mm:g} mm, apart (row x column).",
    )


def _by_frames(
    ds: Dataset,
    path: Path,
    orientation: tuple[float, ...] | None,
    slice_mm: float,
    order: NDArray[np.int64],
) -> tuple[tuple[float, ...] | None, float, tuple[str, ...]]:
    """Position of the first slice and signed distance between slices by the positions of all frames, and a sentence
    where SpacingBetweenSlices is another; None and the latter where frames have no positions of their own.
    """
    groups = list(ds.get("PerFrameFunctionalGroupsSequence") or ())
    planes = [(group.get("PlanePositionSequence") or [Dataset()])[0] for group in groups]
    found = [_numbers(plane, path, "ImagePositionPatient", 3, absent=True) for plane in planes]
    if orientation is None or len(found) != len(order) or len(order) < 2 or not all(found):
        return None, slice_mm, ()
    places = np.array(found)[order]
    normal = np.cross(orientation[:3], orientation[3:])
    steps = np.diff(places, axis=0)
    along = steps @ normal
    step = float(np.median(along))
    aside = np.linalg.norm(steps - np.outer(along, normal), axis=1).max()
    if not step or np.abs(along - step).max() > _UNEVEN * abs(step) or aside > _ASIDE_MM:
        raise InputError(
            f"{path}: expected evenly spaced frames, found gaps, repetitions or shifts in their positions."
        )
    if abs(step - slice_mm) <= _UNEVEN * abs(step):
        return tuple(places[0]), slice_mm, ()
    note = f"frames lie {step:.4g} mm apart by their positions, {slice_mm:.4g} mm by their spacing; the former is used."
    return tuple(places[0]), step, (note,)


def position_of(ds: Dataset, path: Path, name: str) -> tuple[float, ...] | None:
    """Image Position (Patient), from the place with that name (`cosines_of`) or else the first that has it."""
    homes = sorted(_homes(ds), key=lambda home: home[0] != name)
    found = (_numbers(home, path, "ImagePositionPatient", 3, absent=True) for _, home in homes)
    return next((position for position in found if position), None)


def _about_origin(
    orientation: Sequence[float], pixel_mm: tuple[float, float], slice_mm: float, shape: Sequence[int]
) -> tuple[float, ...]:
    """The first voxel of a stack that has its middle at the origin."""
    return tuple(map(float, -(np.array(shape) - 1) / 2 @ _steps(orientation, pixel_mm, slice_mm)))


def _steps(orientation: Sequence[float], pixel_mm: tuple[float, float], slice_mm: float) -> NDArray[np.float64]:
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    return np.stack([slice_mm * np.cross(row, column), pixel_mm[0] * column, pixel_mm[1] * row])


def _numbers(ds: Dataset, path: Path, keyword: str, count: int, *, absent: bool = False) -> tuple[float, ...]:
    """The numbers of an attribute; absent: it may be missing or empty, which gives ()."""
    value = ds.get(keyword)
    values = [] if value is None or value == "" else [float(v) for v in np.atleast_1d(np.asarray(value, dtype=float))]
    if absent and not values:
        return ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"{path}: expected {count} finite numbers in {keyword}, found {values or 'none'}.")
    return tuple(values)
