"""`spectac evaluate`: compare models on a cohort, with confidence intervals."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.commands._cohorts import add_spacing, open_joined, open_pairs
from spectac_fast.commands._messages import style_of
from spectac_fast.errors import NoInputError, UsageError
from spectac_fast.outputs import Kind, Permit, check_folder, output_folder
from spectac_fast.terminal import say
from spectac_fast.terms import IDEAL

if TYPE_CHECKING:
    from spectac_fast.evaluate.regional.normals import NormalLimits
    from spectac_fast.evaluate.table.score import TableCohort
    from spectac_fast.evaluate.table.variants import Row

_FILES = {"table.md": Kind.TABLE, "table.csv": Kind.TABLE, "table.json": Kind.JSON, "panel.png": Kind.PICTURE}
# Of one's own studies besides.
_OWN_FILES = {"statement.html": Kind.PAGE, "statement.md": Kind.TABLE, "matching.csv": Kind.TABLE}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_inputs(parser, "cohort", metavar="DIR", alias="--data", most=1, are="checked")
    add_spacing(parser)
    parser.add_argument(
        "--models",
        default="identity,scale,linear,bbdm",
        metavar="A,B,...",
        help="model names or files, separated by commas; NAME=FILE names a row, NAME=FILE+FILE+... makes one row of "
        "several trainings; a bridge gives one evaluation and the mean of samples, each with planes separate and "
        "combined, and one sample (default: identity,scale,linear,bbdm)",
    )
    parser.add_argument(
        "--normals",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="cohorts of `spectac phantom` whose normal patients set the normal limits (default: the normal patients "
        "of --data)",
    )
    parser.add_argument(
        "--metric-profile",
        choices=("strict", "paper"),
        default="strict",
        help="strict: PSNR and RMSE pooled over a patient; paper: means over slices, a guess at the published table "
        "(default: strict)",
    )
    parser.add_argument("--cases", type=_flags.positive_int, metavar="N", help="only the first N patients")
    _flags.add_department(parser)
    _flags.add_output(
        parser, "folder for table.md, table.csv, table.json and the picture; of studies also a statement of one page"
    )
    for flag, metavar, default, help in (
        ("--steps", "N", 6, "evaluations per sample in the sampled rows"),
        ("--samples", "K", 8, "samples in the row of means"),
    ):
        parser.add_argument(
            flag, type=_flags.positive_int, default=default, metavar=metavar, help=f"{help} (default: {default})"
        )
    parser.add_argument(
        "--noise-steps",
        type=_flags.positive_int,
        metavar="N",
        help="evaluations per sample of models that start from noise (default: each model's own)",
    )
    _flags.add_overwrite(parser)
    _flags.add_seed(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Score, write, and say where the results lie."""
    (folder,) = args.inputs
    if not folder.is_dir():
        raise NoInputError(f"--data {folder}: expected a cohort folder, found none.")
    from spectac_fast.cohort.own.studies import StudyPairs

    # Before torch, so that what is wrong with the data is said at once.
    cohort = open_pairs(folder, args)
    check_folder(args.out)
    permit = Permit((folder, *(args.normals or ())), args.overwrite)
    own = cohort if isinstance(cohort, StudyPairs) else None
    if own and not (args.pixel_mm is None and args.slice_mm is None):
        raise UsageError(
            f"--pixel-mm and --slice-mm are for stacks without headers; the files in {folder} say their own."
        )
    for name, kind in (_FILES | (_OWN_FILES if own else {})).items():
        permit.check(args.out / name, kind)

    from spectac_fast.correct.target import wanted_facts
    from spectac_fast.evaluate.own.seen import Collector
    from spectac_fast.evaluate.own.statement import statement
    from spectac_fast.evaluate.own.write import write_statement
    from spectac_fast.evaluate.table import render, table, variants
    from spectac_fast.evaluate.table.score import planes_are_known, score_cohort
    from spectac_fast.models.registry import load
    from spectac_fast.progress import Progress

    names = [name.strip() for name in args.models.split(",") if name.strip()]
    rows = variants.expand(
        names, lambda name: load(name, device=args.device), args.steps, args.samples, args.noise_steps
    )
    if not planes_are_known(cohort):
        rows = variants.separate(rows)
    rows = variants.with_wanted(rows, wanted_facts(_flags.told(args)))
    if IDEAL in cohort.kinds:
        rows = variants.with_ideal(rows)
    limits = _limits(args, cohort)
    folder = output_folder(args.out)
    count = len(cohort) if args.cases is None else min(args.cases, len(cohort))
    series = sum(len(cohort.series(i)) for i in range(count))
    with Progress(series * len(rows), "evaluating", "series", style=style_of(args)) as progress:
        progress.show()
        collector = Collector(variants.shown_rows(rows)[0]) if own else None
        look = collector.look if collector else lambda phase: None
        scores = score_cohort(cohort, rows, seed=args.seed, cases=count, step=progress.step, look=look)
    numbers = table.build(scores, scores.cases, seed=args.seed, limits=limits, profile=args.metric_profile)
    statements = []
    if own and collector:
        numbers["statement"] = said = statement(
            collector.seen, collector.row, numbers["head"], left=own.left, notes=own.notes, seed=args.seed
        )
        statements = write_statement(said, collector.seen, own, folder)
    index = cohort.cases.index(scores.cases[0])
    panel = _picture(folder / "panel.png", cohort, index, rows, args.seed)
    written = [*statements, *table.write(numbers, folder), panel]
    print(render.terminal(render.pooled_values(numbers)))
    for line in render.remarks(numbers["head"]):
        print(f"\n{textwrap.fill(line, 100)}")
    patients = "1 patient" if len(scores.cases) == 1 else f"{len(scores.cases)} patients"
    print(f"\n{patients}, pooled per patient, data range 2. Intervals, tests and conventions:")
    for path in written:
        say(f"  {path}")
    return 0


def _picture(path: Path, cohort: TableCohort, index: int, rows: Sequence[Row], seed: int) -> Path:
    """One patient, of every network as `correct` writes it: its first row with planes combined, if there is one.

    Without networks, whatever there is.
    """
    from spectac_fast.cohort.paired import phases_of
    from spectac_fast.evaluate.figures.pictures import comparison_panel
    from spectac_fast.evaluate.table.score import corrected_stacks
    from spectac_fast.evaluate.table.variants import shown_rows

    shown = shown_rows(rows)
    phase = next(iter(phases_of(cohort, index)))
    stacks = {row.label: corrected_stacks(cohort, index, phase, row, seed=seed) for row in shown}
    return comparison_panel(path, phase, stacks, gain=rows[0].translator.gain)


def _limits(args: argparse.Namespace, cohort: TableCohort) -> NormalLimits | None:
    """Those of the cohorts given by --normals; UsageError where there can be none."""
    from spectac_fast.evaluate.regional.known import hearts_are_known
    from spectac_fast.evaluate.regional.normals import limits_of_group

    if not args.normals:
        return None
    group = open_joined(args.normals, args)
    if not all(hearts_are_known(part.cases) for part in (cohort, group)):
        raise UsageError(
            "--normals: expected cohorts of `spectac phantom` here and in --data, found pairs, of which nothing tells "
            "who is normal and where the ventricle lies."
        )
    return limits_of_group(group, "the cohort given by --normals")
