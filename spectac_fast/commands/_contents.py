"""What files hold, in lines for people, and what would be done with them; never an identity."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.terms import PLANES

if TYPE_CHECKING:
    from spectac_fast.data.inputs import Source
    from spectac_fast.formats.series import Series, Told
    from spectac_fast.models.translator import Translator

_REFUSED = "would be refused"


def contents(path: Path, told: Told) -> Iterator[str]:
    """What a file, or every series in a folder, is, and what the default model would do with it."""
    from spectac_fast.data.inputs import find_studies
    from spectac_fast.data.settle import settled
    from spectac_fast.formats.dicom import file_content, read_series
    from spectac_fast.formats.series import volume_ending
    from spectac_fast.formats.volumes import read_volume

    if path.is_file() and volume_ending(path):
        yield from _described(settled([read_volume(path, file_content(path), told)]))
        return
    if path.is_file():
        yield from _described(settled([read_series(path, told=told)]))
        return
    found = find_studies([path], told)
    for study in found.studies:
        yield from described_study(study)
    yield from found.skipped + found.failed


def described_study(
    study: Sequence[Source],
    model: Translator | None = None,
    target: Callable[[Path], Path] | None = None,
    *,
    force: bool = False,
    refused: list[str] | None = None,
) -> Iterator[str]:
    """The same of the sources of one study.

    model: instead of the default one. target: where a source's result goes. force: named files of other kinds are
    corrected too. refused: gets a sentence for every series that would fail.
    """
    from spectac_fast.data.settle import settled
    from spectac_fast.errors import InputError, NotApplicableError

    series, refused = [], [] if refused is None else refused
    for source in study:
        try:
            series.append(_read(source))
        except NotApplicableError as reason:
            yield str(reason)
            refused += [str(reason)] if source.named else []
        except InputError as reason:
            yield str(reason)
            refused.append(str(reason))
    forced = {source.path for source in study if force and source.named}
    yield from _described(settled(series), model, target, forced, refused)


def _read(source: Source) -> Series:
    """A series, whatever its kind."""
    from spectac_fast.formats.dicom import read_series, read_single_frames
    from spectac_fast.formats.series import volume_ending
    from spectac_fast.formats.volumes import read_volume

    if volume_ending(source.path):
        series = read_volume(source.path, source.content(), source.told)
    elif source.slices:
        files = [(each.path, each.content()) for each in source.slices]
        series = read_single_frames(files, told=source.told)
    else:
        series = read_series(source.path, source.content(), told=source.told)
    return replace(series, notes=(*source.notes, *series.notes))


def _described(
    found: Sequence[Series],
    model: Translator | None = None,
    target: Callable[[Path], Path] | None = None,
    forced: Collection[Path] = (),
    refused: list[str] | None = None,
) -> Iterator[str]:
    """What series are, what would be done with them, why, and what was assumed of them."""
    from spectac_fast.data.facts import facts_of_series
    from spectac_fast.models.translator import facts_of

    for series, known in zip(found, facts_of_series(found)):
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
        where = f", into {target(series.path)}" if target is not None else ""
        fate = "NC" if series.path in forced else kind
        told = list(_fate(series, fate, model or _default_model(), where, alone=len(planes) < len(PLANES)))
        yield from told
        if words := known.words(facts_of(model or _default_model())):
            yield f"  the model is told: {words}"
        if refused is not None and any(_REFUSED in line for line in told):
            refused.append(f"{series.path}:{told[0]}")
        yield from (f"  evidence: {clause}" for clause in series.evidence)
        yield from (f"  note: {note}" for note in series.notes)


def _fate(series: Series, kind: str, model: Translator, where: str, *, alone: bool) -> Iterator[str]:
    """What `model` would do with a series, and what its geometry costs.

    where: the result would go, in words. alone: without the other two planes.
    """
    from spectac_fast.correct.doubts.small_field import field_warnings
    from spectac_fast.data.geometry.field import field_of
    from spectac_fast.data.geometry.resample import check_geometry
    from spectac_fast.errors import InputError

    if kind != "NC":
        refused = "refused, and skipped in a folder, unless --kind nc or --kind ac says what it is"
        yield f"  would be {'left alone, as it is corrected already' if kind == 'AC' else refused}"
        return
    field = field_of(series)
    across = f"field of {field.across_mm:.0f} mm{', which ends within the patient' if field.ends_within else ''}"
    try:
        costs = [*check_geometry(series, model.pixel_mm), *field_warnings(series.path, field, model, alone=alone)]
    except InputError as reason:
        yield f"  {across}; {_REFUSED}: {reason}"
        return
    yield f"  {across}; would be corrected{where}"
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
