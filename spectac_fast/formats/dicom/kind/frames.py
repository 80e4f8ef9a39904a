"""How many slices a file holds, and whether it holds them once: gated and dynamic stacks show each slice many times."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError, NotApplicableError

# (vector, number, what it tells of a stack in which it is not the same throughout).
_ORDERS = (
    ("TimeSlotVector", "NumberOfTimeSlots", "a gated reconstruction"),
    ("RRIntervalVector", "NumberOfRRIntervals", "a gated reconstruction"),
    ("PhaseVector", "NumberOfPhases", "a dynamic reconstruction"),
    ("TimeSliceVector", "NumberOfTimeSlices", "a dynamic reconstruction"),
    ("AngularViewVector", "", "projections"),
    ("EnergyWindowVector", "NumberOfEnergyWindows", "slices of several energy windows"),
    ("DetectorVector", "NumberOfDetectors", "slices of several detectors"),
    ("RotationVector", "NumberOfRotations", "slices of several rotations"),
)
# Of a stack in time; the other numbers tell how it was acquired.
_TIMES = ("NumberOfTimeSlots", "NumberOfRRIntervals", "NumberOfPhases", "NumberOfTimeSlices")
_GATED_WORDS = r"(?<![A-Z])(GATED|GSPECT|GSPET|(8|16|24|32)[ _-]*(BINS?|GATES?|FRAMES?))(?![A-Z])"
_UNGATED_WORDS = r"(?<![A-Z])((UN|NON?)[ _-]*GATED|SUM(MED)?|STATIC)(?![A-Z])"
# A stack that goes through the heart again and again is as like itself a period away, and less so half a period away;
# one that goes through it once becomes less like itself with every millimetre.
_LIKE, _MORE_LIKE = 0.9, 0.05
_BIN = 4
_FEWEST_SLICES = 4
# One that shows every slice many times before the next differs more where a slice ends, by so much on the
# mean and at nearly all ends: 1.2 in ordinary stacks, 1.4 and more in gated ones of few counts.
_LARGER_STEP, _NEARLY_ALL = 1.3, 0.9
_FEWEST_GATES, _FEWEST_STEPS = 6, 8
# Slices in turn of several stacks, or parts of slices; and images beside each other in one frame.
_MOST_IN_TURN, _MOST_BESIDE = 5, 4


def check_frames(ds: Dataset, path: Path) -> None:
    """Raise NotApplicableError where frames are told apart by more than their slice, InputError for numbers of slices
    that contradict each other.
    """
    frames = int(ds.get("NumberOfFrames") or 1)
    slices = int(ds.get("NumberOfSlices") or 0)
    pointers = _many(ds.get("FrameIncrementPointer"))
    for vector, number, what in _ORDERS:
        values = set(_many(ds.get(vector)))
        count = int(ds.get(number) or 0) if number else 0
        pointed = tag_for_keyword(vector) in pointers and count > 1
        stacked = number in _TIMES and count > 1 and slices * count == frames
        if len(values) > 1 or pointed or stacked:
            found = f"{frames} frames of {count} {_said(number)}" if count > 1 else _said(vector)
            raise NotApplicableError(f"{path}: expected a stack that shows every slice once, found {what} ({found}).")
    if slices not in (0, frames):
        said = frames if ds.get("NumberOfFrames") else "no number of"
        raise InputError(f"{path}: expected as many frames as slices, found {said} frames of {slices} slices.")


def frame_notes(ds: Dataset, counts: NDArray[np.float32], path: Path) -> tuple[str, ...]:
    """A sentence where the header speaks of gates and the slices, [slices, rows, columns] in order, are a stack.

    Raises NotApplicableError where the slices repeat themselves, whatever the header says.
    """
    period = repeats(counts)
    if period:
        raise NotApplicableError(
            f"{path}: expected a stack that shows every slice once, found {len(counts) // period} stacks of {period} "
            "slices behind each other, as a gated or dynamic reconstruction has them."
        )
    if gates := shown_at_once(counts):
        raise NotApplicableError(
            f"{path}: expected a stack that shows every slice once, found {len(counts)} frames that show each slice "
            f"{gates} times, as a gated reconstruction has them."
        )
    if stacks := in_turn(counts):
        raise NotApplicableError(
            f"{path}: expected slices that follow each other, found that each goes on {stacks} frames later: frames of "
            f"{stacks} stacks in turn, or of other Rows, Columns and Number of Frames than the header says."
        )
    if images := beside(counts):
        raise NotApplicableError(
            f"{path}: expected one slice in every frame, found {images} alike beside each other: a montage, or frames "
            "of other Rows and Columns than the header says."
        )
    for number in _TIMES:
        if (count := int(ds.get(number) or 0)) > 1:
            return (f"its header speaks of {count} {_said(number)}, but its slices do not repeat; taken as one stack.",)
    texts = " ".join(str(ds.get(keyword) or "") for keyword in ("SeriesDescription", "ImageID")).upper()
    if re.search(_GATED_WORDS, re.sub(_UNGATED_WORDS, "", texts)) and not re.search(_UNGATED_WORDS, texts):
        return ("its description speaks of gating, but its slices do not repeat; taken as the sum of all gates.",)
    return ()


def pixel_notes(ds: Dataset) -> tuple[str, ...]:
    """Sentences where the header says that pixels are no longer the counts that were reconstructed."""
    notes = []
    if str(ds.get("LossyImageCompression") or "").strip() == "01":
        notes.append(
            "it was compressed with losses by its header: its counts are not quite those that were reconstructed."
        )
    if str(ds.get("BurnedInAnnotation") or "").strip() == "YES":
        notes.append("its pixels hold text by its header, which is corrected as if it were counts.")
    return tuple(notes)


def repeats(counts: NDArray[np.floating]) -> int:
    """The number of slices after which a stack [slices, rows, columns] begins again, 0 where it does not."""
    slices, flat = len(counts), _coarse(counts)
    for period in range(_FEWEST_SLICES, slices // 2 + 1):
        if slices % period == 0:
            near, half = _likeness(flat, period), _likeness(flat, period // 2)
            if near > _LIKE and near > half + _MORE_LIKE:
                return period
    return 0


def shown_at_once(counts: NDArray[np.floating]) -> int:
    """How many times in a row a stack [slices, rows, columns] shows each slice, 0 where it shows them once."""
    slices, flat = len(counts), _coarse(counts)
    norms = np.linalg.norm(flat, axis=1)
    # What two neighbours differ by, were they of as many counts: gates are not.
    steps = norms[1:] * norms[:-1] - (flat[1:] * flat[:-1]).sum(axis=1)
    for gates in range(_FEWEST_GATES, slices // _FEWEST_STEPS + 1):
        if slices % gates == 0:
            *within, between = np.append(steps, np.nan).reshape(-1, gates)[:-1].T
            larger = between.mean() > _LARGER_STEP * np.mean(within, axis=1).max()
            if larger and np.mean(between > np.median(within, axis=0)) > _NEARLY_ALL:
                return gates
    return 0


def in_turn(counts: NDArray[np.floating]) -> int:
    """After how many slices a stack [slices, rows, columns] goes on where the next one does not, 0 where each does."""
    slices, flat = len(counts), _coarse(counts)
    for period in range(2, min(_MOST_IN_TURN, slices // _FEWEST_SLICES) + 1):
        if slices % period == 0:
            near = _likeness(flat, period)
            if near > _LIKE and near > max(_likeness(flat, lag) for lag in range(1, period)) + _MORE_LIKE:
                return period
    return 0


def beside(counts: NDArray[np.floating]) -> int:
    """How many images alike stand beside each other in the frames of a stack [slices, rows, columns], 0 for one."""
    columns = counts.shape[2]
    for images in range(2, _MOST_BESIDE + 1):
        width = columns // images
        if columns % images == 0 and width >= _FEWEST_SLICES * _BIN:
            parts = [_coarse(counts[:, :, k * width : (k + 1) * width]).reshape(1, -1) for k in range(images)]
            if all(_likeness(np.concatenate(pair), 1) > _LIKE for pair in itertools.pairwise(parts)):
                return images
    return 0


def _coarse(counts: NDArray[np.floating]) -> NDArray[np.float64]:
    """The slices about their means, in pixels so coarse that neither noise of an eighth of the counts nor walls that
    thicken hide what repeats, [slices, pixels].
    """
    slices, rows, columns = counts.shape
    rows, columns = rows // _BIN, columns // _BIN
    binned = counts[:, : rows * _BIN, : columns * _BIN].reshape(slices, rows, _BIN, columns, _BIN)
    flat = binned.mean((2, 4)).reshape(slices, rows * columns).astype(np.float64)
    return flat - flat.mean(axis=1, keepdims=True)


def _likeness(flat: NDArray[np.float64], lag: int) -> float:
    """Correlation of slices [slices, pixels] with those `lag` further on; slices with more in them count for more."""
    first, second = flat[:-lag], flat[lag:]
    return float((first * second).sum() / max(np.sqrt((first**2).sum() * (second**2).sum()), 1e-12))


def _said(keyword: str) -> str:
    """A keyword as people read it: "time slots", "Time Slot Vector"."""
    tag = tag_for_keyword(keyword)
    words = dictionary_description(tag) if tag is not None else keyword
    return words.removeprefix("Number of ").lower() if words.startswith("Number of ") else words


def _many(value: object) -> list[int]:
    if value is None or value == "":
        return []
    return [int(each) for each in np.atleast_1d(np.asarray(value))]
