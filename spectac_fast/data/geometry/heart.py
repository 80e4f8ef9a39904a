"""What an image shows of which way it lies, whatever its header says: how much like a typical heart it looks as it is,
and turned over.

The largest correlation with the mean NC image of synthetic patients (heart.json, by `python -m bench orientation`) over
shifts of the stack against it. The open side of the ventricle, the liver below and the right ventricle beside the
septum make it depend on the way round, each along another axis.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.geometry.resample import linear_weights
from spectac_fast.formats.orientation import VIEWS, turn_to_view

# The mean image is kept on this grid about the middle of a short-axis stack; a heart may lie so many voxels off.
SHAPE, VOXEL_MM, SHIFT = (7, 9, 9), 13.6, 2
# Hearts of patients who were not looked at before look at least as much like the mean image as it is as turned over
# (bench/results/orientation), so a stack that looks this much more like it turned over does not lie as it should.
MARGIN, LEAST = 0.03, 0.6
# Along its own axes; what is smaller than a ventricle has no side to tell, and by chance looks like anything.
SMALLEST_MM = 60
# What a stack that is turned over looks like, along the axes of the short-axis view.
_LOOKS = (
    "the ventricle seems to be open towards the apex",
    "the liver seems to lie above the heart",
    "septum and lateral wall seem to be exchanged",
)


def likeness(stack: NDArray[np.floating], plane: str, spacing_mm: Sequence[float]) -> NDArray[np.float64]:
    """How much a stack looks like a heart, [2, 2, 2]: as it is at (0, 0, 0), with slices turned over at (1, 0, 0), with
    rows at (0, 1, 0), with columns at (0, 0, 1), and so on; each a correlation, -1 ... 1, or 0 of a stack that is
    smaller than a ventricle.

    stack: counts [slices, rows, columns] as they are shown, in any unit. plane: "SA", "VLA" or "HLA". spacing_mm: of
    (slice, row, column).
    """
    if min(n * abs(mm) for n, mm in zip(np.shape(stack), spacing_mm)) < SMALLEST_MM:
        return np.zeros((2, 2, 2))
    turn = turn_to_view(VIEWS[plane], "SA")
    assert turn is not None
    seen, spacing = turn.apply(np.asarray(stack)), [abs(spacing_mm[k]) for k in turn.axes]
    slices, rows, columns = (
        linear_weights(n, mm, m + 2 * SHIFT, VOXEL_MM) for n, mm, m in zip(seen.shape, spacing, SHAPE)
    )
    windows = np.lib.stride_tricks.sliding_window_view(
        np.tensordot(slices, rows @ (seen @ columns.T), axes=1), SHAPE
    ).reshape(-1, np.prod(SHAPE))
    windows = windows - windows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(windows, axis=1, keepdims=True)
    found = (windows / np.where(lengths > 0, lengths, 1) @ _templates().T).max(axis=0)
    # From axes of the short-axis view to those of the plane.
    return found.reshape(2, 2, 2).transpose(np.argsort(turn.axes))


def turned_over(found: NDArray[np.float64]) -> tuple[int, int, int] | None:
    """Along which axes a stack lies turned over, by its `likeness`; None where it may well lie as it should."""
    best = np.unravel_index(int(np.argmax(found)), found.shape)
    if found[best] < LEAST or found[best] - found[0, 0, 0] < MARGIN:
        return None
    slices, rows, columns = map(int, best)
    return slices, rows, columns


def seen_as(flips: Sequence[int], plane: str) -> str:
    """What a stack of a plane looks like that is `turned_over` along some axes, in words."""
    turn = turn_to_view(VIEWS[plane], "SA")
    assert turn is not None
    return ", ".join(look for look, axis in zip(_LOOKS, turn.axes) if flips[axis])


@functools.cache
def _templates() -> NDArray[np.float64]:
    """The mean image turned over in each of eight ways, [8, voxels], of mean 0 and length 1."""
    mean = np.array(json.loads(files("spectac_fast.data.geometry").joinpath("heart.json").read_text())["mean"])
    axes = itertools.product((0, 1), repeat=3)
    turned = np.stack([np.flip(mean, tuple(k for k in range(3) if flips[k])).ravel() for flips in axes])
    turned = turned - turned.mean(axis=1, keepdims=True)
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)
