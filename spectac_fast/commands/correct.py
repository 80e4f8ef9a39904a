"""`spectac correct`: NC studies in, AC studies out."""

from __future__ import annotations

import argparse
import logging
import sys

from spectac_fast.commands import _flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_inputs(parser, "DICOM files, or folders searched to the bottom (NM RECON TOMO in SA, VLA or HLA)")
    _flags.add_output(parser, "folder for the corrected files; the folders below IN are kept")
    _flags.add_model(parser)
    _flags.add_sampling(parser)
    _flags.add_device(parser)


def run(args: argparse.Namespace) -> int:
    from spectac_fast import load
    from spectac_fast.correct import correct_files

    logging.basicConfig(format="spectac: %(message)s", level=logging.WARNING)
    translator = load(args.model, device=args.device)
    report = correct_files(args.inputs, args.out, translator, steps=args.steps, samples=args.samples, seed=args.seed)
    for reason in report.skipped:
        print(f"skipped: {reason}", file=sys.stderr)
    for reason in report.failed:
        print(f"failed: {reason}", file=sys.stderr)
    studies = f"{report.studies} {'study' if report.studies == 1 else 'studies'}"
    pace = f", {1000 * report.seconds / report.slices:.1f} ms per slice" if report.slices else ""
    print(
        f"corrected {report.slices} slices in {len(report.written)} series of {studies}{pace} "
        f"({translator.name}); {len(report.skipped)} files skipped, {len(report.failed)} failed; written to {args.out}"
    )
    return 1 if report.failed else 0
