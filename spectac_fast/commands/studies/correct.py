"""`spectac correct`: NC studies in, AC studies out."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.commands._messages import starting, style_of
from spectac_fast.commands._runs import interruptible, reported
from spectac_fast.outputs import Kind, Permit
from spectac_fast.progress import STYLES, Progress
from spectac_fast.terminal import say, warn

if TYPE_CHECKING:
    from spectac_fast.correct import Corrector, Report
    from spectac_fast.correct.corrector import Plan

_FOR_STUDIES = (
    "--uncertainty", "--workers", "--shard", "--force", "--report", "--engine", "--kind", "--phase", "--plane",
    "--dry-run", "--pixel-mm", "--slice-mm", "--keep-scatter", "--sharper",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_inputs(
        parser,
        "DICOM files (NM RECON TOMO in SA, VLA or HLA), folders with all below, DICOMDIR, zip archives, patterns; "
        "NIfTI and npy files where they are named or a pattern matches them",
    )
    _flags.add_output(parser, "folder for the corrected files; the folders below IN are kept")
    _flags.add_model(parser)
    _flags.add_sampling(parser)
    _flags.add_uncertainty(parser, "of a model that draws any; the corrected series stays as it is")
    _flags.add_device(parser)
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        default="auto",
        help="of the network's body (default: auto, which is fp32)",
    )
    parser.add_argument(
        "--batch-size",
        type=batch_size,
        default="auto",
        metavar="N",
        help="slices in a run of the network, a power of two up to 64 (default: auto, what memory allows)",
    )
    parser.add_argument(
        "--jobs",
        type=_flags.positive_int,
        metavar="N",
        help="threads that read, and as many that write (default: one per core, at most 4)",
    )
    _flags.add_shard(parser, "studies")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="correct again what OUT's manifest says is finished, and replace "
        "files of others that have the name of an output (never an input, a manifest or a device)",
    )
    parser.add_argument(
        "--force", action="store_true", help="correct named files that are transaxial or corrected already"
    )
    parser.add_argument(
        "--images",
        nargs="?",
        choices=("full", "max"),
        const="full",
        help="IN are PNG or TIFF files, or folders with such files, each a slice as the training code of a published "
        "network saw it, and come back in the same form: full takes the full scale of a file (255 or 65535) for the "
        "model's +1, max the largest value of each image (full unless given)",
    )
    _flags.add_told(parser, "each comes back in its own form, counts as float32")
    _flags.add_department(parser)
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: spread over the cluster that RAY_ADDRESS names, or over this machine (default: local)",
    )
    parser.add_argument(
        "--workers",
        type=_flags.positive_int,
        metavar="N",
        help="with --engine ray, models at work (default: one per GPU or per two cores of the cluster)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what became of every study, as JSON")
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be done with every series; write nothing"
    )
    parser.add_argument("--progress", choices=STYLES, default="auto", help="on stderr (default: auto)")


def run(args: argparse.Namespace) -> int:
    with starting(args):
        from spectac_fast.correct import Corrector, Report, carry_out
        from spectac_fast.correct.corrector import nothing_to_correct
        from spectac_fast.correct.engines.cluster import carry_out_on_ray

    if args.images:
        return _correct_images(args)
    permit = Permit((*args.inputs, Path(args.model)), args.overwrite)
    if args.report:
        permit.check(args.report, Kind.JSON)
    part = _flags.shard_of(args)
    settings = {
        "model": str(args.model),
        "device": device_of_launcher(args.device),
        "precision": args.precision,
        "steps": args.steps,
        "samples": args.samples,
        "uncertainty": args.uncertainty,
        "seed": args.seed,
        "batch_size": args.batch_size,
        "jobs": args.jobs,
        "force": args.force,
        "told": _flags.told(args),
    }
    corrector = Corrector(**settings)
    if args.dry_run:
        return _rehearse(args, corrector, part)
    report = Report()
    with reported(report, args.report, corrector, permit):
        plan = _plan(args, corrector, part)
        with interruptible() as stop, Progress(plan.slices, "correcting", "slices", style=style_of(args)) as progress:
            if args.engine == "ray":
                carry_out_on_ray(corrector, settings, plan, report, workers=args.workers, progress=progress, stop=stop)
            else:
                carry_out(corrector, plan, report, progress=progress, stop=stop)
        if part == (1, 1) and not (report.written or report.finished or report.failed or report.interrupted):
            _list(report)
            raise nothing_to_correct(args.inputs, len(report.skipped))
    _tell(report, corrector, args.out)
    return report.exit_code


def _plan(args: argparse.Namespace, corrector: Corrector, part: tuple[int, int]) -> Plan:
    """What there is to do; the search shows how far it is."""
    with Progress(None, "searching", "files", style=style_of(args)) as searching:
        return corrector.plan(args.inputs, args.out, overwrite=args.overwrite, shard=part, looked=searching.step)


def _rehearse(args: argparse.Namespace, corrector: Corrector, part: tuple[int, int]) -> int:
    """Say what would become of every series, and end as the run would as far as that can be told."""
    from spectac_fast.commands._contents import described_study

    plan = _plan(args, corrector, part)
    assert plan.store is not None
    finished = 0
    refused: list[str] = []
    for study in plan.studies:
        entry = plan.store.finished(study)
        if entry is not None:
            finished += 1
            say(*(f"{path}: finished before, would be kept" for path in plan.store.paths(entry)))
            continue
        said = described_study(study, corrector.translator, plan.store.target, force=args.force, refused=refused)
        say(*said)
    for result in plan.known:
        for kind in ("skipped", "failed"):
            for reason in getattr(result, kind):
                warn(f"{kind}: {reason}")
    plan.store.close()
    studies = f"{len(plan.studies)} {'study' if len(plan.studies) == 1 else 'studies'}"
    print(f"{studies}, {finished} of them finished before; nothing was written")
    return 1 if refused or any(result.failed for result in plan.known) else 0


def _correct_images(args: argparse.Namespace) -> int:
    from spectac_fast import load
    from spectac_fast.correct.pictures import correct_pictures
    from spectac_fast.errors import UsageError

    for flag in _FOR_STUDIES:
        if getattr(args, flag.lstrip("-").replace("-", "_")) not in (None, False, "local"):
            raise UsageError(f"{flag} is for studies of counts and means nothing with --images")
    translator = load(args.model, device=args.device)
    inputs = [Path(path) for path in args.inputs]
    given = {"steps": args.steps, "samples": args.samples, "seed": args.seed}
    for sentence in correct_pictures(inputs, args.out, translator, args.images, overwrite=args.overwrite, **given):
        warn(f"spectac: {sentence}")
    say(f"corrected images ({translator.name}, {args.images} scale); written to {args.out}")
    return 0


def batch_size(text: str) -> int | str:
    """argparse type: auto, or a whole number."""
    return text if text == "auto" else _flags.positive_int(text)


def device_of_launcher(name: str) -> str:
    """The device asked for; where torchrun starts several processes and none is named, the one of this process."""
    import torch

    local = os.environ.get("LOCAL_RANK", "")
    if name in ("auto", "cuda") and local.isdecimal() and torch.cuda.is_available():
        return f"cuda:{local}"
    return name


def _list(report: Report) -> None:
    for reason in report.skipped:
        warn(f"skipped: {reason}")
    for reason in report.failed:
        warn(f"failed: {reason}")


def _tell(report: Report, corrector: Corrector, out: Path) -> None:
    _list(report)
    studies = f"{report.studies} {'study' if report.studies == 1 else 'studies'}"
    pace = f", {1000 * report.seconds / report.slices:.1f} ms per slice" if report.slices else ""
    before = f"{len(report.finished)} series finished before, " if report.finished else ""
    where = f"written to {out}" if report.written else "nothing written"
    say(
        f"corrected {report.slices} slices in {report.series} series of {studies}{pace} "
        f"({corrector.translator.name}); {before}{len(report.skipped)} files skipped, {len(report.failed)} failed; "
        f"{where}"
    )
    if report.interrupted:
        warn("spectac: interrupted")
