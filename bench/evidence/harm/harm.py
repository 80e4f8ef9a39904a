"""Does a correction do harm: true inferior defects, and the operator's axes.

`python -m bench harm` images normal patients of the validation range without and with inferior defects of known size
and depth, from the same seeds of noise, and each once more with the operator's axes moved. Whether anything is left to
correct is judged by `python -m bench expected`, new defects in normals by `python -m bench repeat`.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spectac_fast.phantom.people import Patient

RESULTS = Path(__file__).parents[2] / "results" / "harm"
FIRST_SEED = 530_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--patients", type=int, default=6, metavar="N", help="women, and as many men (default: 6)")
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("-d", "--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.harm.measures import LOSSES, SIZES, measured
    from bench.evidence.harm.page import page
    from bench.outputs import appearing
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.registry import load
    from spectac_fast.outputs import output_folder
    from spectac_fast.progress import Progress

    made_by, out, translator = commit(), output_folder(args.out), load(args.model, args.device)
    patients = [*islice(normals("F"), args.patients), *islice(normals("M"), args.patients)]
    rows: list[dict[str, Any]] = []
    with Progress(len(patients), "harm", "patients") as progress:
        for patient in patients:
            rows.append({"seed": patient.seed, "sex": patient.sex} | measured(patient, translator, args.device))
            progress.step()
    facts = {"commit": made_by, "weights_sha256": translator.weights_sha256, "losses": LOSSES, "sizes": SIZES}
    facts |= {"patients": rows}
    for name, content in (("json", json.dumps(facts, indent=1) + "\n"), ("md", page(facts))):
        with appearing(out / f"harm.{name}") as part:
            part.write_text(content, encoding="utf-8")
    print(page(facts))
    return 0


def normals(sex: str) -> Iterator[Patient]:
    """Patients of one sex of the first cohort, none of whom has a defect."""
    from spectac_fast.phantom.people import draw

    seed = FIRST_SEED
    while True:
        patient = draw(seed)
        if patient.sex == sex:
            yield replace(patient, defects=())
        seed += 1
