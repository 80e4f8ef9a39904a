"""The one way in: whatever a DICOM object stores, as counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.formats.background import without_background
from spectac_fast.formats.dicom.values.mapping import mapping_of
from spectac_fast.formats.dicom.values.pixels import stored_pixels


@dataclass(frozen=True, eq=False)
class Counted:
    """Counts, float32 [frames, rows, columns]; padding, step and notes as in `Series`."""

    counts: NDArray[np.float32]
    padding: NDArray[np.float32] | None
    step: float
    notes: tuple[str, ...]


def counts_of(ds: Dataset, path: Path) -> Counted:
    """The counts of every frame in stored order, some of them perhaps below zero (`judged`).

    Raises InputError for pixels that are missing, truncated, in another transfer syntax or no counts, and for a header
    that does not say what they stand for.
    """
    stored = stored_pixels(ds, path)
    floating = stored.values.dtype.kind == "f"
    mapping = mapping_of(ds, stored.values.dtype.kind == "i", path)
    counts, beyond = mapping.counts(stored.values, stored.padded, path)
    padding, notes = None, (*stored.notes, *mapping.notes, *beyond)
    if stored.padded is not None:
        # What no 16-bit word holds is written as 0.
        padding = np.where(stored.padded, np.nan_to_num(stored.values), np.nan).astype(np.float32)
        notes += _note_among(stored.values[stored.padded], stored.values[~stored.padded])
    return Counted(counts, padding, 0.0 if floating else mapping.step, notes)


def _note_among(padding: NDArray, values: NDArray) -> tuple[str, ...]:
    """A sentence where padding looks like a value."""
    if not values.size or not values.min() < padding.max() or not padding.min() < values.max():
        return ()
    return (f"its padding value {padding.flat[0]:g} lies among its values; where it is there is no signal.",)


def stacked(parts: Sequence[Counted]) -> Counted:
    """The frames of several objects as one stack."""
    padding = None
    if any(part.padding is not None for part in parts):
        full = [np.full_like(part.counts, np.nan) if part.padding is None else part.padding for part in parts]
        padding = np.concatenate(full)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    return Counted(np.concatenate([part.counts for part in parts]), padding, min(part.step for part in parts), notes)


def judged(counted: Counted, path: Path) -> Counted:
    """The same with counts of at least zero, 0 in padding; raises InputError as `without_background` does."""
    padding = counted.padding
    named = None if padding is None else ~np.isnan(padding)
    counts, silent, notes = without_background(path, counted.counts, named)
    if silent is not None:
        padding = np.full_like(counts, np.nan) if padding is None else padding
        # Nothing in the header names these: 0 says it as well.
        padding[silent & np.isnan(padding)] = 0
    return replace(counted, counts=counts, padding=padding, notes=(*counted.notes, *notes))
