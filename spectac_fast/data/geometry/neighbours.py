"""The slices beside a slice, for models that look at more than one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def neighbours(stack: NDArray[np.float32], slice_mm: float, offsets_mm: Sequence[float]) -> NDArray[np.float32]:
    """What lies at `offsets_mm` from every slice of a stack, float32 [slices, offsets, rows, columns].

    stack: [slices, rows, columns]; slice_mm: distance of its slices (its sign does not count); offsets_mm: along the
    stack, negative towards its first slice. Between slices the neighbours are interpolated linearly, so that a model
    sees the same distances whatever the spacing; beyond the ends the last slice is repeated.
    """
    last = len(stack) - 1
    position = np.arange(len(stack))[:, None] + np.asarray(offsets_mm, np.float64)[None] / abs(slice_mm)
    position = position.clip(0, last)
    # A neighbour on a slice, up to the rounding of the spacing in the header, is that slice bit for bit.
    position = np.where(np.abs(position - np.rint(position)) < 1e-3, np.rint(position), position)
    below = np.floor(position).astype(np.intp)
    share = (position - below).astype(np.float32)[..., None, None]
    return (1 - share) * stack[below] + share * stack[np.minimum(below + 1, last)]
