"""What lies outside of a field, as long as nothing better is known: a field that ends does not end the patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from spectac_fast.data.geometry.field import Field
from spectac_fast.formats.series import Series

# Zeros outside a circular field make a body narrower than it is, and its correction smaller: by 5.6 % (root mean square
# over voxels above a fifth of the maximum, SA of 12 training patients). Counts that fall off by e within so many mm
# leave 1.4 %; within 10 or 20 mm 1.7 and 2.5 %.
_FALLS_MM = 13.6


def continued(series: Series, field: Field) -> NDArray[np.float32]:
    """Counts [slices, rows, columns] that outside of the field continue the nearest counts of their slice and fall to
    zero; the series' own where nothing lies outside.
    """
    if field.inside is None or not series.counts.any():
        return series.counts
    counts = series.counts.copy()
    for k, outside in enumerate(~field.inside):
        if outside.any() and not outside.all():
            away, nearest = distance_transform_edt(outside, sampling=series.pixel_mm, return_indices=True)
            fallen = counts[k][tuple(nearest)] * np.exp(-away / _FALLS_MM)
            counts[k][outside] = fallen[outside].astype(np.float32)
    return counts
