"""Run every row over a cohort and keep, per patient, what the table needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np

from spectac_fast.cohort.own.studies import Grid, StudyPairs
from spectac_fast.cohort.paired import KnownCohort, PairedCohort, left_ventricle_gain, phases_of
from spectac_fast.data.geometry.resample import check_pixels
from spectac_fast.data.scale import to_counts, to_model
from spectac_fast.errors import InputError
from spectac_fast.evaluate.figures.pictures import Stacks
from spectac_fast.evaluate.own.phase import StudyPhase
from spectac_fast.evaluate.regional.known import hearts_are_known, seen_in_training
from spectac_fast.evaluate.table.metrics import (
    PatientScores,
    SeriesPair,
    best_factor,
    check_taps,
    rescaled,
    score_patient,
)
from spectac_fast.evaluate.table.phase import Phase, Planes
from spectac_fast.evaluate.table.variants import Row
from spectac_fast.terms import IDEAL, PHASES

AnyPhase = Phase | StudyPhase
# Of one grid, or one's own studies on their own pixels.
TableCohort = PairedCohort | StudyPairs


@dataclass
class RowResult:
    """What one row reached.

    patients: one per case, in cohort order; ideal: the same against IDEAL, empty where the cohort has none. segments:
    float64 [case, phase, 17], % of maximum, of the corrected short-axis stack, NaN without one; empty where it is not
    known where hearts lie. seconds: of all ``translate`` calls, of combining planes and of resampling, device
    synchronised, the first (warm-up) call not counted. seen: how many of the patients the model was trained on, as far
    as its card tells.
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

    cases: the records of the patients that were scored. refused: sentences on studies that a model does not take,
    whose patients were left out of all rows.
    segments: {"NC", "AC", and of synthetic patients "truth" and "IDEAL", if there is one: float64 [case, phase, 17]}, %
    of maximum, of the short-axis stacks; None where it is not known where hearts lie. gain: of the table's AC, the
    first row's. patients_gain: AC/NC gain of the patients themselves. cut: scores of every patient's AC cut at [-1, 1],
    beyond which no network that ends in a tanh goes. floor: of "AC" and, where there is one, "IDEAL", the scores of
    every patient's NC at its best scale, which nobody knows who has NC alone. ac_to_ideal: of AC as acquired against
    IDEAL, empty where there is none. stacks: how many there are of each phase and plane, {"stress SA": 2}. grids: how
    many of each size and spacing.
    """

    cases: list[dict[str, Any]]
    refused: list[str]
    rows: list[RowResult]
    segments: dict[str, np.ndarray] | None
    gain: float
    patients_gain: float
    cut: list[PatientScores]
    floor: dict[str, list[PatientScores]]
    ac_to_ideal: list[PatientScores]
    stacks: dict[str, int]
    grids: Counter[Grid]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of most slices."""
        return self.grids.most_common()[0][0][:2]

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """(slice, row, column) spacing of most stacks."""
        return self.grids.most_common()[0][0][2]


def score_cohort(
    cohort: TableCohort,
    rows: Sequence[Row],
    *,
    seed: int = 0,
    cases: int | None = None,
    step: Callable[[], None] = lambda: None,
    look: Callable[[AnyPhase], None] = lambda phase: None,
) -> CohortScores:
    """Translate every series of the first ``cases`` patients (all by default) with every row, and score it against AC
    and, where the cohort holds it, IDEAL.

    The AC image is scaled by the phase's NC scale times one gain, that of the first row. ``step()`` is called after
    each series of each row, ``look()`` with every phase when all rows have corrected it. Rows of combined planes need a
    cohort that tells how planes lie (``planes_are_known``). One's own studies that a model does not take leave their
    patient out.

    Raises:
        InputError: the cohort holds no case, slices too small for SSIM or pixels far from a row's model's, or a case
            whose NC or AC is not finite; of one's own studies, none that all models take.
        SpectacError: a row returns values that are not finite, or another shape.
    """
    count = len(cohort.cases) if cases is None else min(cases, len(cohort.cases))
    if not count:
        raise InputError("the cohort holds no case to evaluate, expected at least one.")
    if not isinstance(cohort, StudyPairs):
        _check_sizes(cohort, rows)
    results = [RowResult(row, seen_in_training(row.translator.card, cohort.cases, count)) for row in rows]
    gain = rows[0].translator.gain
    scored: list[int] = []
    refused, known_images = [], []
    for index in range(count):
        before = [(result.seconds, result.slices) for result in results]
        try:
            if not scored:
                _warm_up(cohort, index, rows, seed)
            known_images.append(_score_case(cohort, index, results, gain, seed, step, look))
        except InputError as reason:
            if not isinstance(cohort, StudyPairs):
                raise
            refused.append(str(reason))
            for result, (seconds, slices) in zip(results, before):
                result.seconds, result.slices = seconds, slices
        else:
            scored.append(index)
    if not scored:
        raise InputError(f"the cohort holds no patient that all models take; {refused[0]}")
    cut, floors, of_ac, images = zip(*known_images, strict=True)
    own_gain = left_ventricle_gain(cohort, scored)
    segments = {kind: np.array([each[kind] for each in images]) for kind in images[0]} if images[0] else None
    return CohortScores(
        cases=[cohort.cases[i] for i in scored],
        refused=refused,
        rows=results,
        segments=segments,
        gain=gain,
        patients_gain=own_gain,
        cut=list(cut),
        floor={kind: [floor[kind] for floor in floors] for kind in floors[0]},
        ac_to_ideal=[scores for scores in of_ac if scores],
        stacks=dict(Counter(series_name(*key) for i in scored for key in cohort.series(i))),
        grids=_grids(cohort, scored),
    )


def planes_are_known(cohort: TableCohort) -> bool:
    """Whether it is known how the planes of a phase lie to each other: of synthetic patients, and of studies whose
    headers tell.
    """
    return isinstance(cohort, StudyPairs) or hearts_are_known(cohort.cases)


def phase_of(cohort: TableCohort, index: int, phase: str | None, seed: int) -> AnyPhase:
    """One phase of a patient, to be corrected."""
    if isinstance(cohort, StudyPairs):
        return StudyPhase(cohort, index, str(phase), seed)
    return Phase(cohort, index, phase, seed)


def corrected_stacks(
    cohort: TableCohort, index: int, phase: str | None, row: Row, *, seed: int = 0
) -> dict[str | None, Stacks]:
    """One phase of one patient as counts, by plane, for a picture; the plane that sets the count scale first."""
    planes = phase_of(cohort, index, phase, seed)
    counts, _ = planes.correct(row)
    order = sorted(planes.nc, key=lambda plane: plane != planes.reference)
    return {
        plane: Stacks(planes.nc[plane], counts[plane], planes.ac[plane], planes.spacing_of(plane)) for plane in order
    }


def series_name(phase: str | None, plane: str | None) -> str:
    """``stress SA``; what is not known is called so."""
    return " ".join((phase, plane)) if phase and plane else "of unknown phase and plane"


def _check_sizes(cohort: PairedCohort, rows: Sequence[Row]) -> None:
    shape = cohort.pair(0, *cohort.series(0)[0])[0].shape[1:]
    check_taps("the cohort", shape)
    for row in rows:
        check_pixels(f"row {row.label!r}", cohort.spacing_mm[1:], row.translator.pixel_mm)


def _grids(cohort: TableCohort, cases: Sequence[int]) -> Counter[Grid]:
    if isinstance(cohort, StudyPairs):
        return cohort.grids(cases)
    rows, columns = cohort.pair(0, *cohort.series(0)[0])[0].shape[1:]
    return Counter({(rows, columns, cohort.spacing_mm): sum(len(cohort.series(i)) for i in cases)})


def _warm_up(cohort: TableCohort, index: int, rows: Sequence[Row], seed: int) -> None:
    first = phase_of(cohort, index, next(iter(phases_of(cohort, index))), seed)
    for row in rows:
        first.warm_up(row)


_OfCase = tuple[PatientScores, dict[str, PatientScores], PatientScores | None, dict[str, list[np.ndarray]]]


def _score_case(
    cohort: TableCohort,
    index: int,
    results: list[RowResult],
    gain: float,
    seed: int,
    step: Callable[[], None],
    look: Callable[[AnyPhase], None],
) -> _OfCase:
    """Score one patient in every row. Returns the scores of its AC cut at [-1, 1], of its NC at its best scale against
    each reference, and of its AC against IDEAL, and the segments of its images, by kind and phase.
    """
    kinds = ("AC", IDEAL) if IDEAL in cohort.kinds else ("AC",)
    pairs: list[dict[str, list[SeriesPair]]] = [{kind: [] for kind in kinds} for _ in results]
    segments: list[dict[str | None, np.ndarray]] = [{} for _ in results]
    images: dict[str, dict[str | None, np.ndarray]] = {}
    cut: list[SeriesPair] = []
    of_nc: dict[str, list[SeriesPair]] = {kind: [] for kind in kinds}
    of_ac: list[SeriesPair] = []
    seen: list[AnyPhase] = []
    for phase in phases_of(cohort, index):
        planes = phase_of(cohort, index, phase, seed)
        scale, hearts = planes.scale * gain, planes.hearts
        references = {"AC": {plane: to_model(ac, scale) for plane, ac in planes.ac.items()}}
        if IDEAL in kinds:
            references[IDEAL] = {plane: to_model(cohort.ideal(index, phase, plane), scale) for plane in planes.nc}
        own_nc = {plane: to_model(nc, planes.scale) for plane, nc in planes.nc.items()}
        bounded = {plane: ac.clip(-1, 1) for plane, ac in references["AC"].items()}
        cut += _pairs(bounded, references["AC"], hearts)
        of_ac += _pairs(references["AC"], references[IDEAL], hearts) if IDEAL in kinds else []
        for kind in kinds:
            of_nc[kind] += _pairs(own_nc, references[kind], hearts)
        for kind, stacks in _known_images(cohort, index, planes).items():
            images.setdefault(kind, {})[phase] = planes.segments(stacks)
        for k, result in enumerate(results):
            counts, seconds = planes.correct(result.row)
            # In the units of the table's AC, whatever gain the row's own model has.
            predictions = {plane: to_model(stack, scale) for plane, stack in counts.items()}
            for kind in kinds:
                pairs[k][kind] += _pairs(predictions, references[kind], hearts)
            if images:
                segments[k][phase] = planes.segments({p: to_counts(made, scale) for p, made in predictions.items()})
            result.seconds += seconds
            result.slices += sum(map(len, counts.values()))
            for _ in planes.nc:
                step()
        seen.append(planes)
    for planes in seen:
        look(planes)
    for k, result in enumerate(results):
        result.patients.append(score_patient(pairs[k]["AC"]))
        if IDEAL in kinds:
            result.ideal.append(score_patient(pairs[k][IDEAL]))
        if images:
            result.segments.append(np.stack(_of_phases(segments[k])))
    floor = {kind: _at_its_best(of) for kind, of in of_nc.items()}
    of_images = {kind: _of_phases(found) for kind, found in images.items()}
    return score_patient(cut), floor, score_patient(of_ac) if of_ac else None, of_images


def _known_images(cohort: TableCohort, index: int, planes: AnyPhase) -> dict[str, Planes]:
    """By kind what segments can be had of: nothing where it is not known where hearts lie."""
    if isinstance(planes, StudyPhase):
        return {"NC": planes.nc, "AC": planes.ac}
    if not _is_known(cohort):
        return {}
    images: dict[str, Planes] = {
        "NC": planes.nc,
        "AC": planes.ac,
        "truth": {"SA": cohort.truth(index, planes.phase, "SA")},
    }
    return images | ({IDEAL: {"SA": cohort.ideal(index, planes.phase, "SA")}} if IDEAL in cohort.kinds else {})


def _is_known(cohort: TableCohort) -> TypeGuard[KnownCohort]:
    return hearts_are_known(cohort.cases)


def _of_phases(found: Mapping[str | None, np.ndarray]) -> list[np.ndarray]:
    """Segments of stress and rest, NaN for what there is none of."""
    return [found.get(phase, np.full(17, np.nan)) for phase in PHASES]


def _pairs(found: Planes, wanted: Planes, hearts: Mapping[str | None, np.ndarray]) -> list[SeriesPair]:
    return [SeriesPair(stack, wanted[plane], hearts[plane]) for plane, stack in found.items()]


def _at_its_best(pairs: Sequence[SeriesPair]) -> PatientScores:
    """Scores of a patient's images times the factor that suits them best."""
    factor = best_factor(pairs)
    return score_patient([rescaled(pair, factor) for pair in pairs])
