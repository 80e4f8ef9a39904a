"""`spectac info`: versions, devices and models, or what one file, folder or model holds. Never an identity."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.terminal import log_to_stderr, say
from spectac_fast.terms import PLANES

if TYPE_CHECKING:
    from spectac_fast.data.inputs import Source
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
    say(*lines)
    return 0


def _surroundings() -> Iterable[str]:
    import platform

    import torch

    from spectac_fast.errors import SpectacError
    from spectac_fast.models.registry import load, shipped
    from spectac_fast.ops.availability import availability

    yield from availability().splitlines()
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
    from spectac_fast.data.inputs import find_studies
    from spectac_fast.data.settle import settled
    from spectac_fast.errors import InputError
    from spectac_fast.formats.dicom import file_content, read_series
    from spectac_fast.formats.series import volume_ending
    from spectac_fast.formats.volumes import read_volume

    log_to_stderr("spectac: %(message)s")
    if path.is_file() and volume_ending(path):
        yield from _described(settled([read_volume(path, file_content(path), told)]))
        return
    if path.is_file():
        yield from _described(settled([read_series(path, told=told)]))
        return
    found = find_studies([path], told)
    for study in found.studies:
        series = []
        for source in study:
            try:
                series.append(_read(source))
            except InputError as reason:
                yield str(reason)
        yield from _described(settled(series))
    yield from found.skipped + found.failed


def _read(source: Source) -> Series:
    """A series, whatever its kind."""
    from spectac_fast.formats.dicom import read_series, read_single_frames

    if source.slices:
        files = [(each.path, each.content()) for each in source.slices]
        series = read_single_frames(files, told=source.told)
    else:
        series = read_series(source.path, source.content(), told=source.told)
    return replace(series, notes=(*source.notes, *series.notes))


def _described(found: Sequence[Series]) -> Iterable[str]:
    """What series are, what would be done with them, why, and what was assumed of them."""
    for series in found:
        slices, rows, columns = series.counts.shape
        kind = "NC or AC" if series.doubt else "AC" if series.attenuation_corrected else "NC"
        yield (
            f"{series.path}: {kind} {series.phase} {series.plane}, {slices} slices of {rows} x {columns}, "
            f"pixels {series.pixel_mm[0]:g} x {series.pixel_mm[1]:g} mm, slices {abs(series.slice_mm):g} mm apart, "
            f"counts {series.counts.min():g} to {series.counts.max():g}, sum {series.counts.sum(dtype=float):.4g}"
        )
        if how := ", ".join(filter(None, (*_lying(series), *_stored(series)))):
            yield f"  {how}"
        planes = {other.plane for other in found if other.phase == series.phase}
        yield from _fate(series, kind, alone=len(planes) < len(PLANES))
        yield from (f"  evidence: {clause}" for clause in series.evidence)
        yield from (f"  note: {note}" for note in series.notes)


def _fate(series: Series, kind: str, *, alone: bool) -> Iterable[str]:
    """What would be done with a series, by the default model, and what its geometry costs.

    alone: without the other two planes.
    """
    from spectac_fast.correct.small_field import field_warnings
    from spectac_fast.data.geometry.field import field_of
    from spectac_fast.data.geometry.resample import check_geometry
    from spectac_fast.errors import InputError

    if kind != "NC":
        refused = "refused, and skipped in a folder, unless --kind nc or --kind ac says what it is"
        yield f"  would be {'left alone, as it is corrected already' if kind == 'AC' else refused}"
        return
    field, model = field_of(series), _default_model()
    across = f"field of {field.across_mm:.0f} mm{', which ends within the patient' if field.ends_within else ''}"
    try:
        costs = [*check_geometry(series, model.pixel_mm), *field_warnings(series.path, field, model, alone=alone)]
    except InputError as reason:
        yield f"  {across}; would be refused: {reason}"
        return
    yield f"  {across}; would be corrected"
    yield from (f"  note: {cost}" for cost in costs)


@functools.cache
def _default_model() -> Translator:
    from spectac_fast.models.registry import load

    return load("bbdm", "cpu")


def _lying(series: Series) -> tuple[str, ...]:
    """How the patient lay, where the header says it."""
    from spectac_fast.formats.dicom.patient import lying

    posture = lying(series.header) if series.header is not None else ("", "")
    return (" ".join(("patient", ", ".join(filter(None, posture)))),) if any(posture) else ()


def _stored(series: Series) -> tuple[str, ...]:
    """How the file stores the slices, where it is not as they are shown."""
    names = ("slices", "rows", "columns")
    said = []
    if series.turn.axes != (0, 1, 2):
        said.append(f"stored in the order {', '.join(names[series.turn.axes.index(k)] for k in range(3))}")
    if any(series.turn.flips):
        said.append(f"{' and '.join(name for name, flip in zip(names, series.turn.flips) if flip)} stored in reverse")
    return tuple(said)


def _model(name: str, device: str) -> Iterable[str]:
    from spectac_fast import load

    translator = load(name, device=device)
    yield _headline(translator)
    for count, table in sorted(getattr(translator, "fitted", {}).items()):
        own = "the solver of its samples" if count == translator.defaults["sample_steps"] else "a solver"
        yield f"  fitted table of {count} evaluations, {own}: timesteps {', '.join(map(str, table.t))}"
    yield from _settings(name, set(translator.card.get("origin", {}).get("assumed", ())))
    for key, value in translator.card.items():
        if key != "origin":
            yield f"  {key}: {value}"


def _settings(name: str, assumed: set[str]) -> Iterable[str]:
    """What a weight file says of its model, a line for each part, and what of that its import had to assume."""
    from spectac_fast.checkpoints.settings import named
    from spectac_fast.checkpoints.weights import load_header
    from spectac_fast.models.registry import find

    path = find(name)
    if path.suffix != ".safetensors":
        return
    parts: dict[str, list[str]] = {}
    for key, value in named(load_header(path)["config"]).items():
        part, dot, rest = key.partition(".")
        if part != "fitted":
            said = f"{rest if dot else key} {json.dumps(value)}{' (assumed)' if key in assumed else ''}"
            parts.setdefault(part if dot else "as a whole", []).append(said)
    for part, said in parts.items():
        yield f"  {part}: {', '.join(said)}"


def _headline(translator: Translator) -> str:
    return (
        f"model {translator.name}: pixels of {translator.pixel_mm:g} mm, AC/NC gain {translator.gain:.3f}, "
        f"SHA-256 {translator.weights_sha256[:16]}"
    )
