"""Error along the bridge of two trainings side by side: what each knows at which noise."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from bench.outputs import appearing
from bench.quality.curve_plot import plot
from bench.quality.others import named
from bench.quality.parts import squared_errors
from bench.quality.slices import central_slices
from bench.speed.timing import surroundings
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.errors import UsageError
from spectac_fast.evaluate import bootstrap
from spectac_fast.models.registry import load
from spectac_fast.models.translators.bridge import BridgeTranslator

RESULTS = Path(__file__).parents[1] / "results" / "quality-cost"
NODES = (0, 1, 2, 4, 8, 16, 30, 46, 75, 110, 160, 230, 310, 400, 550, 700, 850, 950, 989, 999)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs=2, metavar="[NAME=]FILE", help="bridges; ratios are of the second to the first")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="cohort neither was trained on")
    parser.add_argument("--cases", type=int, default=24, help="patients, a slice of each (default: 24)")
    parser.add_argument("-d", "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    labels, files = zip(*map(named, args.models))
    translators = [load(file, device=args.device) for file in files]
    if not all(isinstance(one, BridgeTranslator) for one in translators):
        raise UsageError(f"expected two bridges, found {' and '.join(one.name for one in translators)}")
    if translators[0].model.bridge != translators[1].model.bridge:
        raise UsageError("expected two trainings of the same bridge: at other noise the task is another one")
    cohort = Cohort(args.data)
    cases = range(min(args.cases, len(cohort)))
    facts = {
        **surroundings(translators[0].device),
        "patients": f"{len(cases)}, seeds {cohort.seeds[0]} - {cohort.seeds[len(cases) - 1]}; a slice of each",
        **{label: _about(one) for label, one in zip(labels, translators)},
    }
    measured = {"facts": facts, "labels": labels, "rows": measure(cohort, cases, translators)}
    args.out.mkdir(parents=True, exist_ok=True)
    for suffix, text in (("json", json.dumps(measured, indent=1) + "\n"), ("md", markdown(measured))):
        with appearing(args.out / f"curve.{suffix}") as part:
            part.write_text(text, encoding="utf-8")
    plot(measured, args.out / "curve.png")
    print(markdown(measured))
    return 0


def measure(cohort: Cohort, cases: Sequence[int], translators: Sequence[BridgeTranslator]) -> list[dict[str, Any]]:
    """A row for each node, {"t", "sigma", "rmse" of both, "ratio"}, the start of a sampler (x = y, "t" None) last."""
    bridge, gain = translators[0].model.bridge, translators[0].gain
    nodes: list[int | None] = [*(t for t in NODES if t < bridge.num_timesteps), None]
    errors = [
        squared_errors(one, central_slices(cohort, one, cases), nodes) * (one.gain / gain) ** 2 for one in translators
    ]
    indices, rows = bootstrap.resample(len(cases), seed=0), []
    for node, first, second in zip(nodes, *errors):
        # Of squares, whose mean over patients is what a root is taken of; the root keeps the order of the limits.
        ratio = {name: value**0.5 for name, value in asdict(bootstrap.ratio(second, first, indices)).items()}
        sigma = None if node is None else float(bridge.sigma[node])
        rmse = [float(one.mean() ** 0.5) for one in (first, second)]
        rows.append({"t": node, "sigma": sigma, "rmse": rmse, "ratio": ratio})
    return rows


def _about(translator: BridgeTranslator) -> str:
    """Recipe, length and weights of a training, as far as its card says."""
    card = translator.card
    recipe = card.get("recipe")
    said = [recipe["name"] if isinstance(recipe, dict) else recipe]
    said += [f"{card[name]} {name}" for name in ("steps", "minutes") if name in card]
    return ", ".join([*filter(None, said), f"weights {translator.weights_sha256[:12]}"])


def markdown(measured: dict[str, Any]) -> str:
    return "\n".join(_lines(measured)) + "\n"


def _lines(measured: dict[str, Any]) -> Iterator[str]:
    first, second = measured["labels"]
    yield from ("# Error along the bridge, two trainings", "")
    yield from (f"* {name}: {value}" for name, value in measured["facts"].items())
    yield from (
        "",
        "RMSE, model units, of the network's prediction of AC from states of the forward process at each timestep, the",
        f"same noise for both; `ratio`: {second} to {first}, below 1 where {second} is better, and 95 % bootstrap",
        "interval over patients. `start`: from x = y, where every sampler begins and one evaluation ends.",
        "",
        f"| t | sigma | {first} | {second} | ratio |",
        "| ---: | ---: | ---: | ---: | ---: |",
    )
    for row in measured["rows"]:
        where = ("start", "-") if row["t"] is None else (row["t"], f"{row['sigma']:.4f}")
        value, low, high = row["ratio"].values()
        cells = *where, *(f"{rmse:.4f}" for rmse in row["rmse"]), f"{value:.3f} ({low:.3f} – {high:.3f})"
        yield f"| {' | '.join(map(str, cells))} |"
