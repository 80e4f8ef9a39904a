"""Run every row over a cohort and keep, per patient, what the table needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from spectac_fast.data.neighbours import neighbours
from spectac_fast.data.scale import heart_mask, to_counts, to_model
from spectac_fast.data.seeds import stable_seed
from spectac_fast.data.terms import PHASES, PLANES
from spectac_fast.errors import InputError, SpectacError
from spectac_fast.evaluate.metrics import PatientScores, SeriesPair, score_patient
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
    short-axis stack. seconds: of all ``translate`` calls, device synchronised, the first (warm-up) call not counted.
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


def slice_seeds(seed: int, case_seed: int, phase: str, plane: str, slices: int) -> torch.Tensor:
    """int64 [slices]: the noise of a slice depends on the user's seed and on which slice it is, not on its batch."""
    texts = (f"{seed}/{case_seed}/{phase}/{plane}/{frame}" for frame in range(slices))
    return torch.tensor([stable_seed(text) for text in texts], dtype=torch.int64)


def _translate(row: Row, nc: np.ndarray, slice_mm: float, seeds: torch.Tensor) -> tuple[np.ndarray, float]:
    """One series [S, H, W] in model units -> prediction [S, H, W] in the row's own units, seconds."""
    batch = torch.from_numpy(nc)[:, None]
    beside = torch.from_numpy(neighbours(nc, slice_mm, row.translator.context_mm))
    start = time.perf_counter()
    output = row.translator.translate(batch, seeds=seeds, neighbours=beside, **row.options).to("cpu")
    seconds = time.perf_counter() - start
    if output.shape != batch.shape:
        raise SpectacError(f"row {row.label!r} returned shape {tuple(output.shape)} for {tuple(batch.shape)}.")
    return output[:, 0].float().numpy(), seconds


def _in_table_units(prediction: np.ndarray, own_gain: float, table_gain: float, scale: float) -> np.ndarray:
    """The corrected counts, as ``correct`` writes them (none below zero), in the units of the table's AC."""
    return to_model(to_counts(prediction, scale * own_gain), scale * table_gain)


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
        _translate(result.row, first, cohort.spacing_mm[0], slice_seeds(seed, 0, PHASES[0], PLANES[0], len(first)))
    images: dict[str, list[np.ndarray]] = {"nc": [], "ac": [], "truth": []}
    for index in range(count):
        _score_case(cohort, index, results, gain, seed, step)
        for name, stacks in _short_axis(cohort, index).items():
            images[name].append(np.stack([_segments(cohort, index, stack) for stack in stacks]))
    return CohortScores(results, *(np.stack(found) for found in images.values()), gain)


def corrected_stacks(cohort: Cohort, index: int, phase: str, row: Row, *, seed: int = 0) -> dict[str, Stacks]:
    """One phase of one patient as counts, by plane, for a picture."""
    stacks = {}
    scale = cohort.scale(index, phase)
    for plane in PLANES:
        nc, ac = cohort.pair(index, phase, plane)
        seeds = slice_seeds(seed, cohort.cases[index]["seed"], phase, plane, len(nc))
        model, _ = _translate(row, to_model(nc, scale), cohort.spacing_mm[0], seeds)
        stacks[plane] = Stacks(nc, to_counts(model, scale * row.translator.gain), ac, cohort.spacing_mm)
    return stacks


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
    case = cohort.cases[index]
    pairs: list[list[SeriesPair]] = [[] for _ in results]
    segments: list[list[np.ndarray]] = [[] for _ in results]
    for phase in PHASES:
        scale = cohort.scale(index, phase)
        for plane in PLANES:
            nc, ac = cohort.pair(index, phase, plane)
            if not (np.isfinite(nc).all() and np.isfinite(ac).all()):
                raise InputError(f"case {case['seed']}, {phase} {plane}: NC or AC holds values that are not finite.")
            reference = to_model(ac, scale * gain)
            heart = heart_mask(nc.shape, cohort.spacing_mm)
            seeds = slice_seeds(seed, case["seed"], phase, plane, len(nc))
            for k, result in enumerate(results):
                own = result.row.translator.gain
                given = to_model(nc, scale) if result.row.given == "NC" else to_model(ac, scale * own)
                raw, seconds = _translate(result.row, given, cohort.spacing_mm[0], seeds)
                if not np.isfinite(raw).all():
                    where = f"case {case['seed']}, {phase} {plane}"
                    raise SpectacError(f"row {result.row.label!r} gave values that are not finite for {where}.")
                prediction = _in_table_units(raw, own, gain, scale)
                pairs[k].append(SeriesPair(prediction, reference, heart))
                if plane == "SA":
                    counts = to_counts(prediction, scale * gain)
                    segments[k].append(_segments(cohort, index, counts))
                result.seconds += seconds
                result.slices += len(nc)
                step()
    for k, result in enumerate(results):
        result.patients.append(score_patient(pairs[k]))
        result.segments.append(np.stack(segments[k]))
