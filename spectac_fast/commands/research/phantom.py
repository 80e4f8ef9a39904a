"""`spectac phantom`: make a synthetic cohort."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Sequence

from spectac_fast.commands._flags import add_device, add_output, positive_int
from spectac_fast.commands._messages import style_of
from spectac_fast.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spectac_fast.phantom.protocol import LEFT_OUT, NAMES

    parser.description = (
        "Simulate stress and rest studies of synthetic patients (anatomy, camera, OSEM without and with attenuation\n"
        "correction) and write their SA, VLA and HLA stacks. Seeds: below 500000 training, 500000-599999 validation,\n"
        "600000-699999 test, 900000 and up acceptance.\n\n"
        "A protocol is how studies are made and of whom. `hanoi` is one department; the other names change one thing\n"
        "of it; `random` draws camera, reconstruction, counts and patient anew for every seed. DICOM files are on the\n"
        "camera's own pixels, arrays always 29 x 64 x 64 of 6.8 mm. Other cohorts than plain `hanoi` hold a fourth\n"
        "kind beside NC, AC and TRUTH: IDEAL, which is AC with the exact map, exact scatter and no noise.\n"
        "`--format maps` holds what attenuation maps are learnt from: NC as `spectac reconstruct` makes it, the true\n"
        "map and a CT's, in 48 x 64 x 64 voxels of 6.8 mm.\n\n"
        f"protocols:\n{_listed(NAMES)}\nwhat --without takes:\n{_listed(LEFT_OUT)}"
    )
    parser.add_argument("--cases", type=positive_int, required=True, metavar="N", help="number of patients")
    parser.add_argument("--seed", type=int, required=True, metavar="S", help="first seed; cases are S ... S+N-1")
    add_output(parser, "folder of the cohort")
    parser.add_argument(
        "--format",
        choices=("dicom", "npy", "maps"),
        default="dicom",
        help="DICOM files, one memory-mapped array of slices, or one of transaxial NC reconstructions and attenuation "
        "maps (default dicom)",
    )
    parser.add_argument(
        "--acquisition",
        type=int,
        default=0,
        metavar="N",
        help="another acquisition of the same patients: all but the counts' noise stays (default 0)",
    )
    parser.add_argument(
        "--protocol", choices=NAMES, default=NAMES[0], metavar="NAME", help=f"see above (default {NAMES[0]})"
    )
    parser.add_argument(
        "--without",
        choices=LEFT_OUT,
        nargs="+",
        default=[],
        metavar="NAME",
        help="what no draw of `--protocol random` may be: to hold it back from training",
    )
    parser.add_argument(
        "--projections", action="store_true", help="with DICOM files: also the counts of all views, as NM TOMO files"
    )
    parser.add_argument("--ideal", action="store_true", help="also the kind IDEAL of `hanoi`")
    parser.add_argument("--jobs", type=positive_int, metavar="J", help="processes (default: one per core, 4 on a GPU)")
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast.cohort.generate import Wanted, generate
    from spectac_fast.device import resolve_device
    from spectac_fast.errors import UsageError
    from spectac_fast.progress import Progress

    for name in ("seed", "acquisition"):
        if getattr(args, name) < 0:
            raise UsageError(f"--{name}: expected a non-negative integer, found {getattr(args, name)}")
    if args.without and args.protocol != "random":
        raise UsageError(f"--without is for --protocol random, found --protocol {args.protocol}")
    if args.projections and args.format != "dicom":
        raise UsageError(f"--projections is for --format dicom, found --format {args.format}")
    device = resolve_device(args.device)
    wanted = Wanted(
        args.format, args.protocol, tuple(args.without), args.ideal, args.acquisition, device, args.projections
    )
    jobs = args.jobs or (os.cpu_count() or 1 if device == "cpu" else 4)
    seeds = range(args.seed, args.seed + args.cases)
    # The first case takes a quarter of a minute, and on a slow machine minutes.
    with Progress(args.cases, "phantom", "cases", style=style_of(args)) as progress:
        progress.show()
        for _ in generate(args.out, seeds, wanted, jobs):
            progress.step()
    say(f"{args.cases} cases in {args.out}")
    return 0


def _listed(names: Sequence[str]) -> str:
    return textwrap.fill(", ".join(names), 110, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
