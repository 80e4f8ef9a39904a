"""`spectac evaluate`: compare models on a cohort, with confidence intervals."""

from __future__ import annotations

import argparse
from pathlib import Path

from spectac_fast.commands import _flags
from spectac_fast.commands._cohorts import check_made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="cohort made by `spectac phantom`")
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
        help="cohorts whose normal patients set the normal limits (default: the normal patients of --data)",
    )
    parser.add_argument(
        "--metric-profile",
        choices=("strict", "paper"),
        default="strict",
        help="strict: PSNR and RMSE pooled over a patient; paper: means over slices, a guess at the published table "
        "(default: strict)",
    )
    parser.add_argument("--cases", type=_flags.positive_int, metavar="N", help="only the first N patients")
    _flags.add_output(parser, "folder for table.md, table.csv, table.json and the picture")
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
    _flags.add_seed(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast.data.cohort import Cohort, JoinedCohort
    from spectac_fast.data.terms import PHASES, PLANES
    from spectac_fast.errors import NoInputError
    from spectac_fast.evaluate import render, table, variants
    from spectac_fast.evaluate.files import output_folder
    from spectac_fast.evaluate.normals import limits_of_group
    from spectac_fast.evaluate.pictures import comparison_panel
    from spectac_fast.evaluate.score import corrected_stacks, score_cohort
    from spectac_fast.models.registry import load
    from spectac_fast.progress import Progress

    if not args.data.is_dir():
        raise NoInputError(f"--data {args.data}: expected a cohort folder, found none.")
    check_made(args.data)
    names = [name.strip() for name in args.models.split(",") if name.strip()]
    rows = variants.expand(
        names, lambda name: load(name, device=args.device), args.steps, args.samples, args.noise_steps
    )
    cohort = Cohort(args.data)
    count = len(cohort) if args.cases is None else min(args.cases, len(cohort))
    folder = output_folder(args.out)
    limits = None
    if args.normals:
        limits = limits_of_group(JoinedCohort([Cohort(part) for part in args.normals]), "the cohort given by --normals")
    with Progress(count * len(PHASES) * len(PLANES) * len(rows), "evaluating", "series") as progress:
        scores = score_cohort(cohort, rows, seed=args.seed, cases=count, step=progress.step)
    numbers = table.build(scores, cohort.cases[:count], seed=args.seed, limits=limits, profile=args.metric_profile)
    written = table.write(numbers, folder)
    # Of every network what `correct` writes, its first row with planes combined; without networks, whatever there is.
    networks = dict.fromkeys(row.name for row in rows if not row.is_baseline)
    own = ([row for row in rows if row.name == name] for name in networks)
    shown = [min(group, key=lambda row: row.together != variants.COMBINED) for group in own] or rows[-1:]
    stacks = {row.label: corrected_stacks(cohort, 0, PHASES[0], row, seed=args.seed) for row in shown}
    gain = rows[0].translator.gain
    written.append(comparison_panel(folder / "panel.png", PHASES[0], stacks, gain=gain))
    print(render.terminal(render.pooled_values(numbers)))
    print(f"\n{count} patients, pooled per patient, data range 2. Intervals, segments and conventions:")
    for path in written:
        print(f"  {path}")
    return 0
