"""Corrections that may be wrong, by what the model made of a study."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.spread import central_slices, heart_spread
from spectac_fast.errors import InputError
from spectac_fast.models.uncertainty import calibration_of

if TYPE_CHECKING:
    from spectac_fast.data.facts import StudyFacts
    from spectac_fast.data.geometry.resample import InPlane
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator

_log = logging.getLogger(__name__)


class Expectation(Protocol):
    """What is expected of a correction, as of `cohort.expected_error`: mean error of its segments, % of the maximum."""

    @property
    def corrected(self) -> float: ...

    @property
    def nothing_to_correct(self) -> bool: ...

    @property
    def clause(self) -> str: ...


class Warns(Protocol):
    """What knows when an expectation is a warning."""

    def warning(self, path: Path, expected: Expectation) -> str | None: ...


def expectations(
    series: Sequence[Series],
    grids: Sequence[InPlane],
    inputs: Sequence[NDArray[np.float32]],
    alone: Sequence[NDArray[np.float32]],
    together: Sequence[NDArray[np.float32]],
    facts: Sequence[StudyFacts],
    translator: Translator,
) -> list[Expectation | None]:
    """The error that is expected of the correction of each short-axis series; None for other planes, and where that was
    not measured for the model's weights.

    inputs, alone, together: of each series [slices, rows, columns] in model units: NC, and AC as the plane gives it and
    as all planes of its volume do. grids: between their pixels and the model's. facts: what is known of each.
    """
    known = getattr(translator, "expected_error", None)
    return [
        known.of_images(*images, (abs(one.slice_mm), *grid.pixel_mm), known_of)
        if known is not None and one.plane == "SA"
        else None
        for one, grid, known_of, *images in zip(series, grids, facts, inputs, alone, together)
    ]


def doubtful_corrections(
    series: Sequence[Series], expected_of: Sequence[Expectation | None], known: Warns | None
) -> tuple[str, ...]:
    """One sentence, which is also logged, for each series whose correction is expected to be no better than none, or
    less exact than usual. known: what expects it.

    Raises InputError for a series in which nothing is left to correct by the looks of it, unless the user has said that
    it is NC.
    """
    found = []
    for one, expected in zip(series, expected_of):
        if expected is None or known is None:
            continue
        if expected.nothing_to_correct and not one.kind_told:
            raise InputError(
                f"{one.path}: expected an image without attenuation correction, found one that looks as if nothing "
                f"were left to correct ({expected.clause}); --kind nc corrects it nevertheless."
            )
        found.append(known.warning(one.path, expected))
    return _logged(found)


def foreign_spread(
    series: Sequence[Series],
    grids: Sequence[InPlane],
    outputs: Sequence[NDArray[np.float32]],
    translator: Translator,
    samples: int,
) -> tuple[str, ...]:
    """One sentence, which is also logged, for each series whose samples lie unlike those of the model's training
    population, from the deviations that the model gave; none where fewer samples were drawn than for that.
    """
    population = getattr(translator, "population", None)
    known = population.spread if population else None
    if known is None or samples < known.samples:
        return ()
    found = []
    for one, grid, output in zip(series, grids, outputs):
        taken = output[central_slices(len(output), one.slice_mm)]
        deviation = heart_spread(taken, output.shape, (one.slice_mm, *grid.pixel_mm))
        found.append(known.warning(one.path, one.plane, calibration_of(translator).undone(deviation)))
    return _logged(found)


def _logged(found: Iterable[str | None]) -> tuple[str, ...]:
    said = tuple(text for text in found if text)
    for text in said:
        _log.warning(text)
    return said
