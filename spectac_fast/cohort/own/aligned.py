"""NC and AC of one plane on the same voxels, whichever way their files store them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.geometry.lattice import Lattice, overlap
from spectac_fast.data.lineup import read_as
from spectac_fast.data.scale import heart_mask
from spectac_fast.formats.series import Series

Part = tuple[slice, ...]

# Of two lattices whose voxels lie no farther apart, mm, or as a share of their size.
_SAME_PLACE_MM, _SAME_SIZE = 0.5, 0.01
# So much of NC's heart region must AC hold.
_LEAST_HEART = 0.98
# After one factor for all counts: a series that is NC itself, and one that is no image of the same heart.
_NO_CORRECTION, _OTHER_HEART = 0.02, 0.8


class NoPairError(Exception):
    """Why an NC and an AC series are no pair: a clause that names no file."""


@dataclass(frozen=True, eq=False)
class Pair:
    """nc: the series. part: the box of its voxels that AC holds too; ac: float32 counts there. unlike: how far AC is
    from NC in the heart region after one factor, as a share of NC (root mean square). note: what was done to AC, ""
    for nothing.
    """

    nc: Series
    ac: NDArray[np.float32]
    part: Part
    unlike: float
    note: str = ""

    def of_nc(self, stack: NDArray) -> NDArray:
        """The part of a stack like NC's that AC holds too."""
        return stack[self.part]

    def on_nc(self, stack: NDArray[np.float32]) -> NDArray[np.float32]:
        """Such a part in its place in a stack like NC's, with 0 beyond it."""
        whole = np.zeros(self.nc.counts.shape, np.float32)
        whole[self.part] = stack
        return whole

    @property
    def heart(self) -> NDArray[np.bool_]:
        """The heart region of NC's stack (`data.scale.heart_mask`) on these voxels."""
        return self.of_nc(heart_mask(self.nc.counts.shape, self.nc.spacing_mm))


def aligned(nc: Series, ac: Series) -> Pair:
    """NC and AC of one phase and plane of one acquisition on the voxels of NC.

    Files of one size and spacing are taken voxel by voxel; others lie where their headers say, if both use the same
    coordinates. Headers are known to be wrong: of the ways that there are, the one by which the images are most alike
    is taken. Raises NoPairError where there is none, or where the two are no NC and AC of one heart.
    """
    ways = list(_ways(nc, ac))
    if not ways:
        raise NoPairError(f"NC has {_grid(nc)}, AC {_grid(ac)}, and they share no coordinates")
    whole = float(heart_mask(nc.counts.shape, nc.spacing_mm).sum())
    pairs = []
    for counts, part, note in ways:
        pair = Pair(nc, counts, part, math.inf, note)
        if pair.heart.sum() >= _LEAST_HEART * whole:
            pairs.append(Pair(nc, counts, part, _unlike(pair), note))
    if not pairs:
        raise NoPairError("AC does not hold the whole heart region of NC")
    best = min(pairs, key=lambda pair: pair.unlike)
    if best.unlike < _NO_CORRECTION:
        raise NoPairError("AC holds the counts of NC times one factor, so that nothing was corrected in it")
    if best.unlike > _OTHER_HEART:
        raise NoPairError(f"NC and AC do not show one heart: they differ by {100 * best.unlike:.0f} % after one factor")
    return best


def _ways(nc: Series, ac: Series) -> Iterator[tuple[NDArray[np.float32], Part, str]]:
    """(AC's counts, the part of NC's voxels that they are on, what was done): the plainest first."""
    everything: Part = tuple(slice(0, n) for n in nc.counts.shape)
    alike = _alike(nc, ac)
    if alike:
        yield ac.counts, everything, ""
    if ac.turn != nc.turn:
        again = read_as(ac, nc)
        if again is not ac and _alike(nc, again):
            yield again.counts, everything, "AC was read in the order of NC, as their images agree"
    if nc.frame_of_reference and nc.frame_of_reference == ac.frame_of_reference:
        own, other = Lattice.of_voxels(nc), Lattice.of_voxels(ac)
        if own.near() and other.near() and not (alike and _same_place(own, other)):
            common = overlap(own, other)
            yield common.of(ac.counts), common.part, "AC lies on other voxels than NC and was interpolated"


def _alike(nc: Series, ac: Series) -> bool:
    sizes = zip(nc.spacing_mm, ac.spacing_mm)
    return nc.counts.shape == ac.counts.shape and all(abs(a / b - 1) <= _SAME_SIZE for a, b in sizes)


def _same_place(own: Lattice, other: Lattice) -> bool:
    corners = np.array([(0, 0, 0), np.array(own.shape) - 1])
    away = own.first + corners @ own.steps - other.first - corners @ other.steps
    return bool(np.linalg.norm(away, axis=1).max() <= _SAME_PLACE_MM)


def _unlike(pair: Pair) -> float:
    heart = pair.heart
    nc, ac = (np.asarray(stack, np.float64)[heart] for stack in (pair.of_nc(pair.nc.counts), pair.ac))
    square = float(nc @ nc)
    factor = float(nc @ ac) / square if square else 0.0
    return math.sqrt(float(np.square(ac / factor - nc).sum()) / square) if factor > 0 else math.inf


def _grid(one: Series) -> str:
    slices, rows, columns = one.counts.shape
    depth, row, column = one.spacing_mm
    return f"{slices} slices of {rows} x {columns}, {depth:.4g} x {row:.4g} x {column:.4g} mm"
