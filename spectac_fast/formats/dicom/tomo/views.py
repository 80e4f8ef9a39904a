"""Views by their angles: whether they are enough, and whether they can be what the header says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.tomo.heads import apart
from spectac_fast.formats.projections import covered, gaps, step_of

# An arc that is less than half a circle by more than this has not seen the patient from every side, degrees.
_ARC, _SHORT = 180.0, 1.5
_FEWEST_VIEWS = 12
# A view of less than this share of the usual counts was cut short or looked past the patient.
_FEW_COUNTS = 0.1
# From one view to the next a patient's counts change by a few percent, in the real study by up to 10; by more than this
# where a view was cut short or a head counts otherwise.
_JUMP = 1.25
# An arc of half a circle is taken about 45 degrees at the left of the front, where the heart is, or not far from it.
_HEART, _FAR = 45.0, 60.0
# Neighbouring views differ by less than any two do, once noise is taken off: of a patient in 16 views over 180 degrees
# by half of that, in 30 by a quarter; where heads were exchanged, by half as much again. More than this share of such
# neighbours is no single mistake.
_MOST_STRANGERS = 0.25
# So many bins of the largest count, and so many times those of each of the five counts below, are no chance.
_PLATEAU, _STEEP = 20, 5
# Below this share of the counts' variance that difference is not told from noise.
_TOLD = 0.05


def check_arc(angles: NDArray[np.float64], path: Path) -> None:
    """Raise InputError for views that are too few or leave out too much."""
    if len(angles) < _FEWEST_VIEWS:
        raise InputError(f"{path}: expected at least {_FEWEST_VIEWS} views, found {len(angles)}.")
    if covered(angles) < _ARC - _SHORT:
        raise InputError(
            f"{path}: expected views that cover {_ARC:g} degrees, found {len(angles)} that cover "
            f"{covered(angles):.0f} ({angles[0]:.0f} to {angles[-1]:.0f}, where 0 is in front and 90 at the left)."
        )


def arc_notes(angles: NDArray[np.float64]) -> tuple[str, ...]:
    """Sentences on gaps, and on an arc about another side than the heart's."""
    between, step, notes = np.diff(angles), step_of(angles), []
    if len(wide := np.flatnonzero(between > 1.5 * step)):
        where = ", ".join(f"{angles[k]:.0f} to {angles[k + 1]:.0f}" for k in wide)
        notes.append(f"there are no views from {where} degrees, where 0 is in front and 90 at the left.")
    middle = (angles[0] + angles[-1]) / 2
    if covered(angles) < 1.25 * _ARC and apart(middle, _HEART) > _FAR:
        notes.append(
            f"its views are taken about {(middle + 180) % 360 - 180:.0f} degrees (0 in front, 90 at the left), not "
            "about the heart's side; its Start Angle or Rotation Direction may be wrong, and with it what is left and "
            "right."
        )
    return tuple(notes)


def check_counts(counts: NDArray[np.float32], angles: NDArray[np.float64], path: Path) -> tuple[str, ...]:
    """Sentences on views [views, rows, columns] of few counts and on neighbours that look as if they were none.

    Raises InputError for views of no counts, for a view that is the next one's copy, and where views on either side of
    an angle, or of many, are no more alike than any two: then their numbers or angles are wrong.
    """
    totals = counts.sum((1, 2), dtype=np.float64)
    if not totals.all():
        raise InputError(f"{path}: expected counts in every view, found none at {_said(angles[totals == 0])}.")
    same = np.flatnonzero([np.array_equal(*counts[k : k + 2]) for k in range(len(counts) - 1)])
    if len(same):
        raise InputError(
            f"{path}: expected views of their own, found the same counts at {_said(angles[[same[0], same[0] + 1]])}."
        )
    few = totals < _FEW_COUNTS * np.median(totals)
    notes = [f"it has hardly any counts at {_said(angles[few])}."] if few.any() else []
    jumps = _near(angles) & (np.abs(np.diff(np.log(totals))) > np.log(_JUMP))
    if jumps.any() and not few.any():
        where = _said(angles[:-1][jumps])
        notes.append(
            f"its counts change by more than {100 * (_JUMP - 1):.0f} % to the next view at {where}; views may have "
            "been cut short, or heads count differently."
        )
    notes += _cut_off(counts)
    strangers = _strangers(counts, angles)
    if strangers.mean() > _MOST_STRANGERS:
        raise InputError(
            f"{path}: expected neighbouring views to be alike, found them as different as any two; the numbers of its "
            "views or their angles are wrong."
        )
    for k in np.flatnonzero(strangers):
        where = _said(angles[[k, k + 1]])
        # A view that is wrong by itself is strange to both of its neighbours.
        if 0 < k < len(strangers) - 1 and not strangers[[k - 1, k + 1]].any():
            raise InputError(
                f"{path}: expected neighbouring views to be alike, found those at {where} as different as any two; the "
                "Start Angles of its detectors or rotations are wrong."
            )
        notes.append(f"its views at {where} are as different as any two.")
    return tuple(notes)


def _cut_off(counts: NDArray[np.float32]) -> list[str]:
    """A sentence where so many bins hold the largest count that more of it was lost."""
    levels, bins = np.unique(counts, return_counts=True)
    if bins[-1] < _PLATEAU or bins[-1] < _STEEP * bins[-6:-1].mean():
        return []
    return [
        f"{bins[-1]} of its bins hold the same largest count, {levels[-1]:g}; what they had beyond that may be lost."
    ]


def _strangers(counts: NDArray[np.float32], angles: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which views differ from the next one about as much as from any other, bool [views - 1]; False across a gap."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    totals = flat.sum(1)
    # Heads may differ in what they count.
    flat /= totals[:, None]
    gram, noise = flat @ flat.T, 1 / totals
    squares = np.diag(gram)
    # What Poisson counts of one expectation differ by on average is taken off.
    different = squares[:, None] + squares - 2 * gram - noise[:, None] - noise
    usual = different[np.triu_indices(len(flat), 1)].mean()
    if usual < _TOLD * squares.mean():
        return np.zeros(len(flat) - 1, bool)
    return _near(angles) & (np.diag(different, 1) > usual)


def _near(angles: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which views have the next one beside them, across no gap, bool [views - 1]."""
    return np.diff(angles) <= 1.5 * np.median(gaps(angles))


def _said(angles: NDArray[np.float64]) -> str:
    listed = ", ".join(f"{angle:.0f}" for angle in angles[:6])
    return f"{listed}{' and more' if len(angles) > 6 else ''} degrees (0 in front, 90 at the left)"
