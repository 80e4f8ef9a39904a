"""Which way a stack lies: how slices of a heart are shown, and the turn from the order of a file to that and back.

A network knows slices as they are shown: short-axis slices from apex to base, the anterior wall on top, the septum at
the left; vertical long-axis slices from septum to lateral wall, the apex at the right; horizontal ones from the
inferior wall to the anterior, the apex on top. Axes of a stack are in the order slices, rows (down a column), columns
(along a row); directions are unit vectors in the patient (LPS).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A typical heart: its long axis from base to apex, upwards, and from septum to lateral wall.
_LONG = np.array([0.62, -0.60, -0.50]) / np.linalg.norm([0.62, -0.60, -0.50])
_UP = np.array([0.40, -0.33, 0.86]) - np.array([0.40, -0.33, 0.86]) @ _LONG * _LONG
_UP /= np.linalg.norm(_UP)
_LATERAL = np.cross(_UP, _LONG)
# Where slices, rows and columns of a plane run.
VIEWS = {
    "SA": np.stack([-_LONG, -_UP, _LATERAL]),
    "VLA": np.stack([_LATERAL, -_UP, _LONG]),
    "HLA": np.stack([_UP, -_LONG, _LATERAL]),
}
# The same in words: from ... to.
ENDS = {
    "SA": (("apex", "base"), ("anterior wall", "inferior wall"), ("septum", "lateral wall")),
    "VLA": (("septum", "lateral wall"), ("anterior wall", "inferior wall"), ("base", "apex")),
    "HLA": (("inferior wall", "anterior wall"), ("apex", "base"), ("septum", "lateral wall")),
}
# Between an axis and that of a typical heart: hearts differ by some 30 degrees. No heart lies along the patient's axes.
_LEAST_COSINE, _ALONG_PATIENT = 0.5, 0.999


@dataclass(frozen=True)
class Turn:
    """From the order of a file to the one that slices are shown in.

    axes: which axis of the file becomes slices, rows and columns. flips: whether that one then runs the other way.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[bool, ...] = (False, False, False)

    def apply(self, stack: NDArray) -> NDArray:
        """A stack in the order of the file, as it is shown (a view of it)."""
        return np.flip(np.transpose(stack, self.axes), self._flipped)

    def undo(self, stack: NDArray) -> NDArray:
        """A stack as it is shown, in the order of the file."""
        return self.inverse.apply(stack)

    @property
    def inverse(self) -> Turn:
        """The turn from what is shown to the order of the file."""
        axes = tuple(self.axes.index(k) for k in range(3))
        return Turn(axes, tuple(self.flips[k] for k in axes))

    def steps(
        self, first: NDArray[np.float64], steps: NDArray[np.float64], shape: Sequence[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """First voxel [3] and steps along the axes [3, 3], mm, of a stack of that shape in the order of the file, as
        they are after it was turned.
        """
        turned = steps[list(self.axes)]
        for k in self._flipped:
            first = first + (shape[self.axes[k]] - 1) * turned[k]
        return first, turned * np.where(self.flips, -1.0, 1.0)[:, None]

    def then(self, after: Turn) -> Turn:
        """This turn, and then another one of its result."""
        axes = tuple(self.axes[k] for k in after.axes)
        return Turn(axes, tuple(self.flips[k] != flip for k, flip in zip(after.axes, after.flips)))

    @property
    def _flipped(self) -> tuple[int, ...]:
        return tuple(k for k, flip in enumerate(self.flips) if flip)


AS_STORED = Turn()


def turn_to_view(directions: ArrayLike, plane: str, *, own_slices: bool = False) -> Turn | None:
    """The turn that brings a stack to the view of its plane; None where its directions are not a heart's.

    directions: [3, 3], of the axes of the file, of any length. plane: "SA", "VLA" or "HLA". own_slices: its first axis
    runs through the slices of that plane unless this cannot be.

    Of the 48 ways to order and turn three axes it is the one that comes closest to a typical heart; each axis must lie
    within 60 degrees of it.
    """
    directions = np.asarray(directions, float)
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    if not np.isfinite(directions).all() or (np.abs(directions).max(axis=1) > _ALONG_PATIENT).all():
        return None
    cosines = directions @ VIEWS[plane].T
    # A heart may lie so far from a typical one that another axis of its own comes as close.
    orders = list(itertools.permutations(range(3)))
    for choice in ([axes for axes in orders if axes[0] == 0], orders) if own_slices else (orders,):
        axes = max(choice, key=lambda axes: np.abs(cosines[list(axes), range(3)]).sum())
        found = cosines[list(axes), range(3)]
        if np.abs(found).min() >= _LEAST_COSINE:
            return Turn(axes, tuple(bool(cosine < 0) for cosine in found))
    return None
