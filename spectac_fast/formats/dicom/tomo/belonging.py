"""Which attenuation map belongs to which projections, by their headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spectac_fast.errors import SpectacError
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE
from spectac_fast.formats.dicom.parse import parse, sentences
from spectac_fast.formats.dicom.patient import identity
from spectac_fast.formats.dicom.tomo.maps import CT_IMAGE_STORAGE, reconstructed_map
from spectac_fast.formats.names import phase_in, texts_of
from spectac_fast.formats.series import Told

# Of a reconstruction's own attenuation maps: nobody measured them.
_OWN = "spectac_fast reconstruct"


@dataclass(frozen=True)
class Belonging:
    """What a file is and what it belongs to. kind: "CT" or "NM" for a part of an attenuation map, "" for anything else.

    series, study, frame: UIDs of its series, its study and its frame of reference, "" where it tells none. patient:
    `patient.identity`. phase: "stress", "rest" or "" by its names.
    """

    kind: str
    series: str
    study: str
    frame: str
    patient: str
    phase: str

    def fits(self, other: Belonging) -> bool:
        """Whether another file may be of the same patient and of the same study or frame of reference."""
        someone_else = self.patient and other.patient and self.patient != other.patient
        return not someone_else and bool(self._same_frame(other) or (self.study and self.study == other.study))

    def _same_frame(self, other: Belonging) -> bool:
        return bool(self.frame) and self.frame == other.frame


def belonging_of(path: Path, content: bytes, told: Told) -> Belonging | None:
    """What a file belongs to, None for a damaged one. told: the phase of projections, where the user says it."""
    try:
        with sentences(path):
            ds = parse(path, content, stop_before_pixels=True)
            made = {str(item.get("ManufacturerModelName")) for item in ds.get("ContributingEquipmentSequence") or ()}
            kind = {CT_IMAGE_STORAGE: "CT", NM_IMAGE_STORAGE: "NM"}.get(str(ds.get("SOPClassUID", "")), "")
            if kind == "NM" and (not reconstructed_map(ds) or _OWN in made):
                kind = ""
            series, study, frame = (
                str(ds.get(keyword) or "")
                for keyword in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
            )
            phase = phase_in(texts_of(ds, path)) or ""
            return Belonging(kind, series, study, frame, identity(ds), (not kind and told.phase) or phase)
    except SpectacError:
        return None


def best(maps: Sequence[Belonging], of: Belonging) -> list[int]:
    """The places of the maps that projections may mean, more than one only where nothing tells which.

    One in their frame of reference comes before one of their study, an NM map, which lies as the camera's images do,
    before a CT, and one whose names tell the same phase before others.
    """
    found = [k for k, each in enumerate(maps) if each.fits(of)]
    for better in (
        lambda each: each.frame and each.frame == of.frame,
        lambda each: each.kind == "NM",
        lambda each: of.phase and each.phase == of.phase,
        lambda each: each.phase in ("", of.phase),
    ):
        found = [k for k in found if better(maps[k])] or found
    return found
