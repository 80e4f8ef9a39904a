"""`spectac info`: versions, devices and models, or what one file, folder or model holds. Never an identity."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags

if TYPE_CHECKING:
    from spectac_fast.formats.series import Series, Told
    from spectac_fast.models.translator import Translator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "subject", nargs="?", metavar="FILE|MODEL", help="a DICOM, NIfTI or npy file, a folder of DICOM, or a model"
    )
    _flags.add_device(parser)
    _flags.add_told(parser, "what `correct` would take them for")


def run(args: argparse.Namespace) -> int:
    if args.subject is None:
        lines = _surroundings()
    elif Path(args.subject).exists() and Path(args.subject).suffix not in (".safetensors", ".json"):
        lines = _contents(Path(args.subject), _flags.told(args))
    else:
        lines = _model(args.subject, args.device)
    print("\n".join(lines))
    return 0


def _surroundings() -> Iterable[str]:
    import platform

    import torch

    from spectac_fast.errors import SpectacError
    from spectac_fast.models.registry import load, shipped
    from spectac_fast.ops.availability import availability

    yield availability()
    yield ""
    yield f"Python {platform.python_version()}, {torch.get_num_threads()} CPU threads"
    for k in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(k)
        yield f"cuda:{k}: {card.name}, {card.total_memory / 2**30:.0f} GiB"
    yield ""
    for name in shipped():
        try:
            yield _headline(load(name, device="cpu"))
        except SpectacError as reason:
            yield f"model {name}: {reason}"
    yield ""
    yield "Research software, not a medical device."


def _contents(path: Path, told: Told) -> Iterable[str]:
    from spectac_fast.data.study import dicom_files
    from spectac_fast.errors import InputError, NoInputError
    from spectac_fast.formats.dicom import file_content, read_series
    from spectac_fast.formats.series import volume_ending
    from spectac_fast.formats.volumes import read_volume

    logging.basicConfig(format="spectac: %(message)s", level=logging.WARNING)
    if path.is_file() and volume_ending(path):
        yield _describe(path, read_volume(path, file_content(path), told, force=True))
        return
    files = dicom_files(path) if path.is_dir() else [path]
    if not files:
        raise NoInputError(f"{path}: expected DICOM files here, found none.")
    for file in files:
        try:
            yield _describe(file, read_series(file))
        except InputError as reason:
            if not path.is_dir():
                raise
            yield str(reason)


def _describe(file: Path, series: Series) -> str:
    slices, rows, columns = series.counts.shape
    kind = "AC" if series.attenuation_corrected else "NC"
    return (
        f"{file}: {kind} {series.phase} {series.plane}, {slices} slices of {rows} x {columns}, "
        f"pixels {series.pixel_mm[0]:g} x {series.pixel_mm[1]:g} mm, slices {series.slice_mm:g} mm apart, "
        f"counts {series.counts.min():g} to {series.counts.max():g}, sum {series.counts.sum(dtype=float):.4g}"
    )


def _model(name: str, device: str) -> Iterable[str]:
    from spectac_fast import load

    translator = load(name, device=device)
    yield _headline(translator)
    for count, table in sorted(getattr(translator, "fitted", {}).items()):
        own = "the solver of its samples" if count == translator.defaults["sample_steps"] else "a solver"
        yield f"  fitted table of {count} evaluations, {own}: timesteps {', '.join(map(str, table.t))}"
    for key, value in translator.card.items():
        yield f"  {key}: {value}"


def _headline(translator: Translator) -> str:
    return (
        f"model {translator.name}: pixels of {translator.pixel_mm:g} mm, AC/NC gain {translator.gain:.3f}, "
        f"SHA-256 {translator.weights_sha256[:16]}"
    )
