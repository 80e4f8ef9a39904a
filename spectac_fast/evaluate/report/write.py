"""A report on disk: the page, and on request its summary as PNG and as DICOM, and its numbers as DICOM."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectac_fast.errors import InputError, SetupError
from spectac_fast.evaluate.report.analysis import Phase, analyse
from spectac_fast.evaluate.report.forms.measured import comments_of, groups_of
from spectac_fast.evaluate.report.gather import needs_model, study_of
from spectac_fast.evaluate.report.map_files import ReportMap
from spectac_fast.evaluate.report.page import page
from spectac_fast.outputs import OWN, Kind, Permit, appearing, output_folder

if TYPE_CHECKING:
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator


def write_report(
    series: Sequence[Series],
    path: Path,
    *,
    model: Callable[[], Translator],
    title: str = "",
    geometry: Mapping[str, Mapping[str, Any]] | None = None,
    png: bool = False,
    dicom: bool = False,
    measurements: bool = False,
    colours: str = "warm",
    permit: Permit = OWN,
    maps: Sequence[ReportMap] = (),
) -> tuple[list[Path], list[Phase]]:
    """Write the report of one study.

    Args:
        series: all of the study, NC, corrected and others (`gather`).
        path: of the page; "{pseudonym}" in its name becomes the study's. Other files lie beside it.
        model: gives the model; it may be missing where a corrected series is at hand.
        title: head of the page; without one it shows the pseudonym.
        geometry: left ventricle set by hand, see `analysis.analyse`.
        png, dicom: also write the summary in these forms.
        measurements: also write its numbers as a DICOM structured report.
        colours: of perfusion, one of `figures.colours.TABLES`.
        permit: what may be replaced besides reports of this program.
        maps: attenuation maps (`map_files.maps_of`), of which those of this study are shown.

    Returns the files written, and what they say of each phase.
    Raises InputError for series without NC and corrected ones, and where DICOM is wanted of what is none; SetupError
    where the files cannot be written, UsageError where something else has their place.
    """
    study = study_of(series, _model_at_hand(series, model))
    phases = analyse(study, geometry)
    path = path.with_name(path.name.replace("{pseudonym}", study.pseudonym))
    output_folder(path.parent)
    beside = [(Kind.PICTURE, path.with_suffix(".png"))] if png else []
    beside += [(Kind.OBJECT, path.with_suffix(".dcm"))] if dicom else []
    beside += [(Kind.OBJECT, path.with_suffix(".sr.dcm"))] if measurements else []
    for kind, target in [(Kind.PAGE, path), *beside]:
        permit.check(target, kind)
    if study.header is None and (dicom or measurements):
        raise InputError(f"{series[0].path}: expected DICOM series for a report as DICOM, found another format.")
    groups = groups_of(study, phases) if measurements else []
    if measurements and not groups:
        raise InputError(f"{series[0].path}: expected a short-axis series to measure in, found none in this study.")
    mine = [one for one in maps if study.header is not None and one.study == str(study.header.StudyInstanceUID)]
    written = [_put(path, page(study, phases, title=title, colours=colours, maps=mine).encode())]
    if png or dicom:
        from spectac_fast.evaluate.report.forms.picture import summary_picture

        pixels, image = summary_picture(study, phases, title=title, colours=colours)
        if png:
            written.append(_put(path.with_suffix(".png"), image))
        if dicom:
            from spectac_fast.formats.dicom.summary.capture import write_capture

            target = path.with_suffix(".dcm")
            with _written(target):
                write_capture(series[0], pixels, target, annotated=bool(title))
            written.append(target)
    if measurements:
        from spectac_fast.formats.dicom.summary.structured import write_measurements

        target = path.with_suffix(".sr.dcm")
        with _written(target):
            write_measurements(groups, comments_of(study, phases), target)
        written.append(target)
    return written, phases


def _model_at_hand(series: Sequence[Series], model: Callable[[], Translator]) -> Translator | None:
    try:
        return model()
    except SetupError:
        if needs_model(series):
            raise
        return None


def read_geometry(path: Path) -> dict[str, dict[str, Any]]:
    """A left ventricle set by hand, {phase: {field: value}}; InputError for a file that is no such thing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected JSON with a ventricle for each phase, found {error}.") from None
    if not isinstance(content, dict) or not all(
        phase in ("stress", "rest") and isinstance(fields, dict) for phase, fields in content.items()
    ):
        raise InputError(f'{path}: expected {{"stress": {{...}}, "rest": {{...}}}}, found something else.')
    return content


def _put(path: Path, content: bytes) -> Path:
    with _written(path), appearing(path) as part:
        part.write_bytes(content)
    return path


@contextmanager
def _written(path: Path) -> Iterator[None]:
    """Say in a sentence why a file cannot be written."""
    try:
        yield
    except OSError as error:
        raise SetupError(f"{path}: cannot be written here ({error.strerror}).") from None
