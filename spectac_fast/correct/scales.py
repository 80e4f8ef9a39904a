"""One count scale for the series of an acquisition: that of its short-axis stack.

Headers say which series belong together, and counts prove it: planes of one reconstruction hold the same counts on the
same voxels, or, where no two share voxels, much the same in the heart region. A plane that was stored on another scale
than the short-axis stack has that one's scale in its own counts; one that belongs to none has its own.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.acquisition import Claim, apart, likeliest
from spectac_fast.data.geometry.lattice import SAME
from spectac_fast.data.geometry.resample import InPlane
from spectac_fast.data.scale import count_scale
from spectac_fast.errors import InputError
from spectac_fast.formats.series import Series

# The scale comes from the first of these that an acquisition has.
PLANES = ("SA", "HLA", "VLA", "TRA")
# Of the scales of two planes of one reconstruction, each taken from its own stack: 0.5 % of the synthetic ones differ
# by more than 4 %, or 9 % where the field is cropped; a scale that is 10 % off changes corrected counts by 0.5 %.
_ALIKE = 0.1
# As `geometry.lattice.difference` of two series by their numbers.
Difference = Callable[[int, int], tuple[float, float, float]]


def scales_of(
    series: Sequence[Series],
    claims: Sequence[Claim],
    grids: Sequence[InPlane],
    nc: Sequence[NDArray[np.float32]],
    differ: Difference,
) -> tuple[list[float], list[str]]:
    """The scale of each series, counts, and a sentence for each that could not simply have its acquisition's.

    claims: what the series say of their acquisitions. grids, nc: the way to the model's pixels, and NC counts there.
    Raises InputError for a series whose own scale is needed and whose heart region has no counts.
    """
    scales: dict[int, float] = {}
    said: dict[int, str] = {}
    leaders: list[int] = []
    for k in sorted(range(len(series)), key=lambda k: PLANES.index(series[k].plane)):
        own = functools.partial(_scale, series[k], grids[k], nc[k])
        others = [lead for lead in leaders if series[lead].plane != series[k].plane != PLANES[0]]
        fitting = [lead for lead in others if not apart(claims[k], claims[lead])]
        fitting = [fitting[n] for n in likeliest(claims[k], [claims[lead] for lead in fitting])]
        scale, text = _shared(k, fitting, scales, differ, own)
        if scale is None:
            scale = own()
            leaders.append(k)
            why = next((apart(claims[k], claims[lead]) for lead in others if claims[lead].phase == claims[k].phase), "")
            if not fitting and why:
                text = f"no other plane is of its acquisition ({why}), so it is scaled by itself."
        scales[k] = scale
        if text:
            said[k] = f"{series[k].path}: {text}"
    return [scales[k] for k in range(len(series))], [said[k] for k in sorted(said)]


def _shared(
    k: int, leaders: Sequence[int], scales: Mapping[int, float], differ: Difference, own: Callable[[], float]
) -> tuple[float | None, str]:
    """The scale that a series has from one of some others, None where it has none from them, and what to say."""
    found = {lead: differ(lead, k) for lead in leaders}
    lead = min(found, key=lambda lead: found[lead][0], default=None)
    if lead is None:
        return None, ""
    if found[lead][0] <= SAME:
        return scales[lead], ""
    closest = min(found, key=lambda lead: found[lead][1])
    if found[closest][1] <= SAME:
        factor = found[closest][2]
        return scales[closest] * factor, (
            f"its counts are {factor:.3g} times those of another plane on the same voxels; it is scaled by as much."
        )
    mine = own()
    nearest = min(leaders, key=lambda lead: abs(math.log(scales[lead] / mine)))
    if abs(scales[nearest] / mine - 1) <= _ALIKE:
        return scales[nearest], ""
    return None, (
        f"its counts in the heart region are {mine / scales[nearest]:.3g} times those of the other planes and not on "
        "the same voxels, so it is scaled by itself."
    )


def _scale(series: Series, grid: InPlane, nc: NDArray[np.float32]) -> float:
    try:
        return count_scale(nc, (abs(series.slice_mm), *grid.pixel_mm))
    except ValueError as error:
        raise InputError(f"{series.path}: {error}.") from None
