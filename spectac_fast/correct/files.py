"""Correct studies that lie on disk and write what comes out: `Corrector`, counted in a report."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from spectac_fast.correct.corrector import Corrector, Plan, nothing_to_correct
from spectac_fast.correct.report import Report
from spectac_fast.formats.series import NOTHING, Told
from spectac_fast.models.translator import Translator
from spectac_fast.progress import Progress


def correct_files(
    inputs: Sequence[Path],
    out: Path,
    translator: Translator,
    *,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    again: bool = False,
    told: Told = NOTHING,
) -> Report:
    """Correct every NC series at `inputs` and write it below `out`, keeping the folders.

    Args:
        inputs: DICOM files, folders searched to the bottom, DICOMDIR, zip archives, patterns.
        out: folder to write to. What its manifest says is finished, and is, is not corrected again.
        translator, steps, samples, seed, told: as for `Corrector`.
        overwrite: correct again what is finished, and replace files of others that have an output's name.
        again: only the former.

    A file that is damaged, or that was named and is not an NC series, becomes a sentence in `Report.failed`; sound
    files of another kind that were found go to `Report.skipped`. Neither stops the rest.
    Raises NoInputError where there is nothing to correct, SetupError where `out` cannot be written, UsageError for
    options that the model refuses.
    """
    corrector = Corrector(translator, steps=steps, samples=samples, seed=seed, told=told)
    report = Report()
    plan = corrector.plan(inputs, out, overwrite=overwrite, again=again)
    with Progress(plan.slices, "correcting", "slices") as progress:
        carry_out(corrector, plan, report, progress=progress)
    if not report.written and not report.finished and not report.failed:
        raise nothing_to_correct(inputs, len(report.skipped))
    return report


def carry_out(
    corrector: Corrector,
    plan: Plan,
    report: Report,
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    ordered: bool = True,
) -> None:
    """Do what `plan` says and count it in `report`, as it comes; the arguments are those of `Corrector.run`."""
    try:
        for result in corrector.run(plan, ordered=ordered, stop=stop, progress=progress):
            report.add(result)
    finally:
        report.seconds, report.waited = corrector.network.seconds, corrector.waited
        report.halvings = list(corrector.network.halvings)
        report.interrupted = stop is not None and stop.is_set()
