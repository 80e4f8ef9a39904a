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

from spectac_fast.correct.scales import Difference
from spectac_fast.data.acquisition import Claim, apart
from spectac_fast.data.geometry.lattice import SAME, Lattice, overlap
from spectac_fast.formats.series import Series


def partners_of(series: Sequence[Series], claims: Sequence[Claim], differ: Difference) -> list[tuple[int, ...]]:
    """For each series the others that show the same volume in another plane, at most one a plane.

    That is, of one acquisition by what they say (`claims`), and with the same NC counts where their lattices overlap,
    or the same but for a factor: headers are known to be wrong, and planes may be stored on other scales. Counts that
    agree also prove a common frame of reference, where none or another one is named. A series without such others is
    alone.
    """
    found: list[dict[str, int]] = [{} for _ in series]
    # An order that is the series' own, so that sums round alike however the files were found.
    order = sorted(range(len(series)), key=lambda k: (series[k].uid, series[k].plane))
    pairs = [(a, b) for a, b in itertools.combinations(order, 2) if _could_be(series, claims, a, b)]
    for a, b in sorted((pair for pair in pairs if differ(*pair)[1] <= SAME), key=lambda pair: differ(*pair)[0]):
        if series[b].plane not in found[a] and series[a].plane not in found[b]:
            found[a][series[b].plane], found[b][series[a].plane] = b, a
    return [tuple(sorted(others.values(), key=order.index)) for others in found]


def agreed(
    ac: Sequence[NDArray[np.float32]],
    nc: Sequence[NDArray[np.float32]],
    gain: float,
    scales: Sequence[float],
    lattices: Sequence[Lattice],
    partners: Sequence[Sequence[int]],
) -> list[NDArray[np.float32]]:
    """Corrected counts whose corrections, ac - gain nc, are the mean of those of a plane and its partners.

    ac, nc: counts [slices, rows, columns] of each plane on its lattice; gain: the model's; scales: of these counts. A
    partner's weight is that of `Overlap`. Returns float32 counts >= 0 on the same lattices; those of a plane without
    partners are unchanged.
    """
    corrections = [a - np.float32(gain) * n for a, n in zip(ac, nc)]
    result = []
    for own, (counts, others) in enumerate(zip(ac, partners)):
        change, weight = np.zeros_like(counts), np.ones_like(counts)
        for other in others:
            common = overlap(lattices[own], lattices[other])
            theirs = np.float32(scales[own] / scales[other]) * common.of(corrections[other])
            change[common.part] += common.weight * (theirs - corrections[own][common.part])
            weight[common.part] += common.weight
        result.append(np.maximum(counts + change / weight, 0))
    return result


def _could_be(series: Sequence[Series], claims: Sequence[Claim], a: int, b: int) -> bool:
    return series[a].plane != series[b].plane and not apart(claims[a], claims[b])
