"""Stress or rest: from codes, from what the series calls itself, and only then from the study."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from spectac_fast.formats.evidence.header import place_of, private_elements, series_texts, texts_of, values_of
from spectac_fast.formats.evidence.places import phase_in
from spectac_fast.formats.evidence.tokens import tokens
from spectac_fast.formats.evidence.vocabulary import units_of

_STUDY_KEYWORDS = ("StudyDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription")
# Vendors' own elements that state it (ADAC and Philips; pydicom's private dictionary).
_CARDIAC_STATE = (0x7043, 0x00)
# What a series may be called without a word that could tell its phase in a language not known here.
_NEUTRAL = re.compile(
    r"(?:SHORT|LONG|AXIS|AX|VERT\w*|HORI?Z\w*|CARDIAC|HEART|MYO\w*|MPI|MPS|SPECT|RECON\w*|SLICES?|IMAGES?|SERIES|NON|NO"
    r"|WITHOUT|TC|MIBI|SESTAMIBI|TETRO\w*|TL|SUPINE|PRONE|UNTITLED|RESULTS?|VOLUMETRIX|MI|EM|NM|DL|\d+)\Z"
)


@dataclass(frozen=True)
class Phase:
    """phase: "stress", "rest", or None where nothing tells. clause: why.

    assumed: to be said to the user: names contradict the code, or nothing but the study's description tells, which is
    about the whole study.
    """

    phase: str | None
    clause: str
    assumed: bool = False


def phase_of(ds: Dataset, path: Path, coded: str | None) -> Phase:
    """The phase of a series. coded: what its Patient State code says, None where there is none."""
    own = _first(_own_texts(ds, path))
    if coded and own and own[1] != coded and own[0] not in ("file name", "folder name"):
        return Phase(coded, f"its Patient State says {coded}, but its {own[0]} {own[1]}", assumed=True)
    if coded:
        return Phase(coded, f"its Patient State says {coded}")
    if own:
        return Phase(own[1], f"its {own[0]} says {own[1]}")
    study = _first([(keyword, str(text)) for keyword in _STUDY_KEYWORDS for text in values_of(ds, keyword)])
    if study and not _unknown_words(ds):
        return Phase(study[1], f"nothing but its {study[0]} says {study[1]}", assumed=True)
    return Phase(None, "nothing about the series says stress or rest")


def _own_texts(ds: Dataset, path: Path) -> list[tuple[str, str]]:
    texts = series_texts(ds)
    states = [element for element, _ in private_elements(ds) if place_of(element.tag) == _CARDIAC_STATE]
    texts += [("cardiac state", text) for element in states for text in texts_of(element)]
    texts += [("Protocol Name", str(text)) for text in values_of(ds, "ProtocolName")]
    return [*texts, ("file name", path.stem), ("folder name", path.absolute().parent.name)]


def _first(texts: list[tuple[str, str]]) -> tuple[str, str] | None:
    return next(((name, phase) for name, text in texts if (phase := phase_in(text))), None)


def _unknown_words(ds: Dataset) -> bool:
    """Whether a series is called something that might be its phase in a language not known here."""
    texts = [str(text) for keyword in ("SeriesDescription", "ImageID") for text in values_of(ds, keyword)]
    words = [word for text in texts for word in tokens(text) if re.match(r"\w", word)]
    return not all(_NEUTRAL.match(word) or units_of(word) for word in words)
