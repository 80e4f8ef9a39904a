"""The card of the weights that predict attenuation maps, from the training's own card and `python -m bench routes`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.outputs import appearing

ROOT = Path(__file__).parents[2]
WEIGHTS, ROUTES = ROOT / "spectac_fast" / "weights", ROOT / "bench" / "results" / "routes" / "routes.json"
PREDICTED, CT, EXACT = "predicted map", "CT-AC as acquired", "CT-AC, exact map"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS / "mumap64.md", metavar="FILE")


def run(args: argparse.Namespace) -> int:
    text = card(json.loads((WEIGHTS / "mumap64.json").read_text()), json.loads(ROUTES.read_text()))
    with appearing(args.out) as part:
        part.write_text(text)
    print(text)
    return 0


def card(trained: Mapping[str, Any], routes: Mapping[str, Any]) -> str:
    """The Markdown card."""
    facts = {
        "what it does": "predicts the attenuation map at 140.5 keV from an NC reconstruction, without CT; OSEM then "
        "corrects the patient's own counts (`spectac reconstruct --ac predicted`)",
        "input": "transaxial NC slices of 6.8 mm (others are averaged to that) by OSEM of 32 updates, Butterworth "
        "0.4/cm, four neighbours on either side, logarithm of counts over what half a litre exceeds, and where the "
        "field ends",
        "output": "attenuation in 1/cm, 0 to 0.3",
        "network": f"UNet on 2x2 pixel blocks, {trained['parameters'] / 1e6:.2f} M parameters; mean absolute error of "
        "the map and of the share of photons that leave the heart",
        **training(trained, "the last of several stages"),
    }
    return "\n".join(
        [
            *head("mumap64", facts),
            "Mean absolute error of mu as % of the patient's largest, in the body and within 60 mm of the heart, and "
            "relative error of the share of photons that leaves the heart, by which AC multiplies counts; `uniform` is "
            "the body's outline of 0.13/cm, `ct` a CT that was taken at another breath:",
            "",
            *watched(trained),
            "",
            *_routes(routes["protocols"]["hanoi"], routes["seeds"]),
            "",
            "Warnings: it learnt from synthetic torsos alone, and one real patient has been looked at; metal, a table, "
            "tracers other than technetium-99m are unknown to it. The map is written beside the slices: look at it.",
            "",
        ]
    )


def head(name: str, facts: Mapping[str, str]) -> list[str]:
    """The lines of a card above what was measured."""
    rows = [f"| {what} | {text} |" for what, text in facts.items()]
    notice = "Research software, not a medical device: not for diagnosis."
    return [f"# Model card: {name}", "", notice, "", "| | |", "|---|---|", *rows, ""]


def training(trained: Mapping[str, Any], stage: str) -> dict[str, str]:
    """The facts on data and recipe that a training's own card has; stage: which part of the whole it was, in words."""
    data = trained["data"]
    ranges = ", ".join(f"{low}-{high}" for low, high in data["training_seeds"])
    return {
        "training data": f"{data['cases']} synthetic patients (seeds {ranges}), stress and rest, under one protocol or "
        f"a random one each, {data['slices']} slices; no real patient",
        "recipe": f"`{trained['recipe']['name']}`, seed {trained['seed']}, {trained['steps']} steps in "
        f"{trained['minutes']:.0f} minutes of one core, {stage}; commands in `bench/mumap.sh`",
    }


def watched(trained: Mapping[str, Any]) -> list[str]:
    """The rows of the validation patients."""
    return [
        "| validation, random protocols | mu, body | mu, heart | survival |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {_percent(of['nmae'])} | {_percent(of['heart_nmae'])} | {_percent(of['survival'])} |"
            for name, of in trained["validation"].items()
        ),
    ]


def _routes(of: Mapping[str, Any], seeds: list[int]) -> list[str]:
    row, ct = of["rows"][PREDICTED], of["rows"][CT]
    to = {
        "CT-AC with the exact map": (row[f"segments to {EXACT}"], None),
        "CT-AC as acquired": (row[f"segments to {CT}"], None),
        "IDEAL": (row["segments to IDEAL"], ct["segments to IDEAL"]),
        "truth": (row["segments to truth"], ct["segments to truth"]),
    }
    said = [
        f"{value[0]:.2f} to {name}" + (f" (CT-AC as acquired {other[0]:.2f})" if other else "")
        for name, (value, other) in to.items()
    ]
    return [
        f"On {of['patients']} test patients (seeds {seeds[0]}-{seeds[1]}; `bench/results/routes/routes.md`): mu in the "
        f"body {_percent(of['map']['body nmae'][0])} of its maximum; 17-segment error of predicted-map AC, % of "
        f"maximum: {'; '.join(said)}.",
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
