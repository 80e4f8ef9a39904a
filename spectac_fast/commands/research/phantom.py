"""`spectac phantom`: make a synthetic cohort."""

from __future__ import annotations

import argparse
import os

from spectac_fast.commands._flags import add_device, add_output, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Simulate stress and rest studies of synthetic patients (anatomy, camera, OSEM without and with attenuation "
        "correction) and write their SA, VLA and HLA stacks. Seeds: below 500000 training, 500000-599999 validation, "
        "600000-699999 test, 900000 and up acceptance."
    )
    parser.add_argument("--cases", type=positive_int, required=True, metavar="N", help="number of patients")
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="first seed; cases are S ... S+N-1")
    add_output(parser, "folder of the cohort")
    parser.add_argument(
        "--format",
        choices=("dicom", "npy"),
        default="dicom",
        help="DICOM files, or one memory-mapped array (default dicom)",
    )
    parser.add_argument(
        "--acquisition",
        type=int,
        default=0,
        metavar="N",
        help="another acquisition of the same patients: all but the counts' noise stays (default 0)",
    )
    parser.add_argument("--jobs", type=positive_int, metavar="J", help="processes (default: one per core, 4 on a GPU)")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast.cohort.generate import generate
    from spectac_fast.device import resolve_device
    from spectac_fast.errors import UsageError
    from spectac_fast.progress import Progress

    for name in ("seed", "acquisition"):
        if getattr(args, name) < 0:
            raise UsageError(f"--{name}: expected a non-negative integer, found {getattr(args, name)}")
    device = resolve_device(args.device)
    jobs = args.jobs or (os.cpu_count() or 1 if device == "cpu" else 4)
    seeds = range(args.seed, args.seed + args.cases)
    with Progress(args.cases, "phantom", "case") as progress:
        for _ in generate(args.out, seeds, form=args.format, jobs=jobs, device=device, acquisition=args.acquisition):
            progress.step()
    print(f"{args.cases} cases in {args.out}")
    return 0
