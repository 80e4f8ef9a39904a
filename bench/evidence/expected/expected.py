"""How wrong a correction is expected to be, and whether the warning follows the error.

`python -m bench expected --work DIR --random COHORT` describes the corrections of a validation cohort of random
protocols and of the patients of `python -m bench protocols --work DIR`, whose errors are known, fits what is expected
of such corrections, and judges it on patients that were left out of the fit.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectac_fast.evaluate.table.variants import Row

RESULTS = Path(__file__).parents[2] / "results" / "expected"
RANDOM = "random"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="of `python -m bench protocols`")
    parser.add_argument("--random", type=Path, required=True, metavar="DIR", help="validation cohort, random protocols")
    parser.add_argument("-m", "--model", default="bbdm", help="model name or file (default: bbdm)")
    parser.add_argument("--patients", type=int, default=6, metavar="N", help="under each protocol (default: 6)")
    parser.add_argument("--first-seed", type=int, metavar="SEED", help="default: that of `python -m bench protocols`")
    parser.add_argument("-d", "--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--store", action="store_true", help="write what is expected beside the weights, to be used")
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.evidence.expected.fit import chosen, fitted, limits, moments, unseen
    from bench.evidence.expected.page import page, picture, table
    from bench.evidence.expected.studies import gathered
    from bench.outputs import appearing
    from spectac_fast.cohort.expected_error import ExpectedError, expected_error_file, scaled, write_expected_error
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.models.names import find
    from spectac_fast.outputs import output_folder

    made_by, out = commit(), output_folder(args.out)
    single, combined = _rows(args.model, args.device)
    template = combined.translator.population.planes["SA"].template
    studies = gathered(_described(args, single, combined, template))
    shape = chosen(studies)
    found = unseen(studies, shape)
    limit = limits(studies, found)
    about = f"{len(set(studies.patients))} synthetic patients, {len(studies.errors)} studies of validation"
    if args.store:
        means, scales = moments(studies.features)
        at = scaled(studies.features, means, scales)
        weights, level = fitted(at, studies.errors, shape)
        known = ExpectedError(
            means, scales, shape.length, shape.slope, at, weights, level, limit, template, about,
            combined.translator.weights_sha256,
        )  # fmt: skip
        with appearing(expected_error_file(find(args.model))) as part:
            write_expected_error(part, known)
    facts = {"commit": made_by, "weights_sha256": combined.translator.weights_sha256, "about": about}
    facts |= {"shape": vars(shape), "limits": limit} | table(studies, found, limit)
    picture(studies, found, out / "expected.png")
    for name, content in (("json", json.dumps(facts, indent=1) + "\n"), ("md", page(facts))):
        with appearing(out / f"expected.{name}") as part:
            part.write_text(content)
    print(page(facts))
    return 0


def _described(args: argparse.Namespace, single: Row, combined: Row, template: Any) -> dict[str, list[dict[str, Any]]]:
    """The studies of every protocol, random ones first."""
    from bench.evidence.expected.studies import described
    from bench.evidence.protocols.patients import made
    from bench.evidence.protocols.protocols import FIRST_SEED, PROTOCOLS
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.progress import Progress

    first = FIRST_SEED if args.first_seed is None else args.first_seed
    seeds = range(first, first + args.patients)
    found = {}
    with Progress(1 + len(PROTOCOLS), "protocols", "protocols") as progress:
        for name in (RANDOM, *PROTOCOLS):
            cohort = Cohort(args.random) if name == RANDOM else made(args.work, name, seeds, 1)
            found[name] = described(args.work, name, cohort, single, combined, template)
            progress.step(note=name)
    return found


def _rows(model: str, device: str) -> tuple[Row, Row]:
    """`single_and_combined` of a model; SystemExit for one without a population, or that gives no one image."""
    from spectac_fast.evaluate.table.variants import expand
    from spectac_fast.models.registry import load

    rows = expand([model], lambda name: load(name, device), steps=1, samples=1)
    if rows[0].translator.population is None:
        raise SystemExit(f"--model {model}: expected a population beside its weights (`bench foreign --store`)")
    try:
        return single_and_combined(rows)
    except ValueError as error:
        raise SystemExit(f"--model {model}: {error}") from None


def single_and_combined(rows: Sequence[Row]) -> tuple[Row, Row]:
    """The rows of one evaluation that have planes for themselves, and averaged. ValueError where there are none."""
    from spectac_fast.evaluate.table.variants import COMBINED

    combined = next((row for row in rows if row.together == COMBINED), None)
    if combined is None:
        raise ValueError("expected a model of NC that gives one image")
    single = next(row for row in rows if row.together != COMBINED and row.options == combined.options)
    return single, combined
