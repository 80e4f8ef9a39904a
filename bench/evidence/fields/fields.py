"""What is corrected where the field is small: how far from the same patient's whole study."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from spectac_fast.cohort.surroundings import Surroundings
    from spectac_fast.data.geometry.around import Expected
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator

RESULTS = Path(__file__).parents[2] / "results" / "fields"
ALONE, TOGETHER, UNFILLED = "SA alone", "three planes", "SA alone, not filled in"
Rows = list[dict[str, Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="cohort of patients that were not trained on")
    parser.add_argument(
        "--train", type=Path, nargs="+", default=[], help="cohorts of training patients, to make the surroundings of"
    )
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("--patients", type=int, default=8, help="stress and rest in turn (default: 8)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--store", action="store_true", help="write the surroundings beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.fields.page import write_page
    from bench.outputs import appearing
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.surroundings import surroundings_file, write_surroundings
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.names import find
    from spectac_fast.models.registry import load

    made_by = commit()
    model, cohort = load(args.model, "cpu"), Cohort(args.data)
    known = surroundings_from(args.train) if args.train else model.surroundings
    if known is None:
        raise SystemExit(f"{args.model}: no surroundings beside the weights; --train makes them.")
    # Without what is known of their cost nothing is refused.
    open_to_all = replace(known, alone=None, together=None, weights=model.weights_sha256)
    seeds = cohort.seeds[: args.patients]
    rows = field_rows(args.model, open_to_all, args.data, len(seeds), args.jobs)
    alone, together, unfilled = (expected(rows, way) for way in (ALONE, TOGETHER, UNFILLED))
    if args.store:
        measured = replace(open_to_all, alone=alone, together=together)
        with appearing(surroundings_file(find(args.model))) as part:
            write_surroundings(part, measured)
    facts = {
        "patients": len(seeds),
        "seeds": [min(seeds), max(seeds)],
        "surroundings": known.about,
        "weights_sha256": model.weights_sha256,
        "commit": made_by,
        "expected": {name: vars(each) for name, each in zip((ALONE, TOGETHER, UNFILLED), (alone, together, unfilled))},
        "rows": rows,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    with appearing(args.out / "fields.json") as part:
        part.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    write_page(args.out)
    return 0


def surroundings_from(folders: Sequence[Path]) -> Surroundings:
    """Those of all patients of some cohorts, stress and rest."""
    from bench.evidence.fields.cut import patient
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.surroundings import surroundings_of
    from spectac_fast.correct.view import whole
    from spectac_fast.terms import PHASES

    cohorts = [Cohort(folder) for folder in folders]
    seeds = ", ".join(f"{min(cohort.seeds)}-{max(cohort.seeds)}" for cohort in cohorts)
    about = f"{sum(map(len, cohorts))} synthetic patients of seeds {seeds}, stress and rest"
    volumes = [
        whole(patient(cohort, i, phase), cohort.scale(i, phase))
        for cohort in cohorts
        for i in range(len(cohort))
        for phase in PHASES
    ]
    return surroundings_of(volumes, about)


def field_rows(model: str, known: Surroundings, folder: Path, patients: int, jobs: int) -> Rows:
    """A row for every field, kind and way: mean and worst of the patients, and each of them."""
    from spectac_fast.progress import Progress

    found: dict[tuple[str, str, float], list[tuple[float, float]]] = {}
    tasks = [(model, known, folder, index) for index in range(patients)]
    context = get_context("spawn")
    with Progress(patients, "fields", "patients") as progress, ProcessPoolExecutor(jobs, context) as pool:
        for each in pool.map(_patient_rows, tasks):
            for key, off in each.items():
                found.setdefault(key, []).append(off)
            progress.step()
    return [{"way": way, "kind": kind, "field_mm": mm} | _summary(off) for (way, kind, mm), off in found.items()]


def _summary(off: Sequence[tuple[float, float]]) -> dict[str, Any]:
    as_is, rescaled = zip(*off)
    return {
        "mean": fmean(as_is),
        "worst": max(as_is),
        "patients": as_is,
        "rescaled mean": fmean(rescaled),
        "rescaled worst": max(rescaled),
    }


def _patient_rows(task: tuple[str, Surroundings, Path, int]) -> dict[tuple[str, str, float], tuple[float, float]]:
    """Deviations of one patient by (way, kind, field)."""
    import torch

    from bench.evidence.fields.cut import FIELDS_MM, KINDS, Cut, patient
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.models.registry import load
    from spectac_fast.terms import PHASES

    torch.set_num_threads(1)
    name, known, folder, index = task
    model = Remembering(load(name, "cpu"))
    series = patient(Cohort(folder), index, PHASES[index % 2])
    ways = {ALONE: (known, series[:1]), TOGETHER: (known, series), UNFILLED: (unfilled(known), series[:1])}
    found = {}
    for way, (model.surroundings, planes) in ways.items():
        whole = _corrected(model, planes)
        kinds = KINDS if way == ALONE else KINDS[::2]
        for kind in kinds[:1] if way == UNFILLED else kinds:
            for mm in FIELDS_MM:
                found[way, kind, mm] = _measured(model, [Cut(mm, kind).of(one) for one in planes], whole)
    return found


class Remembering:
    """A translator that gives again what it gave for the same slices: fields that are filled in alike."""

    def __init__(self, model: Translator) -> None:
        self.surroundings, self._model, self._given = None, model, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def translate(self, nc: Tensor, seeds: Tensor, *, neighbours: Tensor, **options: Any) -> Tensor:
        key = hashlib.sha256(nc.numpy().tobytes() + seeds.numpy().tobytes() + neighbours.numpy().tobytes()).digest()
        if key not in self._given:
            self._given[key] = self._model.translate(nc, seeds, neighbours=neighbours, **options)
        return self._given[key]


def unfilled(known: Surroundings) -> Surroundings:
    """Surroundings that leave stacks as they are: what a model without any sees."""
    from spectac_fast.cohort.surroundings import Surroundings

    class Unfilled(Surroundings):
        def filled(self, stacks: Sequence[Any]) -> list[Any]:
            return [stack.counts for stack in stacks]

    return Unfilled(**vars(known))


def _corrected(model: Translator, series: Sequence[Series]) -> list[Any]:
    from spectac_fast.correct.study import correct_study
    from spectac_fast.data.study import Study

    return correct_study(Study(tuple(series)), model)


def _measured(model: Translator, parts: Sequence[tuple[Series, Any]], whole: Sequence[Any]) -> tuple[float, float]:
    """The root mean squares of the planes' deviations, as they are and after the factor that suits each plane best."""
    from bench.evidence.fields.cut import deviation

    found = _corrected(model, [part for part, _ in parts])
    mm = parts[0][0].pixel_mm[0]
    off = [deviation(*each, inside, mm) for *each, (_, inside) in zip(found, whole, parts)]
    as_is, rescaled = (math.sqrt(fmean(value**2 for value in values)) for values in zip(*off))
    return as_is, rescaled


def expected(rows: Rows, way: str) -> Expected:
    """What fields cost, of the kind of field for which it is most."""
    from spectac_fast.data.geometry.around import Expected

    sizes = sorted({row["field_mm"] for row in rows})
    of_size = [[row for row in rows if row["way"] == way and row["field_mm"] == mm] for mm in sizes]
    return Expected(
        tuple(map(float, sizes)),
        tuple(round(max(row["mean"] for row in each), 4) for each in of_size),
        tuple(round(max(row["worst"] for row in each), 4) for each in of_size),
        tuple(round(max(row["rescaled mean"] for row in each), 4) for each in of_size),
    )
