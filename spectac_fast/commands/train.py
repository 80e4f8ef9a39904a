"""`spectac train MODEL --data DIR -o RUN`: fit a model to a cohort."""

from __future__ import annotations

import argparse
from pathlib import Path

from spectac_fast.commands._flags import add_output, add_seed, positive_int
from spectac_fast.errors import UsageError

MODELS = ("bbdm", "identity", "scale", "linear")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `spectac train`."""
    parser.add_argument("model", choices=MODELS, help="what to train: the bridge, or a row that needs no network")
    parser.add_argument(
        "--data", type=Path, nargs="+", required=True, metavar="DIR", help="cohorts; their training seeds are used"
    )
    parser.add_argument("--validation", type=Path, metavar="DIR", help="cohort whose validation seeds are watched")
    add_output(parser, "folder of the run")
    parser.add_argument("--recipe", default="native64", metavar="NAME|FILE", help="recipe (default: native64)")
    parser.add_argument("--initial", type=Path, metavar="FILE", help="weight file to start from")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=positive_int, metavar="N", help="optimisation steps (default: 10000)")
    budget.add_argument("--max-minutes", type=float, metavar="M", help="wall time instead of steps")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    add_seed(parser)


def run(args: argparse.Namespace) -> int:
    """Train and say where the result lies."""
    if args.max_minutes is not None and not args.max_minutes > 0:
        raise UsageError(f"--max-minutes must be positive, found {args.max_minutes:g}")

    from spectac_fast.data.cohort import Cohort, JoinedCohort

    cohort = JoinedCohort([Cohort(folder) for folder in args.data])
    if args.model == "bbdm":
        from spectac_fast.train.bbdm import train_bbdm
        from spectac_fast.train.budget import Budget
        from spectac_fast.train.recipe import load_recipe

        steps = args.steps or (None if args.max_minutes else 10_000)
        validation = Cohort(args.validation) if args.validation else None
        path = train_bbdm(
            cohort,
            validation,
            args.out,
            load_recipe(args.recipe),
            Budget(steps, args.max_minutes),
            seed=args.seed,
            resume=args.resume,
            initial=args.initial,
        )
    else:
        from spectac_fast.train.rows import train_row

        path = train_row(args.model, cohort, args.out)
    print(f"wrote {path}")
    return 0
