"""`spectac report`: a page for a physician from a corrected study, or from a study that is corrected for it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.commands._messages import starting, style_of
from spectac_fast.outputs import Kind, Permit, check_folder
from spectac_fast.terminal import say

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator

# Those of evaluate.figures.colours, which would import numpy before --help.
COLOURS = ("warm", "cool", "grey", "french")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_inputs(
        parser,
        "output of `spectac correct` together with the NC series, or a study, which is corrected in memory",
        metavar="RUN|STUDY",
    )
    parser.add_argument(
        "-o",
        "--out",
        metavar="OUT",
        type=Path,
        required=True,
        help="the page (.html); for several studies a folder, which gets a page each",
    )
    parser.add_argument("--png", action="store_true", help="also write the summary as a picture beside the page")
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="also write the summary as a DICOM secondary capture, which belongs to the patient as its sources do",
    )
    parser.add_argument(
        "--sr",
        action="store_true",
        help="also write segments, scores and deficits as a DICOM structured report (TID 1500; extra: sr)",
    )
    parser.add_argument(
        "--colours",
        choices=COLOURS,
        default=COLOURS[0],
        help="of counts: warm, whose lightness tells the value, or tables that readers are used to (default: warm)",
    )
    parser.add_argument("--title", default="", help="head of the page instead of the study's pseudonym")
    parser.add_argument(
        "--geometry",
        type=Path,
        metavar="FILE",
        help='left ventricle set by hand: JSON such as {"stress": {"base_mm": -15}}; the page tells the fields',
    )
    _flags.add_overwrite(parser)
    _flags.add_model(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    with starting(args):
        from spectac_fast.errors import UsageError
        from spectac_fast.evaluate.report.gather import gather
        from spectac_fast.evaluate.report.map_files import maps_of
        from spectac_fast.evaluate.report.write import read_geometry, write_report
        from spectac_fast.progress import Progress

    if args.sr:
        from spectac_fast.formats.dicom.summary.structured import need_highdicom

        need_highdicom()
    geometry = read_geometry(args.geometry) if args.geometry else None
    single = args.out.suffix.lower() in (".html", ".htm")
    permit = Permit((*args.inputs, *filter(None, [args.geometry]), Path(args.model)), args.overwrite)
    if single:
        permit.check(args.out, Kind.PAGE)
    else:
        check_folder(args.out)
    with Progress(None, "searching", "files", style=style_of(args)) as searching:
        studies, found = gather(args.inputs, searching.step)
    maps = maps_of(found)
    if single and len(studies) > 1:
        raise UsageError(f"{args.out}: expected one study for one page, found {len(studies)}; name a folder with -o.")
    written: list[Path] = []
    with Progress(len(studies), "reporting", "studies", style=style_of(args)) as progress:
        progress.show()
        for series in studies:
            files, _ = write_report(
                series,
                args.out if single else args.out / "{pseudonym}.html",
                model=lambda: _model(args),
                title=args.title,
                geometry=geometry,
                png=args.png,
                dicom=args.dicom,
                measurements=args.sr,
                colours=args.colours,
                permit=permit,
                maps=maps,
            )
            written += files
            progress.step()
    say(*written)
    for reason in found.skipped:
        say(f"skipped: {reason}")
    for reason in found.failed:
        say(f"failed: {reason}")
    return 1 if found.failed else 0


def _model(args: argparse.Namespace) -> Translator:
    from spectac_fast.models.registry import load

    return load(args.model, device=args.device)
