"""What is corrected where the field is small or the pixels are others: how far from the same patient's whole study."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.surroundings import Surroundings
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator

RESULTS = Path(__file__).parents[2] / "results" / "fields"
# What a field must not cost on average, and what is called a wrong scale of nothing at all.
GOAL = 0.03
WAYS = ("planes averaged", "one plane alone", "zeros around, as before")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="cohort of patients that were not trained on")
    parser.add_argument(
        "--train", type=Path, nargs="+", default=[], help="cohorts of training patients, to make the surroundings of"
    )
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("--patients", type=int, default=12, help="stress and rest in turn (default: 12)")
    parser.add_argument("--seeds", type=int, nargs="*", default=[520000, 520001, 520002, 520003], help="for pixels")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--store", action="store_true", help="write the surroundings beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.fields.page import page
    from bench.evidence.fields.pixels import pixel_rows
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.surroundings import surroundings_file, write_surroundings
    from spectac_fast.evaluate.provenance import commit, machine
    from spectac_fast.models.registry import find, load

    made_by = commit()
    model, cohort = load(args.model, args.device), Cohort(args.data)
    model.surroundings = _made(args.train, model) if args.train else model.surroundings
    if model.surroundings is None:
        raise SystemExit(f"{args.model}: no surroundings beside the weights; --train makes them.")
    rows = field_rows(model, cohort, range(min(args.patients, len(cohort))))
    together, alone = (least_field(rows, way) for way in WAYS[:2])
    model.surroundings = replace(model.surroundings, field_mm=(together, alone))
    if args.store:
        write_surroundings(surroundings_file(find(args.model)), model.surroundings)
    facts = {
        "patients": f"{min(args.patients, len(cohort))}, seeds {min(cohort.seeds)}-{max(cohort.seeds)}",
        "surroundings": model.surroundings.about,
        "weights_sha256": model.weights_sha256,
        "field_mm": [together, alone],
        "commit": made_by,
        "machine": machine(),
    }
    pixels = pixel_rows(model, args.seeds)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "fields.json").write_text(json.dumps({**facts, "rows": rows, "pixels": pixels}, indent=1) + "\n")
    (args.out / "fields.md").write_text(page(facts, rows, pixels))
    print((args.out / "fields.md").read_text())
    return 0


def _made(folders: Sequence[Path], model: Translator) -> Surroundings:
    """The surroundings of all patients of some cohorts, stress and rest; any field is let through with them."""
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.cohort.surroundings import Surroundings, plane_surroundings
    from spectac_fast.terms import PHASES, PLANES

    cohorts = [Cohort(folder) for folder in folders]
    seeds = ", ".join(f"{min(cohort.seeds)}-{max(cohort.seeds)}" for cohort in cohorts)
    planes = {
        plane: plane_surroundings(
            [c.pair(i, phase, plane)[0] / c.scale(i, phase) for c in cohorts for i in range(len(c)) for phase in PHASES],
            cohorts[0].spacing_mm,
        )
        for plane in PLANES
    }
    about = f"{sum(map(len, cohorts))} synthetic patients of seeds {seeds}, stress and rest"
    return Surroundings(planes, (0.0, 0.0), about, model.weights_sha256)


class Remembering:
    """A translator that gives again what it gave for the same slices."""

    def __init__(self, model: Translator) -> None:
        self._model, self._given = model, {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def translate(self, nc: Tensor, seeds: Tensor, *, neighbours: Tensor, **options: Any) -> Tensor:
        key = hashlib.sha256(nc.numpy().tobytes() + neighbours.numpy().tobytes()).digest()
        if key not in self._given:
            self._given[key] = self._model.translate(nc, seeds, neighbours=neighbours, **options)
        return self._given[key]


def field_rows(model: Translator, cohort: Cohort, cases: range) -> list[dict[str, Any]]:
    """A row for every field, kind, place and way: deviations of each patient and plane."""
    from bench.evidence.fields.cut import FIELDS_MM, KINDS, OFF_PX, Cut, patient
    from spectac_fast.progress import Progress
    from spectac_fast.terms import PHASES

    cuts = [Cut(mm, kind, off) for mm in FIELDS_MM for kind in KINDS for off in OFF_PX]
    cuts = [cut for cut in cuts if cut.field_mm < max(FIELDS_MM) or cut.off]
    found: dict[tuple[Cut, str], list[dict[str, Any]]] = {(cut, way): [] for cut in cuts for way in WAYS}
    with Progress(len(cases) * len(cuts), "fields", "cuts") as progress:
        for index in cases:
            series = patient(cohort, index, PHASES[index % 2])
            given = Remembering(model)
            whole = {way: list(_corrected(given, series, way)) for way in WAYS}
            for cut in cuts:
                for way in WAYS:
                    if way != WAYS[2] or not cut.off:
                        found[cut, way].append(_measured(Remembering(model), series, cut, way, whole[way]))
                progress.step()
    return [_row(cut, way, patients) for (cut, way), patients in found.items() if patients]


def _corrected(model: Any, series: Sequence[Series], way: str) -> Iterator[NDArray[np.float32]]:
    """Corrected counts of the planes, each alone or averaged."""
    from spectac_fast.correct.study import correct_study
    from spectac_fast.data.study import Study

    if way == WAYS[2]:
        model = _Before(model)
    if way == WAYS[1]:
        # Their scale is that of their phase all the same.
        yield correct_study(Study((series[0],)), model)[0]
        return
    yield from correct_study(Study(tuple(series)), model)


class _Before:
    """A model that is not known to mind its field."""

    field_px = surroundings = None

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _measured(
    model: Any, series: Sequence[Series], cut: Any, way: str, whole: Sequence[NDArray[np.float32]]
) -> dict[str, Any]:
    from bench.evidence.fields.cut import deviation
    from spectac_fast.data.geometry.field import field_of
    from spectac_fast.data.scale import count_scale

    parts = [cut.of(one) for one in series]
    got = list(_corrected(model, [part for part, _ in parts], way))
    off = [
        deviation(found, all_of_it, inside, one.pixel_mm[0])
        for found, all_of_it, (one, inside) in zip(got, whole, parts)
    ]
    one = parts[0][0]
    scale, first = count_scale(one.counts, one.spacing_mm), count_scale(series[0].counts, series[0].spacing_mm)
    across = field_of(one.counts, one.pixel_mm, scale, one.plane).across_mm
    return {"off": [round(value, 5) for value in off], "scale": round(scale / first, 4), "across": round(across, 1)}


def _row(cut: Any, way: str, patients: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over patients: mean, median and worst of the root mean square over the planes."""
    from statistics import fmean, median

    off = [(sum(value**2 for value in one["off"]) / len(one["off"])) ** 0.5 for one in patients]
    return {
        "field_mm": cut.field_mm,
        "kind": cut.kind,
        "off_mm": round(cut.off * 6.8 * 2**0.5, 1),
        "way": way,
        "mean": round(fmean(off), 5),
        "median": round(median(off), 5),
        "worst": round(max(off), 5),
        "scale": [min(one["scale"] for one in patients), max(one["scale"] for one in patients)],
        "across": round(median(one["across"] for one in patients), 1),
        "patients": patients,
    }


def least_field(rows: Sequence[Mapping[str, Any]], way: str) -> float:
    """The least field, as it is found in a file, from which on the mean deviation stays within the goal, mm."""
    own = sorted((row for row in rows if row["way"] == way), key=lambda row: -row["across"])
    least = own[0]["across"]
    for row in own:
        if row["mean"] > GOAL:
            return float(next(one["across"] for one in reversed(own) if one["across"] > row["across"]))
        least = row["across"]
    return float(least)
