"""What the correction is worth under other cameras, reconstructions and bodies, one changed at a time.

`python -m bench protocols --work DIR` makes a few patients of the validation range under each protocol and scores every
model on the same patients against NC at its best scale. Cohorts and scores are kept in --work; a second run, or one
with another weight file, goes on from there.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.evidence.protocols.patients import CORRECTED, NOTHING_TO_CORRECT

if TYPE_CHECKING:
    from spectac_fast.evaluate.table.variants import Row

RESULTS = Path(__file__).parents[2] / "results" / "protocols-quality"
FIRST_SEED = 510_000
PROTOCOLS = (
    *("hanoi", "fbp", "arc360", "czt", "views30", "legp", "matrix128", "pixels-5", "butterworth-30"),
    *("no-scatter-correction", "counts-half", "western", "bmi40", "dilated", "implant", "effusion"),
    *("high-diaphragm", "arms-down", "dextrocardia", *NOTHING_TO_CORRECT),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="where cohorts and scores are kept")
    parser.add_argument(
        "--models", default="bbdm", metavar="A,B,...", help="names, files or NAME=FILE; the first is the reference"
    )
    parser.add_argument("--protocols", default=",".join(PROTOCOLS), metavar="P,...", help="default: all that are told")
    parser.add_argument("--patients", type=int, default=6, metavar="N", help="under each protocol (default: 6)")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, metavar="SEED", help=f"default: {FIRST_SEED}")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that make patients (default: 1)")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.protocols.page import page
    from bench.evidence.protocols.patients import made, scored
    from bench.outputs import appearing
    from spectac_fast.evaluate.provenance import commit, machine
    from spectac_fast.evaluate.table.variants import expand
    from spectac_fast.models.registry import load
    from spectac_fast.outputs import output_folder
    from spectac_fast.progress import Progress

    names = [name.strip() for name in args.protocols.split(",") if name.strip()]
    unknown = sorted(set(names) - _known())
    if unknown:
        raise SystemExit(f"--protocols: expected names that `spectac phantom` knows or {CORRECTED}, found {unknown[0]}")
    out = output_folder(args.out)
    models = [name.strip() for name in args.models.split(",") if name.strip()]
    rows = _told_otherwise(_images(expand(models, lambda name: load(name, args.device), steps=1, samples=1)))
    seeds = range(args.first_seed, args.first_seed + args.patients)
    found: dict[str, Any] = {}
    with Progress(len(names), "protocols", "protocols") as progress:
        for name in names:
            cohort = made(args.work, name, seeds, args.jobs)
            found[name] = {row.name: scored(args.work, name, cohort, row) for row in rows}
            progress.step(note=name)
    device = rows[-1].translator.device
    table = {
        "commit": commit(),
        "machine": machine(device),
        "seeds": [seeds.start, seeds.stop - 1],
        "models": {row.name: {"row": row.label, "weights_sha256": row.translator.weights_sha256} for row in rows},
        "protocols": found,
    }
    text = page(table)
    for name, content in (
        ("protocols.json", json.dumps(table, indent=1, allow_nan=False) + "\n"),
        ("protocols.md", text),
    ):
        with appearing(out / name) as part:
            part.write_text(content)
    print(text)
    return 0


def _known() -> set[str]:
    from spectac_fast.phantom.protocol import NAMES

    return {*NAMES, CORRECTED}


def _told_otherwise(rows: Sequence[Row]) -> list[Row]:
    """The rows, and behind each that is told facts of a study the same without them, and asked for IDEAL."""
    from dataclasses import replace

    from spectac_fast.evaluate.table.variants import with_ideal
    from spectac_fast.models.translator import facts_of

    every = []
    for row in rows:
        usual, *ideal = with_ideal([row])
        every.append(usual)
        if facts_of(row.translator):
            options = row.options | {"facts": None}
            every.append(
                replace(row, name=f"{row.name}, nothing told", label=f"{row.label}, nothing told", options=options)
            )
        every += ideal
    return every


def _images(rows: Sequence[Row]) -> list[Row]:
    """Of every model the image that `correct` writes: planes combined, of one evaluation."""
    from spectac_fast.evaluate.table.variants import COMBINED

    combined = [row for row in rows if row.together == COMBINED]
    missing = sorted({row.name for row in rows} - {row.name for row in combined})
    if missing:
        raise SystemExit(f"--models: expected models of NC that give one image, found {missing[0]}")
    return combined
