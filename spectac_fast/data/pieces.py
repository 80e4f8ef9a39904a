"""Stacks that go on in another file: one reconstruction that was stored in two objects, or in more."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from spectac_fast.data.acquisition import apart, claim_of
from spectac_fast.formats.series import Series

# Of a pixel and of a slice, by which two parts of one stack may be off each other.
_ASIDE, _APART = 0.25, 0.5


def pieces(series: Sequence[Series]) -> dict[int, list[int]]:
    """For each series whose slices go on in others, the numbers of those.

    That is, of one acquisition, plane and kind, with the same pixels and directions, and lying one behind the other
    along the slices, the last slice of one next to the first of the other.
    """
    found: dict[int, list[int]] = {}
    for a, b in itertools.combinations(range(len(series)), 2):
        if _continues(series[a], series[b]):
            found.setdefault(a, []).append(b)
            found.setdefault(b, []).append(a)
    return found


def _continues(one: Series, other: Series) -> bool:
    kinds = {(each.plane, each.attenuation_corrected, each.counts.shape[1:]) for each in (one, other)}
    if len(kinds) > 1 or one.form or other.form or apart(claim_of(one), claim_of(other)):
        return False
    ways = np.stack([one.directions, other.directions])
    if not np.allclose(ways[0], ways[1], atol=1e-3) or not np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3):
        return False
    # In slices, rows and columns from the first voxel of one to that of the other.
    step = one.directions @ np.subtract(other.position, one.position) / one.spacing_mm
    lead, length = (one, step[0]) if step[0] > 0 else (other, -step[0])
    return bool(np.abs(step[1:]).max() < _ASIDE and abs(length - len(lead.counts)) < _APART)
