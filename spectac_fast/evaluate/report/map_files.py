"""Attenuation maps among the files of a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spectac_fast.data.inputs import Found, Source
from spectac_fast.errors import SpectacError
from spectac_fast.formats.dicom.parse import parse, sentences
from spectac_fast.formats.dicom.read import stated_phase
from spectac_fast.formats.dicom.tomo.maps import AttenuationMap, read_map_files, reconstructed_map
from spectac_fast.formats.series import NOTHING, volume_ending


@dataclass(frozen=True, eq=False)
class ReportMap:
    """A map, the UID of its study, and its phase."""

    found: AttenuationMap
    study: str
    phase: str


def is_map(source: Source) -> bool:
    """Whether a file holds an attenuation map, as an NM object."""
    return _header(source) is not None


def maps_of(found: Found) -> list[ReportMap]:
    """The attenuation maps among the files that were found; one that cannot be used is a sentence among the skipped."""
    maps = []
    for source in (each for study in found.studies for each in study):
        ds = _header(source)
        if ds is None:
            continue
        try:
            phase, _ = stated_phase(ds, source.path, NOTHING)
            read = read_map_files([(source.path, source.contents()[0])])
            maps.append(ReportMap(read, str(ds.get("StudyInstanceUID") or ""), phase))
        except SpectacError as reason:
            found.skipped.append(str(reason))
    return maps


def _header(source: Source):
    if volume_ending(source.path) or source.slices:
        return None
    try:
        content = source.contents()[0]
        with sentences(Path(source.path)):
            ds = parse(source.path, content, stop_before_pixels=True)
            return ds if reconstructed_map(ds) else None
    except SpectacError:
        return None
