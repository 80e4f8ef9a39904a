"""Counts below zero, and constants outside the patient that no header names: what they are taken for, or why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError

# Filtered back projection leaves lobes of some tenths of the maximum below zero; what lies deeper is no image.
_DEEPEST = 0.5
# A constant outside the field or the patient stands alone: everything else is nearer to zero than half of it ...
_ALONE = 0.5
# ... and a hundredth of the stack is less than the corners that a circular field leaves.
_SHARE = 0.01
# A maximum within these, whatever the unit: float32 holds the sums and squares of such counts.
_LEAST_TOP, _HIGHEST_TOP = 1e-12, 1e12


def without_background(
    path: Path, counts: NDArray[np.float32], padded: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None, tuple[str, ...]]:
    """Counts of at least zero, where there is no signal besides what is known, and sentences on what was assumed.

    counts: float32 [slices, rows, columns], which are changed. padded: voxels that the file says are padding.

    A constant in the corners that stands alone, far below zero or far above all counts, is padding that the header does
    not name. Other values below zero are the lobes of filtered back projection, or a background: no counts. Raises
    InputError where they lie deeper, where a value is not finite, where nothing lies above zero, and where the maximum
    is beyond any unit of counts.
    """
    known = np.ones(counts.shape, bool) if padded is None else ~padded
    if not np.isfinite(counts[known]).all():
        raise InputError(f"{path}: expected finite counts, found NaN or infinity.")
    if padded is not None:
        counts[padded] = 0
    notes = []
    for extreme in (np.max, np.min):
        value = float(extreme(counts, initial=0.0, where=known))
        at = known & (counts == value)
        if value and stands_alone(counts, at, known, value):
            notes.append(
                f"{100 * at.mean():.0f} % of the voxels, in the corners of the slices, hold {value:g}, which no header "
                "names as padding; they are taken as such."
            )
            counts[at] = 0
            known &= ~at
    top, least = (float(extreme(counts, initial=0.0, where=known)) for extreme in (np.max, np.min))
    if top <= 0:
        raise InputError(f"{path}: expected counts, found only zeros{' and less' if least < 0 else ''}.")
    if not _LEAST_TOP <= top <= _HIGHEST_TOP:
        raise InputError(
            f"{path}: expected a maximum of {_LEAST_TOP:g} to {_HIGHEST_TOP:g} counts, found {top:g}: a factor of the "
            "header is wrong, or the values are no counts."
        )
    if least < -_DEEPEST * top:
        raise InputError(
            f"{path}: expected counts of at least zero, found {least:g} to {top:g}: counts that were stored as signed "
            "but are not, an intercept or a padding value that the header does not name."
        )
    if least < 0:
        below = counts < 0
        same = "all of them that value" if (counts[below] == least).all() else "as filtered back projection leaves them"
        notes.append(
            f"{max(100 * below.mean(), 0.1):.2g} % of the values lie below zero, down to {least:g} at {top:g} on top, "
            f"{same}; they are taken as no counts."
        )
        counts[below] = 0
    return counts, None if known.all() else ~known, tuple(notes)


def stands_alone(values: NDArray, at: NDArray[np.bool_], known: NDArray[np.bool_], value: float) -> bool:
    """Whether the voxels `at`, which hold `value`, are a constant background: not known by name, but by their place.

    values: [slices, rows, columns]; known: those that are not padding. They must be many, hold a corner of every slice
    in which they are, and lie twice as far from zero as all others on that side, of which there are some.
    """
    if at.sum() < _SHARE * at.size:
        return False
    others = values[known & ~at]
    if not (others > 0).any():
        return False
    nearest = float(others.max() if value > 0 else others.min())
    return abs(nearest if nearest * value > 0 else 0.0) < _ALONE * abs(value) and in_corners(at)


def in_corners(at: NDArray[np.bool_]) -> bool:
    """Whether every slice of [slices, rows, columns] that holds any of `at` holds one in a corner."""
    corners = at[:, :: max(at.shape[1] - 1, 1), :: max(at.shape[2] - 1, 1)].any(axis=(1, 2))
    return bool((corners == at.any(axis=(1, 2))).all())
