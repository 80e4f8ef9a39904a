"""`spectac train MODEL --data DIR -o RUN`: fit a model to a cohort."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands._cohorts import add_spacing, open_joined, open_on_grid, open_views
from spectac_fast.commands._flags import add_device, add_in, add_output, add_seed, add_settings, positive_int, settings
from spectac_fast.errors import UsageError
from spectac_fast.terminal import say

if TYPE_CHECKING:
    from spectac_fast.cohort.joined import JoinedCohort
    from spectac_fast.cohort.views import ViewCohort
    from spectac_fast.commands._cohorts import GridCohort
    from spectac_fast.train.loop.budget import Budget

ROWS = ("identity", "scale", "linear")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `spectac train`."""
    from spectac_fast.train.recipe import trainable

    models = (*trainable(), *ROWS)
    parser.add_argument("model", choices=models, help="a method, or a row that needs no network")
    add_in(
        parser,
        "cohorts; of synthetic patients those with training seeds are used; cunet and dudoss learn from NM TOMO files",
        metavar="DIR",
        alias="--data",
        required=True,
    )
    parser.add_argument(
        "--validation",
        type=Path,
        metavar="DIR",
        help="cohort that is watched; of synthetic patients those with validation seeds",
    )
    add_spacing(parser)
    add_output(parser, "folder of the run")
    parser.add_argument("--recipe", default="native64", metavar="NAME|FILE", help="recipe (default: native64)")
    add_settings(parser, "another value in the recipe; dots lead inside: optimiser.learning_rate=0.0003 (repeatable)")
    parser.add_argument("--initial", type=Path, metavar="FILE", help="weight file to start from")
    parser.add_argument("--first-stage", type=Path, metavar="FILE", help="trained vqgan, for a model between latents")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--steps", type=positive_int, metavar="N", help="optimisation steps (default: the recipe's)")
    budget.add_argument("--max-slices", type=positive_int, metavar="N", help="slices seen, repetitions counted")
    budget.add_argument("--max-minutes", type=float, metavar="M", help="wall time")
    parser.add_argument(
        "--compile",
        action="store_true",
        help="compile the networks first, which takes minutes and pays in runs of hours; needs a C++ compiler",
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    add_seed(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Train and say where the result lies."""
    if args.max_minutes is not None and not args.max_minutes > 0:
        raise UsageError(f"--max-minutes must be positive, found {args.max_minutes:g}")
    if args.settings and args.model in ROWS:
        raise UsageError(f"--set: expected a model that has a recipe, found {args.model}, which has none")

    from spectac_fast.train.loop.distributed import rank

    if args.model in ROWS:
        path = _train_row(args, open_joined(args.inputs, args))
    else:
        path = _train_network(args)
    if rank() == 0:
        say(f"wrote {path}")
    return 0


def _train_row(args: argparse.Namespace, cohort: JoinedCohort) -> Path:
    from spectac_fast.train.rows import train_row

    return train_row(args.model, cohort, args.out)


def _train_network(args: argparse.Namespace) -> Path:
    from spectac_fast.device import resolve_device
    from spectac_fast.train.recipe import load_recipe
    from spectac_fast.train.run import Options, train

    options = Options(
        budget=_budget(args),
        seed=args.seed,
        resume=args.resume,
        initial=args.initial,
        first_stage=args.first_stage,
        device=resolve_device(args.device),
        compiled=args.compile,
    )
    cohort, validation = _cohorts(args)
    if validation:
        _check_apart(cohort, validation)
    return train(cohort, validation, args.out, load_recipe(args.model, args.recipe, settings(args)), options)


def _cohorts(args: argparse.Namespace) -> tuple[JoinedCohort | ViewCohort, GridCohort | ViewCohort | None]:
    """What is learnt from, and what is watched, by the kind of the model."""
    from spectac_fast.models.names import VIEWS

    if args.model not in VIEWS:
        cohort = open_joined(args.inputs, args)
        return cohort, open_on_grid(args.validation, args, cohort) if args.validation else None
    if not (args.pixel_mm is None and args.slice_mm is None):
        raise UsageError(f"--pixel-mm and --slice-mm are for slices; {args.model} learns from projections.")
    return open_views(args.inputs), open_views([args.validation]) if args.validation else None


def _budget(args: argparse.Namespace) -> Budget | None:
    from spectac_fast.train.loop.budget import Budget

    given = {"steps": args.steps, "minutes": args.max_minutes, "slices": args.max_slices}
    return Budget(**given) if any(value is not None for value in given.values()) else None


def _check_apart(cohort: JoinedCohort | ViewCohort, validation: GridCohort | ViewCohort) -> None:
    """Synthetic patients are kept apart by their seeds; what else is given for both would flatter the model."""
    known = {case.get("sha256") for case in cohort.cases} - {None}
    both = sum(case.get("sha256") in known for case in validation.cases)
    if both:
        raise UsageError(f"--validation: expected other patients than in --data, found {both} with the same NC counts.")
