"""One intensity scale per phase, taken from the NC image alone.

Counts depend on dose, uptake and acquisition time; a network needs them near [-1, 1]. The scale of a phase is the
99.5th percentile of its NC short-axis stack within 60 mm of the stack's centre, where the left ventricle lies, so a
hot liver or gut cannot set it. SA, VLA and HLA of the phase share it, and nothing of the AC image is used, because at
the time of correction there is none.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

HEART_RADIUS_MM = 60.0
SCALE_PERCENTILE = 99.5


def heart_mask(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], radius_mm: float = HEART_RADIUS_MM
) -> NDArray[np.bool_]:
    """Voxels within `radius_mm` of the centre of a stack.

    shape: (slices, rows, columns); spacing_mm: distance of neighbouring voxel centres along the same axes, mm, signs
    ignored. Returns a bool array of that shape: the heart region of every table in this project.
    """
    axes = [(np.arange(n) - (n - 1) / 2) * abs(d) for n, d in zip(shape, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    return z * z + y * y + x * x <= radius_mm * radius_mm


def count_scale(stack: NDArray[np.float32], spacing_mm: tuple[float, float, float]) -> float:
    """The counts that map to +1: the 99.5th percentile of an NC stack within 60 mm of its centre.

    stack: [slices, rows, columns], counts >= 0; spacing_mm: (slice, row, column) spacing in mm.
    Raises ValueError if the region holds no counts or a value that is not finite.
    """
    region = np.asarray(stack)[heart_mask(stack.shape, spacing_mm)]
    scale = percentile(region, SCALE_PERCENTILE) if region.size else math.nan
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(
            f"the NC stack needs positive, finite counts within {HEART_RADIUS_MM:.0f} mm of its centre, but their "
            f"{SCALE_PERCENTILE}th percentile is {scale:g}"
        )
    return scale


def percentile(values: NDArray[np.floating], share: float) -> float:
    """The value that `share` percent of `values` do not exceed, linear between neighbours, in float64.

    Of float32 values numpy 1 finds the place of a percentile in double precision and numpy 2 in single: other counts
    under the same UID.
    """
    return float(np.percentile(np.asarray(values, np.float64), share))


def to_model(counts: NDArray[np.floating], scale: float) -> NDArray[np.float32]:
    """Counts -> model units: [0, scale] becomes [-1, 1]; hotter voxels (liver, gut) lie above 1 and are kept."""
    return (np.asarray(counts, np.float32) * np.float32(2.0 / scale) - np.float32(1.0)).astype(np.float32)


def to_counts(model: NDArray[np.floating], scale: float) -> NDArray[np.float32]:
    """Model units -> counts, the inverse of `to_model`; values below -1 become zero counts. NaN stays NaN."""
    counts = (np.asarray(model, np.float32) + np.float32(1.0)) * np.float32(scale / 2.0)
    return np.maximum(counts, np.float32(0.0)).astype(np.float32)
