"""Correct studies that lie on disk: find them, correct one after the other, write each as soon as it is done."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast._version import __version__
from spectac_fast.correct.study import correct_study
from spectac_fast.data.resample import check_geometry
from spectac_fast.data.study import Provenance, Study, dicom_files, output_path, read_nc_series, write_corrected
from spectac_fast.errors import InputError, NoInputError, NotApplicableError, SetupError, SpectacError, UsageError
from spectac_fast.progress import Progress

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator


@dataclass(frozen=True)
class Source:
    """A DICOM file to correct. named: the user named this very file, so it is refused rather than skipped."""

    path: Path
    frames: int
    named: bool


@dataclass
class Report:
    """What became of the inputs: files written, sentences for skipped and failed ones, and the time in the model."""

    written: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    studies: int = 0
    slices: int = 0
    seconds: float = 0.0


def find_studies(inputs: Sequence[Path], report: Report) -> list[list[Source]]:
    """The DICOM files among `inputs` (files, or folders with everything below), grouped by Study Instance UID.

    What cannot be grouped is put into `report`. Raises NoInputError if there is no file at all.
    """
    from spectac_fast.data.dicom import glance

    studies: dict[str, list[Source]] = {}
    missing = 0
    for path, named in _files(inputs):
        try:
            uid, frames = glance(path)
        except NoInputError as reason:
            missing += 1
            report.failed.append(str(reason))
        except SpectacError as reason:
            _refuse(report, reason, named)
        else:
            studies.setdefault(uid, []).append(Source(path, frames, named))
    if not studies and missing == len(report.failed):
        raise NoInputError(f"{', '.join(map(str, inputs))}: expected DICOM files here, found none.")
    return list(studies.values())


def correct_files(
    inputs: Sequence[Path],
    out: Path,
    translator: Translator,
    *,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
) -> Report:
    """Correct every NC series below `inputs` and write it below `out`, keeping the folders.

    Args:
        inputs: DICOM files, or folders searched to the bottom.
        out: folder to write to.
        translator, steps, samples, seed: as for `correct_study`.

    A file that is damaged, or that was named and is not an NC series, becomes a sentence in `Report.failed`; sound
    files of another kind found in a folder go to `Report.skipped`. Neither stops the rest.
    Raises NoInputError where there is nothing to correct, SetupError where `out` cannot be written, UsageError for
    options that the model refuses.
    """
    report = Report()
    check_writable(out)
    studies = find_studies(inputs, report)
    root = common_root(inputs)
    provenance = _provenance(translator, steps, samples, seed)
    total = sum(source.frames for study in studies for source in study)
    with Progress(total, "correcting", "slices") as progress:
        for sources in studies:
            study = _read(sources, root, out, translator, report, progress)
            if not study.series:
                continue
            started = time.perf_counter()
            try:
                counts = correct_study(
                    study, translator, steps=steps, samples=samples, seed=seed, on_slices=progress.step
                )
                report.seconds += time.perf_counter() - started
                report.written += write_corrected(study, counts, out, provenance=provenance)
            except (SetupError, UsageError):
                raise
            except SpectacError as reason:
                report.failed.append(str(reason))
                continue
            report.studies += 1
            report.slices += sum(map(len, counts))
    if not report.written and not report.failed:
        where, others = ", ".join(map(str, inputs)), len(report.skipped)
        raise NoInputError(f"{where}: expected NC slices here, found {others} DICOM files of other kinds.")
    return report


def check_writable(out: Path) -> None:
    """Raise SetupError if `out` is not, or cannot become, a folder to write to. Makes nothing."""
    nearest = next(folder for folder in (out, *out.absolute().parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise SetupError(f"{out}: expected a folder to write to, found that {nearest} is not a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise SetupError(f"{out}: expected a folder to write to, found that {nearest} does not allow it.")


def common_root(inputs: Sequence[Path]) -> Path:
    """The folder that output paths are kept relative to: the deepest one that holds all inputs."""
    folders = [str(path.absolute() if path.is_dir() else path.absolute().parent) for path in inputs]
    return Path(os.path.commonpath(folders))


def _files(inputs: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Every candidate once, with whether it was named; named ones first, so that naming a file wins over finding it."""
    seen: set[Path] = set()
    named = [(path.absolute(), True) for path in inputs if not path.is_dir()]
    found = ((path, False) for folder in inputs if folder.is_dir() for path in dicom_files(folder.absolute()))
    for path, explicit in (*named, *found):
        if path not in seen:
            seen.add(path)
            yield path, explicit


def _read(
    sources: Sequence[Source], root: Path, out: Path, translator: Translator, report: Report, progress: Progress
) -> Study:
    """The series of one study that can be corrected; the others go to `report` and leave the progress count."""
    series = []
    for source in sources:
        try:
            one = read_nc_series(source.path)
            check_geometry(one, translator.pixel_mm)
            target = output_path(one, root, out)
            if target in report.written or target in [output_path(other, root, out) for other in series]:
                raise InputError(
                    f"{source.path}: expected a name of its own, found that {target} is taken in this run."
                )
            series.append(one)
        except SpectacError as reason:
            _refuse(report, reason, source.named)
            progress.total -= source.frames
    return Study(tuple(series), root=root)


def _refuse(report: Report, reason: SpectacError, named: bool) -> None:
    skip = isinstance(reason, NotApplicableError) and not named
    (report.skipped if skip else report.failed).append(str(reason))


def _provenance(translator: Translator, steps: int | None, samples: int | None, seed: int) -> Provenance:
    chosen = {"steps": steps, "samples": samples, "seed": seed, "device": translator.device.type}
    settings = {key: value for key, value in chosen.items() if value is not None}
    return Provenance(translator.name, translator.weights_sha256, __version__, settings)
