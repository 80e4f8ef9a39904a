"""Run every row over a cohort and keep, per patient, what the table needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spectac_fast.data.scale import heart_mask, to_counts, to_model
from spectac_fast.data.terms import PHASES, PLANES
from spectac_fast.errors import InputError
from spectac_fast.evaluate.metrics import PatientScores, SeriesPair, score_patient
from spectac_fast.evaluate.phase import Phase, slice_seeds, translate
from spectac_fast.evaluate.pictures import Stacks
from spectac_fast.evaluate.segments import segment_means
from spectac_fast.evaluate.variants import Row
from spectac_fast.evaluate.ventricle import Ventricle

if TYPE_CHECKING:
    from spectac_fast.data.cohort import Cohort


@dataclass
class RowResult:
    """What one row reached.

    patients: one per case, in cohort order. segments: float64 [case, phase, 17], % of maximum, of the corrected
    short-axis stack. seconds: of all ``translate`` calls and of combining planes, device synchronised, the first
    (warm-up) call not counted.
    """

    row: Row
    patients: list[PatientScores] = field(default_factory=list)
    segments: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    slices: int = 0

    @property
    def seconds_per_slice(self) -> float:
        return self.seconds / self.slices


@dataclass
class CohortScores:
    """All rows, and the 17 segments [case, phase, 17] of the images they are compared with, in % of maximum."""

    rows: list[RowResult]
    nc_segments: np.ndarray
    ac_segments: np.ndarray
    truth_segments: np.ndarray
    gain: float


def score_cohort(
    cohort: Cohort,
    rows: Sequence[Row],
    *,
    seed: int = 0,
    cases: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> CohortScores:
    """Translate every series of the first ``cases`` patients (all by default) with every row, and score it against AC.

    The AC image is scaled by the phase's NC scale times one gain, that of the first row. ``step()`` is called after
    each series of each row.

    Raises:
        InputError: the cohort holds no case, or a case whose NC or AC is not finite.
        SpectacError: a row returns values that are not finite, or another shape.
    """
    count = len(cohort) if cases is None else min(cases, len(cohort))
    if not count:
        raise InputError("the cohort holds no case to evaluate, expected at least one.")
    gain = rows[0].translator.gain
    results = [RowResult(row) for row in rows]
    for result in results:
        nc, _ = cohort.pair(0, PHASES[0], PLANES[0])
        first = to_model(nc, cohort.scale(0, PHASES[0]))
        translate(result.row, first, cohort.spacing_mm[0], slice_seeds(seed, 0, PHASES[0], PLANES[0], len(first)))
    images: dict[str, list[np.ndarray]] = {"nc": [], "ac": [], "truth": []}
    for index in range(count):
        _score_case(cohort, index, results, gain, seed, step)
        for name, stacks in _short_axis(cohort, index).items():
            images[name].append(np.stack([_segments(cohort, index, stack) for stack in stacks]))
    return CohortScores(results, *(np.stack(found) for found in images.values()), gain)


def corrected_stacks(cohort: Cohort, index: int, phase: str, row: Row, *, seed: int = 0) -> dict[str, Stacks]:
    """One phase of one patient as counts, by plane, for a picture."""
    planes = Phase(cohort, index, phase, seed)
    counts, _ = planes.correct(row)
    return {plane: Stacks(planes.nc[plane], counts[plane], planes.ac[plane], planes.spacing_mm) for plane in PLANES}


def _short_axis(cohort: Cohort, index: int) -> dict[str, list[np.ndarray]]:
    """NC, AC and the phantom's own activity of a patient, by phase."""
    pairs = [cohort.pair(index, phase, "SA") for phase in PHASES]
    truth = [cohort.truth(index, phase, "SA") for phase in PHASES]
    return {"nc": [nc for nc, _ in pairs], "ac": [ac for _, ac in pairs], "truth": truth}


def _segments(cohort: Cohort, index: int, stack: np.ndarray) -> np.ndarray:
    return segment_means(stack, Ventricle.of_phantom(cohort.cases[index]["lv"]), cohort.spacing_mm)


def _score_case(
    cohort: Cohort, index: int, results: list[RowResult], gain: float, seed: int, step: Callable[[], None]
) -> None:
    pairs: list[list[SeriesPair]] = [[] for _ in results]
    segments: list[list[np.ndarray]] = [[] for _ in results]
    for phase in PHASES:
        planes = Phase(cohort, index, phase, seed)
        scale = planes.scale * gain
        references = {plane: to_model(planes.ac[plane], scale) for plane in PLANES}
        hearts = {plane: heart_mask(planes.nc[plane].shape, planes.spacing_mm) for plane in PLANES}
        for k, result in enumerate(results):
            counts, seconds = planes.correct(result.row)
            # In the units of the table's AC, whatever gain the row's own model has.
            predictions = {plane: to_model(stack, scale) for plane, stack in counts.items()}
            pairs[k] += [SeriesPair(predictions[plane], references[plane], hearts[plane]) for plane in PLANES]
            segments[k].append(_segments(cohort, index, to_counts(predictions["SA"], scale)))
            result.seconds += seconds
            result.slices += sum(map(len, counts.values()))
            for _ in PLANES:
                step()
    for k, result in enumerate(results):
        result.patients.append(score_patient(pairs[k]))
        result.segments.append(np.stack(segments[k]))
