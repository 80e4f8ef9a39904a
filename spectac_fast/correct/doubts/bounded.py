"""Hearts whose counts pass the largest that a network can give: generators that end in a tanh."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import heart_mask

if TYPE_CHECKING:
    from spectac_fast.data.geometry.resample import InPlane
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator

_log = logging.getLogger(__name__)
# A tanh comes as near to 1 as this only where it would have to pass it; in model units.
_AT_THE_BOUND = 0.97
_HOTTEST = 0.5
_TOLERATED = 0.01


def cut_off_hearts(
    series: Sequence[Series], grids: Sequence[InPlane], outputs: Sequence[NDArray[np.float32]], translator: Translator
) -> tuple[str, ...]:
    """One sentence, which is also logged, for each series of whose heart's hotter half some lies at the bound of a
    network that has one (`Translator` with `bounded`).

    outputs: of each series [slices, rows, columns] in model units. grids: between their pixels and the model's.
    """
    if not getattr(translator, "bounded", False):
        return ()
    found = []
    for one, grid, stack in zip(series, grids, outputs):
        heart = stack[heart_mask(stack.shape, (abs(one.slice_mm), *grid.pixel_mm))]
        # Above so much of the hottest, in units where -1 is none.
        hot = heart[heart + 1.0 > _HOTTEST * (heart.max(initial=-1.0) + 1.0)]
        share = float((hot > _AT_THE_BOUND).mean()) if hot.size else 0.0
        if share > _TOLERATED:
            text = (
                f"{one.path}: {translator.name} gives no more counts than its scale, and {share:.0%} of the heart "
                "above half of its maximum lies there: what should be hotter is cut off, so that walls differ too "
                "little."
            )
            _log.warning(text)
            found.append(text)
    return tuple(found)
