"""The planes of a phase are one volume seen several ways: what a model corrects in them is averaged.

A model sees SA, VLA and HLA slices of one heart apart and errs in each on its own. What it adds to NC times its gain,
its correction, is therefore interpolated from the other planes and averaged, all planes alike, where they cover a
voxel. The correction and not the image, because the grids of the planes lie half a voxel apart, which would cost the
image detail. (Averaged logarithms of AC / NC and other weights are no better, and nor is smoothing along the stack.)
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.geometry.lattice import Lattice, overlap
from spectac_fast.formats.series import Series

# NC of two planes on the same voxels differs by 2 to 5 % (root mean square) from interpolation, and by 14 to 20 % where
# one of them is shifted by a voxel.
_SAME = 0.1
# An eighth of the voxels tells as much as all of them.
_EVERY = 2


def partners_of(
    series: Sequence[Series], lattices: Sequence[Lattice], nc: Sequence[NDArray[np.float32]]
) -> list[tuple[int, ...]]:
    """For each series the others that show the same volume in another plane.

    That is, of the same phase, in one frame of reference by their headers, and with the same NC counts [slices, rows,
    columns] where their lattices overlap: headers are known to be wrong, and planes may be stored on other scales. A
    series without such others is alone.
    """
    found: list[list[int]] = [[] for _ in series]
    # An order that is the series' own, so that sums round alike however the files were found.
    order = sorted(range(len(series)), key=lambda k: (series[k].uid, series[k].plane))
    for a, b in itertools.combinations(order, 2):
        if _could_be(series[a], series[b], lattices[a], lattices[b]) and _same(nc[a], nc[b], lattices[a], lattices[b]):
            found[a].append(b)
            found[b].append(a)
    return [tuple(others) for others in found]


def agreed(
    ac: Sequence[NDArray[np.float32]],
    nc: Sequence[NDArray[np.float32]],
    gain: float,
    lattices: Sequence[Lattice],
    partners: Sequence[Sequence[int]],
) -> list[NDArray[np.float32]]:
    """Corrected counts whose corrections, ac - gain nc, are the mean of those of a plane and its partners.

    ac, nc: counts [slices, rows, columns] of each plane on its lattice; gain: the model's. A partner's weight is that
    of `Overlap`. Returns float32 counts >= 0 on the same lattices; those of a plane without partners are unchanged.
    """
    corrections = [a - np.float32(gain) * n for a, n in zip(ac, nc)]
    result = []
    for own, (counts, others) in enumerate(zip(ac, partners)):
        change, weight = np.zeros_like(counts), np.ones_like(counts)
        for other in others:
            common = overlap(lattices[own], lattices[other])
            change[common.part] += common.weight * (common.of(corrections[other]) - corrections[own][common.part])
            weight[common.part] += common.weight
        result.append(np.maximum(counts + change / weight, 0))
    return result


def _could_be(a: Series, b: Series, lattice_a: Lattice, lattice_b: Lattice) -> bool:
    here = a.phase == b.phase and a.plane != b.plane and lattice_a.near() and lattice_b.near()
    return here and a.frame_of_reference != "" and a.frame_of_reference == b.frame_of_reference


def _same(a: NDArray[np.float32], b: NDArray[np.float32], lattice_a: Lattice, lattice_b: Lattice) -> bool:
    common = overlap(lattice_a, lattice_b, _EVERY)
    own = a[common.part]
    difference, power = (float((common.weight * v**2).sum(dtype=np.float64)) for v in (common.of(b) - own, own))
    return power > 0 and difference <= _SAME**2 * power
