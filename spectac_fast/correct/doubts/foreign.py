"""Series that are unlike those a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from spectac_fast.data.geometry.resample import InPlane
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator


def foreign_input(
    series: Sequence[Series], inputs: Sequence[NDArray[np.float32]], grids: Sequence[InPlane], translator: Translator
) -> list[str]:
    """One sentence for each series that is unlike those the model was trained on, if it came with any knowledge.

    inputs: [slices, rows, columns] of each in model units; grids: between their pixels and the model's.
    """
    population = getattr(translator, "population", None)
    if population is None:
        return []
    scored = (
        population.warning(one.path, one.plane, stack, (abs(one.slice_mm), *grid.pixel_mm))
        for one, stack, grid in zip(series, inputs, grids)
    )
    return [text for text in scored if text]
