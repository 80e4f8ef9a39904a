"""One phase of one of one's own studies, corrected by the rows of a table as `spectac correct` would do it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.cohort.cohort import reference_plane
from spectac_fast.cohort.own.aligned import Pair
from spectac_fast.cohort.own.studies import StudyPairs
from spectac_fast.correct.engines.in_memory import run_batches
from spectac_fast.correct.study import Prepared, prepare
from spectac_fast.data.study import Study
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle, find
from spectac_fast.evaluate.table.metrics import check_taps
from spectac_fast.evaluate.table.phase import Planes
from spectac_fast.evaluate.table.variants import COMBINED

if TYPE_CHECKING:
    from spectac_fast.evaluate.table.variants import Row

_Run = tuple[Prepared, list[NDArray[np.float32]], float]


class StudyPhase:
    """The planes of one phase of a patient of `StudyPairs`, with the members of `table.phase.Phase`.

    number: of the patient, who has no other name here. Stacks are what NC and AC both hold. Raises InputError
    for slices that are smaller than SSIM's window.
    """

    def __init__(self, cohort: StudyPairs, index: int, phase: str, seed: int) -> None:
        case = cohort.cases[index]
        self.key, self.phase, self.number = case["sha256"], phase, int(case["patient"])
        self.name = f"patient {self.number}"
        self.pairs: dict[str | None, Pair] = {plane: p for (of, plane), p in cohort.pairs(index).items() if of == phase}
        self.scale = cohort.scale(index, phase)
        self.reference = reference_plane(cohort.series(index), phase)
        self.nc: Planes = {plane: pair.of_nc(pair.nc.counts) for plane, pair in self.pairs.items()}
        self.ac: Planes = {plane: pair.ac for plane, pair in self.pairs.items()}
        self._seed = seed
        for plane, nc in self.nc.items():
            check_taps(f"{self.name} {phase} {plane}", nc.shape[1:])
        self._known: dict[Any, _Run] = {}

    @property
    def hearts(self) -> dict[str | None, NDArray[np.bool_]]:
        """The heart region of every plane."""
        return {plane: pair.heart for plane, pair in self.pairs.items()}

    def spacing_of(self, plane: str | None) -> tuple[float, float, float]:
        """(slice, row, column) spacing of a plane, mm."""
        return self.pairs[plane].nc.spacing_mm

    def correct(self, row: Row) -> tuple[Planes, float]:
        """({plane: corrected counts}, seconds), as `Phase.correct`: the counts are those that `correct_study` gives."""
        prepared, outputs, seconds = self._run(row)
        start = time.perf_counter()
        if row.together != COMBINED:
            prepared = replace(prepared, partners=[()] * len(prepared.partners))
        counts = prepared.finish(outputs, row.translator)
        stacks = {plane: pair.of_nc(stack) for (plane, pair), stack in zip(self.pairs.items(), counts)}
        return stacks, seconds + time.perf_counter() - start

    def warnings(self, row: Row) -> list[str]:
        """Everything that `correct` says of these series and this model; series are named by patient, phase, plane."""
        prepared, outputs, _ = self._run(row)
        with _unsaid():
            expected = prepared.expectations(outputs, row.translator)
            return [*prepared.warnings, *prepared.doubts(outputs, expected, row.translator)]

    def warm_up(self, row: Row) -> None:
        """The row's model once, so that what it does once is in no time."""
        self._run(row)
        self._known.clear()

    def segments(self, stacks: Planes) -> NDArray[np.float64]:
        """The 17 segments of the short-axis stack in % of maximum, by the ventricle found on NC; NaN without one."""
        if self.ventricle is None:
            return np.full(17, np.nan)
        pair = self.pairs["SA"]
        return segment_means(pair.on_nc(stacks["SA"]), self.ventricle, pair.nc.spacing_mm)

    @cached_property
    def ventricle(self) -> Ventricle | None:
        """Where the ventricle lies in NC's short-axis stack; None without one."""
        if "SA" not in self.pairs:
            return None
        nc = self.pairs["SA"].nc
        return find(nc.counts, nc.spacing_mm)

    def _run(self, row: Row) -> _Run:
        """What a row's model sees and gives; rows that share a model, its options and what it is given share it."""
        key = (id(row.translator), row.given, row.wanted, tuple(sorted(row.options.items())))
        if key not in self._known:

            def image(nc: Tensor, **given: Any) -> Tensor:
                return row.translator.translate(nc, **given, **row.options)

            with _unsaid():
                prepared = prepare(Study(self._series(row)), row.translator, row.options, self._seed, row.wanted)
            start = time.perf_counter()
            outputs = run_batches(image, 1, prepared, row.translator, row.options)
            self._known[key] = prepared, [output[:, 0] for output in outputs], time.perf_counter() - start
        return self._known[key]

    def _series(self, row: Row) -> tuple[Any, ...]:
        """What the model is given, under names that tell nobody."""
        found = []
        for plane, pair in self.pairs.items():
            counts = pair.nc.counts
            if row.given == "AC":
                # Brought to what NC would be, since the model's gain brings it back.
                counts = pair.on_nc(pair.ac) / np.float32(row.translator.gain)
            named = Path(f"{self.name} {self.phase} {plane}")
            found.append(replace(pair.nc, counts=counts, path=named))
        return tuple(found)


@contextmanager
def _unsaid() -> Iterator[None]:
    """What `correct` logs is kept here for the statement instead; each model would say it again."""
    logger = logging.getLogger("spectac_fast.correct")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
