"""What a network sees where a file holds no signal: a field that ends does not end the patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from spectac_fast.formats.series import Series

# Zeros outside a circular field make a body narrower than it is, and its correction smaller: by 5.6 % (root mean square
# over voxels above a fifth of the maximum, SA of 12 training patients). Counts that fall off by e within so many mm
# leave 1.4 %; within 10 or 20 mm 1.7 and 2.5 %.
_FALLS_MM = 13.6


# The same about a field that is small: two thirds of the error that zeros make are left in fields of 218 mm; in those
# of 272 mm nothing is gained.
_SMALL_FALLS_MM, _SMALL_MM = 16.0, 245.0
# Where a field ends, counts of the patient are above this share of the field's mean; outside a patient they are not.
_CUT_SHARE = 0.1
# Below, what is cut off changes the heart's counts by more than 3 % (root mean square) in some of 12 patients.
_NEEDED_MM = 326.0


def continued(series: Series) -> NDArray[np.float32]:
    """Counts [slices, rows, columns] whose padding, and zeros about a field that cuts the patient off, continue the
    nearest counts of their slice and fall to zero.

    Without either the counts are the series' own.
    """
    if not series.counts.any():
        return series.counts
    if series.padding is not None:
        silent, falls_mm = ~np.isnan(series.padding), _FALLS_MM
    elif min(_extent(series)) < _SMALL_MM and _cut_off(series.counts):
        silent, falls_mm = np.broadcast_to(~_field(series.counts), series.counts.shape), _SMALL_FALLS_MM
    else:
        return series.counts
    counts = series.counts.copy()
    for k, outside in enumerate(silent):
        if outside.any() and not outside.all():
            away, nearest = distance_transform_edt(outside, sampling=series.pixel_mm, return_indices=True)
            fallen = counts[k][tuple(nearest)] * np.exp(-away / falls_mm)
            counts[k][outside] = fallen[outside].astype(np.float32)
    return counts


def field_warning(series: Series) -> list[str]:
    """A sentence where a field ends within the patient so near the heart that its counts depend on what is cut off."""
    if not _cut_off(series.counts):
        return []
    rows, columns = _extent(series)
    if min(rows, columns) >= _NEEDED_MM:
        return []
    return [
        f"{series.path}: the field of {rows:.0f} x {columns:.0f} mm ends within the patient; below {_NEEDED_MM:.0f} mm "
        "what it cuts off can change the corrected counts of the heart by more than 3 %."
    ]


def _extent(series: Series) -> tuple[float, float]:
    """Height and width of the field that holds counts, mm."""
    field = _field(series.counts)
    rows, columns = (int(field.any(axis=axis).sum()) * mm for axis, mm in zip((1, 0), series.pixel_mm))
    return rows, columns


def _field(counts: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The smallest box [rows, columns] that holds all counts of a stack."""
    shown = counts.any(axis=0)
    rows, columns = (np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0))
    box = np.zeros(shown.shape, bool)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


def _cut_off(counts: NDArray[np.float32]) -> bool:
    """Whether a stack's counts end as at the edge of a field, not as at that of a patient."""
    if not counts.any():
        return False
    mean, box = counts.mean(axis=0), _field(counts)
    inner = box.copy()
    inner[1:-1, 1:-1] &= box[:-2, 1:-1] & box[2:, 1:-1] & box[1:-1, :-2] & box[1:-1, 2:]
    inner[[0, -1]], inner[:, [0, -1]] = False, False
    edge = mean[box & ~inner]
    return bool(edge.mean() > _CUT_SHARE * mean[box].mean())
