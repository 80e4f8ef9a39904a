"""Run every row over a cohort and keep, per patient, what the table needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spectac_fast.cohort.paired import PairedCohort, left_ventricle_gain, phases_of
from spectac_fast.data.geometry.resample import check_pixels
from spectac_fast.data.scale import heart_mask, to_counts, to_model
from spectac_fast.errors import InputError
from spectac_fast.evaluate.figures.pictures import Stacks
from spectac_fast.evaluate.regional.known import hearts_are_known, seen_in_training
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.evaluate.table.metrics import TAPS, PatientScores, SeriesPair, best_factor, rescaled, score_patient
from spectac_fast.evaluate.table.phase import Phase, Planes
from spectac_fast.evaluate.table.variants import Row
from spectac_fast.terms import IDEAL


@dataclass
class RowResult:
    """What one row reached.

    patients: one per case, in cohort order; ideal: the same against IDEAL, empty where the cohort has none. segments:
    float64 [case, phase, 17], % of maximum, of the corrected short-axis stack; empty where it is not known where hearts
    lie. seconds: of all ``translate`` calls, of combining planes and of resampling, device synchronised, the first
    (warm-up) call not counted. seen: how many of the patients the model was trained on, as far as its card tells.
    """

    row: Row
    seen: int = 0
    patients: list[PatientScores] = field(default_factory=list)
    ideal: list[PatientScores] = field(default_factory=list)
    segments: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    slices: int = 0

    @property
    def seconds_per_slice(self) -> float:
        return self.seconds / self.slices


@dataclass
class CohortScores:
    """All rows, and what they are compared with.

    segments: {"NC", "AC", "truth", and "IDEAL" where there is one: float64 [case, phase, 17]}, % of maximum, of the
    short-axis stacks; None where it is not known where hearts lie. gain: of the table's AC, the first row's.
    patients_gain: AC/NC gain of the patients themselves. cut: scores of every patient's AC cut at [-1, 1], beyond which
    no network that ends in a tanh goes. floor: of "AC" and, where there is one, "IDEAL", the scores of every patient's
    NC at its best scale, which nobody knows who has NC alone. ac_to_ideal: of AC as acquired against IDEAL, empty where
    there is none. stacks: how many there are of each phase and plane, {"stress SA": 2}. shape: (rows, columns) of a
    slice.
    """

    rows: list[RowResult]
    segments: dict[str, np.ndarray] | None
    gain: float
    patients_gain: float
    cut: list[PatientScores]
    floor: dict[str, list[PatientScores]]
    ac_to_ideal: list[PatientScores]
    stacks: dict[str, int]
    shape: tuple[int, int]
    spacing_mm: tuple[float, float, float]


def score_cohort(
    cohort: PairedCohort,
    rows: Sequence[Row],
    *,
    seed: int = 0,
    cases: int | None = None,
    step: Callable[[], None] = lambda: None,
) -> CohortScores:
    """Translate every series of the first ``cases`` patients (all by default) with every row, and score it against AC
    and, where the cohort holds it, IDEAL.

    The AC image is scaled by the phase's NC scale times one gain, that of the first row. ``step()`` is called after
    each series of each row. Rows of combined planes and segments need a cohort whose hearts are known
    (``hearts_are_known``).

    Raises:
        InputError: the cohort holds no case, slices too small for SSIM or pixels far from a row's model's, or a case
            whose NC or AC is not finite.
        SpectacError: a row returns values that are not finite, or another shape.
    """
    count = len(cohort.cases) if cases is None else min(cases, len(cohort.cases))
    if not count:
        raise InputError("the cohort holds no case to evaluate, expected at least one.")
    known = hearts_are_known(cohort.cases)
    first = Phase(cohort, 0, next(iter(phases_of(cohort, 0))), seed)
    shape = next(iter(first.nc.values())).shape[1:]
    _check_sizes(shape, cohort.spacing_mm, rows)
    results = [RowResult(row, seen_in_training(row.translator.card, cohort.cases, count)) for row in rows]
    for result in results:
        first.warm_up(result.row)
    gain = rows[0].translator.gain
    known_images = [_score_case(cohort, index, results, gain, seed, step) for index in range(count)]
    cut, floors, of_ac = zip(*known_images, strict=True)
    stacks = Counter(series_name(*key) for i in range(count) for key in cohort.series(i))
    own_gain = left_ventricle_gain(cohort, range(count))
    segments = _segments_of_images(cohort, count) if known else None
    return CohortScores(
        rows=results,
        segments=segments,
        gain=gain,
        patients_gain=own_gain,
        cut=list(cut),
        floor={kind: [floor[kind] for floor in floors] for kind in floors[0]},
        ac_to_ideal=[scores for scores in of_ac if scores],
        stacks=dict(stacks),
        shape=shape,
        spacing_mm=cohort.spacing_mm,
    )


def corrected_stacks(
    cohort: PairedCohort, index: int, phase: str | None, row: Row, *, seed: int = 0
) -> dict[str | None, Stacks]:
    """One phase of one patient as counts, by plane, for a picture; the plane that sets the count scale first."""
    planes = Phase(cohort, index, phase, seed)
    counts, _ = planes.correct(row)
    order = sorted(planes.nc, key=lambda plane: plane != planes.reference)
    return {plane: Stacks(planes.nc[plane], counts[plane], planes.ac[plane], planes.spacing_mm) for plane in order}


def series_name(phase: str | None, plane: str | None) -> str:
    """``stress SA``; what is not known is called so."""
    return " ".join((phase, plane)) if phase and plane else "of unknown phase and plane"


def _check_sizes(shape: tuple[int, int], spacing_mm: tuple[float, float, float], rows: Sequence[Row]) -> None:
    if min(shape) < TAPS:
        raise InputError(
            f"the cohort: expected slices of at least {TAPS} x {TAPS} pixels, the window of SSIM, found {shape[0]} x "
            f"{shape[1]}."
        )
    for row in rows:
        check_pixels(f"row {row.label!r}", spacing_mm[1:], row.translator.pixel_mm)


def _segments_of_images(cohort: PairedCohort, count: int) -> dict[str, np.ndarray]:
    """Segments of NC, AC, the phantom's own activity and, where there is one, IDEAL."""
    found: dict[str, list[list[np.ndarray]]] = {}
    for i in range(count):
        phases = list(phases_of(cohort, i))
        nc, ac = zip(*(cohort.pair(i, phase, "SA") for phase in phases), strict=True)
        images = {"NC": nc, "AC": ac, "truth": [cohort.truth(i, phase, "SA") for phase in phases]}
        if IDEAL in cohort.kinds:
            images[IDEAL] = [cohort.ideal(i, phase, "SA") for phase in phases]
        for name, stacks in images.items():
            found.setdefault(name, []).append([_segments(cohort, i, stack) for stack in stacks])
    return {name: np.array(values) for name, values in found.items()}


def _segments(cohort: PairedCohort, index: int, stack: np.ndarray) -> np.ndarray:
    return segment_means(stack, Ventricle.of_phantom(cohort.cases[index]["lv"]), cohort.spacing_mm)


def _score_case(
    cohort: PairedCohort, index: int, results: list[RowResult], gain: float, seed: int, step: Callable[[], None]
) -> tuple[PatientScores, dict[str, PatientScores], PatientScores | None]:
    """Score one patient in every row. Returns the scores of its AC cut at [-1, 1], of its NC at its best scale against
    each reference, and of its AC against IDEAL.
    """
    known = hearts_are_known(cohort.cases)
    kinds = ("AC", IDEAL) if IDEAL in cohort.kinds else ("AC",)
    pairs: list[dict[str, list[SeriesPair]]] = [{kind: [] for kind in kinds} for _ in results]
    segments: list[list[np.ndarray]] = [[] for _ in results]
    cut: list[SeriesPair] = []
    of_nc: dict[str, list[SeriesPair]] = {kind: [] for kind in kinds}
    of_ac: list[SeriesPair] = []
    for phase in phases_of(cohort, index):
        planes = Phase(cohort, index, phase, seed)
        scale = planes.scale * gain
        references = {"AC": {plane: to_model(ac, scale) for plane, ac in planes.ac.items()}}
        if IDEAL in kinds:
            references[IDEAL] = {plane: to_model(cohort.ideal(index, phase, plane), scale) for plane in planes.nc}
        hearts = {plane: heart_mask(nc.shape, planes.spacing_mm) for plane, nc in planes.nc.items()}
        own_nc = {plane: to_model(nc, planes.scale) for plane, nc in planes.nc.items()}
        bounded = {plane: ac.clip(-1, 1) for plane, ac in references["AC"].items()}
        cut += _pairs(bounded, references["AC"], hearts)
        of_ac += _pairs(references["AC"], references[IDEAL], hearts) if IDEAL in kinds else []
        for kind in kinds:
            of_nc[kind] += _pairs(own_nc, references[kind], hearts)
        for k, result in enumerate(results):
            counts, seconds = planes.correct(result.row)
            # In the units of the table's AC, whatever gain the row's own model has.
            predictions = {plane: to_model(stack, scale) for plane, stack in counts.items()}
            for kind in kinds:
                pairs[k][kind] += _pairs(predictions, references[kind], hearts)
            if known:
                segments[k].append(_segments(cohort, index, to_counts(predictions["SA"], scale)))
            result.seconds += seconds
            result.slices += sum(map(len, counts.values()))
            for _ in planes.nc:
                step()
    for k, result in enumerate(results):
        result.patients.append(score_patient(pairs[k]["AC"]))
        if IDEAL in kinds:
            result.ideal.append(score_patient(pairs[k][IDEAL]))
        if known:
            result.segments.append(np.stack(segments[k]))
    floor = {kind: _at_its_best(of) for kind, of in of_nc.items()}
    return score_patient(cut), floor, score_patient(of_ac) if of_ac else None


def _pairs(found: Planes, wanted: Planes, hearts: Mapping[str | None, np.ndarray]) -> list[SeriesPair]:
    return [SeriesPair(stack, wanted[plane], hearts[plane]) for plane, stack in found.items()]


def _at_its_best(pairs: Sequence[SeriesPair]) -> PatientScores:
    """Scores of a patient's images times the factor that suits them best."""
    factor = best_factor(pairs)
    return score_patient([rescaled(pair, factor) for pair in pairs])
