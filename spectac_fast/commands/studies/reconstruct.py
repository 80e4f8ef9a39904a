"""`spectac reconstruct`: projections in, slices out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectac_fast.commands import _flags
from spectac_fast.commands._messages import style_of
from spectac_fast.commands._runs import interruptible, reported
from spectac_fast.outputs import Kind, Permit
from spectac_fast.progress import STYLES, Progress
from spectac_fast.terminal import say, warn

if TYPE_CHECKING:
    from spectac_fast.correct import Report
    from spectac_fast.correct.physics.reconstructor import Reconstructed, Reconstructor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Reconstruct projections (NM TOMO): NC slices, and AC slices where an attenuation map is given, cut along the\n"
        "long axis of the left ventricle, which is found. Every file gives NAME_NC_SA.dcm, NAME_AC_SA.dcm and so on,\n"
        "NM RECON TOMO objects; `spectac correct` estimates attenuation correction from the NC ones without any map."
    )
    _flags.add_inputs(parser, "NM TOMO files, folders with all below, DICOMDIR, zip archives, patterns")
    _flags.add_output(parser, "folder for the slices; the folders below IN are kept")
    parser.add_argument(
        "--ac",
        default="none",
        metavar="none|chang|mu|predicted|FILE",
        help="chang: from the body's outline; mu: by the attenuation map (NM, or a CT) of the same study or frame of "
        "reference among IN; predicted: by a map that a network makes of NC; FILE: folder of a CT series, or an NM "
        "attenuation map (default: none)",
    )
    parser.add_argument("--maps", type=Path, metavar="FILE", help="weights that predict maps (default: the shipped)")
    _flags.add_uncertainty(
        parser,
        "of the photons, and of the map where it is predicted, each through OSEM; the AC series stays as it is",
    )
    parser.add_argument(
        "--bridge", type=Path, metavar="FILE", help="weights that draw maps for --uncertainty (default: the shipped)"
    )
    _flags.add_seed(parser)
    parser.add_argument(
        "--planes", type=planes, metavar="SA,VLA,HLA,TRA", help="stacks to write; TRA is transaxial (default: all)"
    )
    parser.add_argument("--method", choices=("osem", "fbp"), default="osem", help="(default: osem)")
    parser.add_argument(
        "--iterations", type=_flags.positive_int, metavar="N", help="of OSEM (default: 32 updates in all)"
    )
    parser.add_argument(
        "--subsets", type=_flags.positive_int, metavar="N", help="a divisor of the views (default: the one next to 8)"
    )
    parser.add_argument(
        "--filter",
        type=post_filter,
        metavar="KIND[:N[:N]]",
        help="butterworth:CUTOFF:ORDER or hann:CUTOFF in cycles/cm, gaussian:FWHM in mm, or none "
        "(default: butterworth:0.4:5)",
    )
    parser.add_argument(
        "--scatter",
        choices=("auto", "none", "window", "estimate"),
        default="auto",
        help="window: by the file's scatter windows, NC too; estimate: of AC by an effective source; auto: of AC, "
        "window where there is one (default: auto)",
    )
    parser.add_argument(
        "--collimator",
        type=collimator,
        metavar="NAME",
        help="model its blur: LEHR, LEGP, LEAP, or HOLE,LENGTH,INTRINSIC in mm (default: none, as models were trained)",
    )
    parser.add_argument(
        "--views-by",
        metavar="dudoss|FILE",
        help="views between those that lie far apart, made by a network; measured ones are kept (default: none)",
    )
    parser.add_argument(
        "--denoise",
        metavar="cunet|FILE",
        help="replace counts by those that a network expects, which learnt it from counts (default: as counted)",
    )
    parser.add_argument(
        "--axis",
        type=axis,
        metavar="AZ,EL,X,Y,Z",
        help="the long axis by hand: degrees from straight ahead to the left and down, and a point on it in mm from "
        "the axis of rotation (left, back, head); write it as --axis=...",
    )
    parser.add_argument("--phase", choices=("stress", "rest"), help="of all named files, whatever they say themselves")
    _flags.add_shard(parser, "files")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="make again what OUT's manifest says is finished, and replace files of others that have the name of an "
        "output (never an input, a manifest or a device)",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write what became of every file, as JSON; or, to FILE.html, the page of `spectac report` on what was "
        "made: NC, images corrected by the default model, those by the map, and the map (of several studies to "
        "FILE-NAME.html)",
    )
    parser.add_argument("--progress", choices=STYLES, default="auto", help="on stderr (default: auto)")


def run(args: argparse.Namespace) -> int:
    from spectac_fast.correct import Report
    from spectac_fast.correct.physics.reconstructor import Reconstructor
    from spectac_fast.errors import NoInputError
    from spectac_fast.formats.series import Told

    physics = ("filter", "collimator", "iterations", "subsets", "maps", "uncertainty", "bridge", "seed")
    asked = {name: getattr(args, name) for name in (*physics, "planes", "axis", "views_by", "denoise")}
    settings = {name: value for name, value in asked.items() if value is not None}
    permit = Permit((*args.inputs, Path(args.ac)), args.overwrite)
    page = args.report if args.report and args.report.suffix.lower() in (".html", ".htm") else None
    if args.report:
        permit.check(args.report, Kind.PAGE if page else Kind.JSON)
    by = Reconstructor(
        told=Told(phase=args.phase), ac=args.ac, method=args.method.upper(), scatter=args.scatter, **settings
    )
    report, part = Report(), _flags.shard_of(args)
    with reported(report, None if page else args.report, by, permit):
        with Progress(None, "searching", "files", style=style_of(args)) as searching:
            plan = by.plan(args.inputs, args.out, overwrite=args.overwrite, shard=part, looked=searching.step)
        with (
            interruptible() as stop,
            Progress(len(plan.sources), "reconstructing", "files", style=style_of(args)) as progress,
        ):
            progress.show()
            for result in by.run(plan, stop=stop, progress=progress):
                report.add(result)
                _say(result)
            report.interrupted = stop.is_set()
        if part == (1, 1) and not (report.written or report.finished or report.failed or report.interrupted):
            where = ", ".join(map(str, args.inputs))
            raise NoInputError(f"{where}: expected projections here, found {len(report.skipped)} files of other kinds.")
    _tell(report, by, args.out)
    if page and not report.interrupted and (report.written or report.finished):
        _report_page(page, [*report.written, *report.finished], permit)
    return report.exit_code


def planes(text: str) -> tuple[str, ...]:
    """argparse type: some of SA, VLA, HLA and TRA, parted by commas."""
    known = ("SA", "VLA", "HLA", "TRA")
    found = [each.strip().upper() for each in text.split(",")]
    if set(found) - set(known):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, found {text!r}")
    return tuple(each for each in known if each in found)


def axis(text: str) -> tuple[float, ...]:
    """argparse type: five numbers parted by commas."""
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if len(found) != 5:
        raise argparse.ArgumentTypeError(f"expected AZIMUTH,ELEVATION,X,Y,Z, found {text!r}")
    return found


def post_filter(text: str) -> Any:
    """argparse type: a `reconstruct.settings.Filter`."""
    from spectac_fast.correct.physics.wanted import filter_of

    try:
        return filter_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected butterworth:CUTOFF:ORDER, hann:CUTOFF, gaussian:FWHM or none, found {text!r}"
        ) from None


def collimator(text: str) -> Any:
    """argparse type: a `reconstruct.camera.Collimator`, or None for "none"."""
    from spectac_fast.correct.physics.wanted import collimator_of

    try:
        return collimator_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected LEHR, LEGP, LEAP, none or HOLE,LENGTH,INTRINSIC in mm, found {text!r}"
        ) from None


def _say(result: Reconstructed) -> None:
    """The long axis of a file, and what is unusual about it."""
    if result.made is not None and result.projections is not None:
        name, views = result.sources[0].name, result.projections.views
        axes = result.made.axes
        say(
            f"{name}: {views} views; long axis azimuth {axes.azimuth:.1f}, elevation {axes.elevation:.1f} degrees "
            f"through {', '.join(f'{mm:.0f}' for mm in axes.centre)} mm"
        )
    for warning in result.warnings:
        warn(f"note: {warning}")


def _report_page(page: Path, files: list[Path], permit: Permit) -> None:
    """Write the page of each study among files that were made, and say where."""
    from spectac_fast.commands._flags import DEFAULT_MODEL
    from spectac_fast.evaluate.report.gather import gather, pseudonym
    from spectac_fast.evaluate.report.map_files import maps_of
    from spectac_fast.evaluate.report.write import write_report
    from spectac_fast.models.registry import load

    studies, found = gather(files)
    maps = maps_of(found)
    for series in studies:
        several = f"{page.stem}-{pseudonym(series[0])}{page.suffix}"
        target = page if len(studies) == 1 else page.with_name(several)
        written, _ = write_report(
            series, target, model=lambda: load(DEFAULT_MODEL, device="cpu"), maps=maps, permit=permit
        )
        say(*written)


def _tell(report: Report, by: Reconstructor, out: Path) -> None:
    for reason in report.skipped:
        warn(f"skipped: {reason}")
    for reason in report.failed:
        warn(f"failed: {reason}")
    before = f"{len(report.finished)} series finished before, " if report.finished else ""
    where = f"written to {out}" if report.written else "nothing written"
    files = f"{report.studies} {'file' if report.studies == 1 else 'files'}"
    say(
        f"reconstructed {report.series} series of {files}; {before}{len(report.skipped)} files skipped, "
        f"{len(report.failed)} failed; {where}"
    )
    if report.interrupted:
        warn("spectac: interrupted")
