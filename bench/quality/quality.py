"""Quality of samples against the number of network evaluations, for every solver, and what it decides."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.outputs import write
from bench.quality.others import other_rows
from bench.quality.page import write_pages
from bench.quality.parts import Store, content, error_curve, quality, stacks
from bench.quality.slices import Slices, central_slices, draw
from bench.quality.solvers import SOLVERS
from bench.quality.summary import HALF, summarise
from bench.speed.timing import surroundings
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.solvers import StepTable, solver_table
from spectac_fast.models.registry import load
from spectac_fast.models.translators.bridge import FITTED, BridgeTranslator
from spectac_fast.train.fitting import fitted_table

RESULTS = Path(__file__).parents[1] / "results" / "quality-cost"
EVALUATIONS = (1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 200)
# Beyond this number of evaluations only these are measured unless all are asked for.
_LONG, _LONG_SOLVERS = 10, ("published", "DBIM-2")
_FITTED_EVALUATIONS = (2, 3, 4, 5, 6)
_CURVE = (0, 1, 4, 16, 46, 110, 230, 400, 550, 700, 850, 950, 989, 999)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, metavar="DIR", help="cohort of patients the model was not trained on")
    parser.add_argument("-m", "--model", default="bbdm", help="bridge by name or file (default: bbdm)")
    parser.add_argument(
        "--also",
        nargs="*",
        default=[],
        metavar="[NAME=]FILE",
        help="other weights, in rows of their own: the default image, and of a bridge the default sample",
    )
    parser.add_argument("--cases", type=int, default=16, help="patients of the table; fits use others (default: 16)")
    parser.add_argument("--fit-cases", type=int, default=8, help="patients that tables are fitted to (default: 8)")
    parser.add_argument("--stack-cases", type=int, default=4, help="patients with whole stacks (default: 4)")
    parser.add_argument("--samples", type=int, default=2, help="of each slice (default: 2)")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=[*SOLVERS], help="only these (default: all)")
    parser.add_argument(
        "--evaluations", type=int, nargs="+", choices=EVALUATIONS, default=EVALUATIONS, help="only these (default: all)"
    )
    parser.add_argument("--teacher-steps", type=int, default=200, help="of the path fitted to (default: 200)")
    parser.add_argument("--all", action="store_true", help=f"every solver beyond {_LONG} evaluations too")
    parser.add_argument("--work", type=Path, default=Path("build/quality"), help="folder that keeps finished parts")
    parser.add_argument("--finished", action="store_true", help="measure nothing more, write what is there")
    parser.add_argument("--times", action="store_true", help="measure the times per slice, and nothing else")
    parser.add_argument("--threads", type=int, help="of the CPU (default: torch's; of --times: 2)")
    parser.add_argument("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    if args.threads or args.times:
        torch.set_num_threads(args.threads or 2)
    translator = load(args.model, device=args.device)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"measured_{args.device.partition(':')[0]}.json"
    kept = json.loads(path.read_text()) if path.is_file() else {}
    if args.times:
        kept["times"] = {"machine": surroundings(translator.device), "ms": times(translator, args.evaluations)}
    else:
        kept |= measure(args, translator)
    write(path, json.dumps(kept, indent=1, allow_nan=False) + "\n")
    if "rows" in kept:
        write_pages(kept, args.out, translator.device.type)
    return 0


def measure(args: argparse.Namespace, translator: BridgeTranslator) -> dict[str, Any]:
    """Every part that is not there yet; {"facts", "rows", "curve", "stacks", "fits"} of those that are then."""
    cohort = Cohort(args.data)
    cases = range(min(args.cases, len(cohort)))
    spare = range(len(cohort))[len(cases) : len(cases) + args.fit_cases]
    slices = central_slices(cohort, translator, cases)
    common = {
        "weights": translator.weights_sha256,
        "patients": cohort.seeds[: len(cases)],
        "device": str(translator.device),
    }
    store = Store(args.work, common, closed=args.finished)
    fits = _fits(store, translator, central_slices(cohort, translator, spare), args) if spare else {}
    rows = [*_rows(store, translator, slices, args, fits)]
    for text in args.also:
        rows += other_rows(store, text, cohort, cases, slices, translator.gain, args.samples, args.device)
    nodes = [t for t in _CURVE if t < translator.model.bridge.num_timesteps]
    facts = {
        **surroundings(translator.device),
        "model": f"{args.model}, weights {translator.weights_sha256[:12]}",
        "patients": f"{len(cases)}, seeds {cohort.seeds[0]} - {cohort.seeds[len(cases) - 1]}; {len(slices)} slices",
        "fitted to": f"{len(spare)} other patients" if spare else "nothing",
        "samples of each slice": str(args.samples),
    }
    default = _default_sample(translator)
    names = (
        solver for solver, table in _tables(translator.model.bridge, args, fits) if content(table) == content(default)
    )
    return {
        "facts": facts,
        "default": [next(names, "default"), len(default)],
        "rows": summarise([row for row in rows if row["patients"]]),
        "curve": store.part({"part": "curve", "nodes": nodes}, lambda: error_curve(translator, slices, nodes)),
        "stacks": _stacks(store, translator, cohort, args.stack_cases),
        "fits": fits,
    }


def _rows(
    store: Store, translator: BridgeTranslator, slices: Slices, args: argparse.Namespace, fits: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row for every solver and number of evaluations, and one of the default sample in bfloat16."""

    def row(solver: str, table: StepTable, part: str, compute: Callable[..., list[dict[str, Any]]]) -> dict[str, Any]:
        key = {"part": part, "samples": args.samples, "table": content(table)}
        began = time.perf_counter()
        patients = store.part(key, lambda: compute(translator, slices, table, args.samples))
        print(f"{solver}, {len(table)}: {time.perf_counter() - began:.1f} s", flush=True)
        return {"solver": solver, "evaluations": len(table), "samples": args.samples, "patients": patients}

    for solver, table in _tables(translator.model.bridge, args, fits):
        yield row(solver, table, "solver", _measured)
    yield row(HALF, _default_sample(translator), "bfloat16", _in_bfloat16)


def _default_sample(translator: BridgeTranslator) -> StepTable:
    return translator.sampler(translator.defaults["sample_steps"], None, None, None).table


def _stacks(store: Store, translator: BridgeTranslator, cohort: Cohort, cases: int) -> list[dict[str, Any]]:
    tables = {"one": solver_table(translator.model.bridge, 1), "sample": _default_sample(translator)}
    key = {"part": "stacks", "table": content(tables["sample"])}
    found = (
        store.part({**key, "case": case}, lambda case=case: stacks(cohort, translator, case, tables))
        for case in range(min(cases, len(cohort)))
    )
    return [numbers for numbers in found if numbers]


def _tables(bridge: BrownianBridge, args: argparse.Namespace, fits: dict[str, Any]) -> Iterator[tuple[str, StepTable]]:
    """(solver, table), the short ones first."""
    for evaluations in args.evaluations:
        for solver in args.solvers:
            if evaluations > _LONG and not args.all and solver not in _LONG_SOLVERS:
                continue
            if solver == "published" and evaluations < 3:
                # Its step list has at least three.
                continue
            yield solver, solver_table(bridge, evaluations, **SOLVERS[solver])
        if str(evaluations) in fits:
            yield FITTED, with_rows(solver_table(bridge, evaluations), fits[str(evaluations)])


def with_rows(table: StepTable, rows: list[list[float]]) -> StepTable:
    """A table with other numbers."""
    values = np.array(rows)
    values.setflags(write=False)
    return replace(table, rows=values)


def _fits(store: Store, translator: BridgeTranslator, slices: Slices, args: argparse.Namespace) -> dict[str, Any]:
    steps, found = args.teacher_steps, {}
    for evaluations in (n for n in _FITTED_EVALUATIONS if n in args.evaluations):
        key = {"part": "fit", "evaluations": evaluations, "steps": steps, "seeds": slices.seeds.tolist()}
        rows = store.part(key, lambda n=evaluations: _fitted(translator, slices, n, steps))
        if rows:
            found[str(evaluations)] = rows
    return found


def _fitted(translator: BridgeTranslator, slices: Slices, evaluations: int, steps: int) -> list[list[float]]:
    """Rows of the table that the weights hold, or of one fitted to these slices."""
    table = translator.fitted.get(evaluations)
    return (table or fitted_table(translator, slices.nc, slices.beside, slices.seeds, evaluations, steps)).rows.tolist()


def _measured(translator: BridgeTranslator, slices: Slices, table: StepTable, samples: int) -> list[dict[str, Any]]:
    return quality(slices, draw(translator, slices, table, samples))


def _in_bfloat16(translator: BridgeTranslator, slices: Slices, table: StepTable, samples: int) -> list[dict[str, Any]]:
    with torch.autocast(translator.device.type, dtype=torch.bfloat16):
        return _measured(translator, slices, table, samples)


def times(translator: BridgeTranslator, numbers: Iterable[int]) -> dict[str, float]:
    """Milliseconds per slice of one sample, by the number of evaluations; one stack of 29 slices a call, DBIM-2."""
    nc = torch.rand(29, 1, 64, 64) * 2.0 - 1.0
    found = {}
    for evaluations in numbers:
        taken = []
        for _ in range(2 if evaluations > _LONG else 4):
            began = time.perf_counter()
            translator.translate(nc, steps=evaluations, samples=1)
            if translator.device.type == "cuda":
                torch.cuda.synchronize()
            taken.append((time.perf_counter() - began) * 1e3 / len(nc))
        # The first call chooses kernels.
        found[str(evaluations)] = sorted(taken[1:])[len(taken[1:]) // 2]
        print(f"{evaluations}: {found[str(evaluations)]:.2f} ms per slice", flush=True)
    return found
