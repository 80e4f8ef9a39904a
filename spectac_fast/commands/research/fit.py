"""`spectac fit MODEL --data DIR -o FILE`: a bridge's solver, fitted to the bridge itself."""

from __future__ import annotations

import argparse

from spectac_fast.commands import _flags
from spectac_fast.commands._cohorts import add_spacing, open_joined
from spectac_fast.errors import UsageError
from spectac_fast.outputs import Kind, Permit
from spectac_fast.terminal import say

_ABOUT = """
A sample of few evaluations is a walk with fixed coefficients. They are fitted here, by least squares and without
training, to the walk of many evaluations that the same network takes from the same noise, and written with the network
into a new weight file, whose samples use them from then on. Only NC is looked at."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description}\n{_ABOUT}"
    parser.add_argument("model", metavar="NAME|FILE", help="a bridge: bbdm, or a .safetensors file")
    _flags.add_in(parser, "cohorts, not those that will be tested on", metavar="DIR", alias="--data", required=True)
    add_spacing(parser)
    _flags.add_output(parser, "weight file to write (.safetensors)", folder=False)
    _flags.add_overwrite(parser)
    parser.add_argument(
        "--steps",
        type=_flags.positive_int,
        nargs="+",
        metavar="N",
        help="evaluations, 2 and more, a table each; samples have the first (default: those of the model's samples)",
    )
    parser.add_argument(
        "--patients", type=_flags.positive_int, default=8, metavar="N", help="evenly spaced in the data (default: 8)"
    )
    parser.add_argument(
        "--long-steps", type=_flags.positive_int, default=200, metavar="N", help="of what is fitted to (default: 200)"
    )
    _flags.add_seed(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    import numpy as np
    import torch

    from spectac_fast.models.names import find
    from spectac_fast.models.registry import load
    from spectac_fast.models.translators.bridge import BridgeTranslator
    from spectac_fast.train.export import trained_on
    from spectac_fast.train.fitting import central_nc, fitted_table, keep_tables

    translator = load(args.model, device=args.device)
    if not isinstance(translator, BridgeTranslator):
        raise UsageError(f"{args.model}: expected a bridge, such as bbdm, found {translator.name}")
    steps = args.steps or [translator.defaults["sample_steps"]]
    if min(steps) < 2 or len(set(steps)) < len(steps) or max(steps) > args.long_steps:
        shown = " ".join(map(str, steps))
        raise UsageError(f"--steps: expected different numbers from 2 to --long-steps {args.long_steps}, found {shown}")
    if args.out.suffix != ".safetensors" or not args.out.parent.is_dir():
        raise UsageError(f"-o {args.out}: expected a .safetensors file in a folder that exists")
    Permit((find(args.model), *args.inputs), args.overwrite).check(args.out, Kind.WEIGHTS)
    cohort = open_joined(args.inputs, args)
    pixel = cohort.spacing_mm[1]
    if abs(pixel / translator.pixel_mm - 1.0) > 0.01:
        raise UsageError(f"--data: expected pixels of {translator.pixel_mm:g} mm, the model's, found {pixel:g} mm")
    wanted = min(args.patients, len(cohort.cases))
    cases = [k * len(cohort.cases) // wanted for k in range(wanted)]
    nc, beside = central_nc(cohort, translator, cases)
    seeds = torch.from_numpy(np.random.default_rng(args.seed).integers(2**63, size=len(nc)))
    tables = [fitted_table(translator, nc, beside, seeds, count, args.long_steps) for count in steps]
    facts = {
        "steps": args.long_steps,
        "slices": len(nc),
        "weights_sha256": translator.weights_sha256,
        **trained_on([cohort.cases[case] for case in cases]),
    }
    keep_tables(find(args.model), args.out, tables, facts)
    say(f"wrote {args.out}")
    return 0
