"""The card of the weights that draw attenuation maps, from the training's own card and `python -m bench deviations`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.outputs import write
from bench.pages.mumap_card import ROOT, WEIGHTS, head, training, watched

DEVIATIONS = ROOT / "bench" / "results" / "deviations" / "deviations.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--out", type=Path, default=WEIGHTS / "mumap-bridge64.md", metavar="FILE")


def run(args: argparse.Namespace) -> int:
    text = card(json.loads((WEIGHTS / "mumap-bridge64.json").read_text()), json.loads(DEVIATIONS.read_text()))
    write(args.out, text)
    print(text)
    return 0


def card(trained: Mapping[str, Any], measured: Mapping[str, Any]) -> str:
    """The Markdown card."""
    facts = {
        "what it does": "draws attenuation maps at 140.5 keV that an NC reconstruction allows; OSEM by each of them, "
        "and by photons drawn anew, gives AC's standard deviation (`spectac reconstruct --ac predicted --uncertainty`)",
        "input": "what `mumap64` sees; the camera's field is written into the slices",
        "output": "attenuation in 1/cm, 0 to 0.3, another map for every number of a sample",
        "network": f"Brownian bridge from NC to mu with the UNet of `mumap64`, {trained['parameters'] / 1e6:.2f} M "
        "parameters; squared error of the map and of the share of photons that leave the heart",
        **training(trained, "from fresh weights"),
        "calibration": f"maps lie {measured['temperature']:.2f} times as far from the predicted one as they were "
        f"drawn, and {100 * measured['floor']:.1f} % of the counts are uncertain besides; fitted on "
        f"{measured['seeds']['patients']} patients of seeds from {measured['seeds']['validation']}",
    }
    return "\n".join(
        [
            *head("mumap-bridge64", facts),
            "One evaluation of it, which draws nothing, as a map (see `mumap64` for the columns):",
            "",
            *watched(trained),
            "",
            f"On {measured['seeds']['patients']} test patients (seeds from {measured['seeds']['test']}; "
            "`bench/results/deviations/deviations.md`), the share of errors within intervals of nominal probability:",
            "",
            *_coverage(measured["rows"]["test"]),
            "",
            "Warnings: the deviations are of what synthetic patients taught, and of Poisson's law. They hold no error "
            "that all maps share, such as that of a table or metal, none of the scatter estimate, of motion, or of a "
            "collimator that is not modelled; a CT's own error is not in them.",
            "",
        ]
    )


def _coverage(rows: Mapping[str, Any]) -> list[str]:
    from spectac_fast.evaluate.calibration import LEVELS

    return [
        "| | " + " | ".join(f"{level:.0%}" for level in LEVELS) + " | rank correlation |",
        "|---|" + "---:|" * (len(LEVELS) + 1),
        *(f"| {name} | {_cells(row)} | {row['correlation']['value']:.2f} |" for name, row in rows.items()),
    ]


def _cells(row: Mapping[str, Any]) -> str:
    return " | ".join(f"{100 * of['value']:.0f} %" for of in row["coverage"])
