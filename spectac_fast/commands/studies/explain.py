"""`spectac explain`: which counts a corrected region was made from, and where the network's attention lay."""

from __future__ import annotations

import argparse
from pathlib import Path

from spectac_fast.commands import _flags
from spectac_fast.commands._messages import style_of
from spectac_fast.outputs import Permit, check_folder, output_folder
from spectac_fast.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_inputs(parser, "NC series: DICOM files, folders, zip archives, patterns", metavar="STUDY")
    _flags.add_output(parser, "folder for the pictures and explain.json; for several studies a folder in it for each")
    parser.add_argument(
        "--slice",
        type=_flags.positive_int,
        metavar="N",
        help="the N-th slice of every series, from 1 (default: the middle one)",
    )
    _flags.add_overwrite(parser)
    _flags.add_model(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast.data.study import Study
    from spectac_fast.errors import InputError
    from spectac_fast.evaluate.explanation import check_places, explained, nc_of, write
    from spectac_fast.evaluate.report.gather import gather, pseudonym
    from spectac_fast.models.gradients import differentiable
    from spectac_fast.models.registry import load
    from spectac_fast.progress import Progress

    permit = Permit((*args.inputs, Path(args.model)), args.overwrite)
    check_folder(args.out)
    translator = load(args.model, device=args.device)
    differentiable(translator)
    with Progress(None, "searching", "files", style=style_of(args)) as searching:
        studies, found = gather(args.inputs, searching.step)
    failed = list(found.failed)
    chosen = [nc_of(series) for series in studies]
    out = output_folder(args.out)
    with Progress(sum(map(len, chosen)), "explaining", "series", style=style_of(args)) as progress:
        progress.show()
        for series, nc in zip(studies, chosen):
            folder = out if len(studies) == 1 else output_folder(out / pseudonym(series[0]))
            try:
                if not nc:
                    raise InputError(f"{series[0].path}: expected NC series of this study, found none.")
                check_places(folder, {one.phase for one in nc}, permit)
                rows = explained(Study(tuple(nc)), translator, args.slice, step=progress.step)
            except InputError as reason:
                failed.append(str(reason))
                continue
            say(*write(folder, rows, translator))
    for text in failed:
        say(f"failed: {text}")
    return 1 if failed else 0
