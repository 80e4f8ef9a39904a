"""Plane, phase and correction read from free text, for files whose coded attributes do not say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

# A term counts where no letter touches it, so "IRNCG_SA001" is SA and "NASAL" is not.
_PLANES = {
    "SA": r"SA|SAX|SHORT[ _-]*(AXIS|AX)",
    "VLA": r"VLA|VERT(ICAL)?[ _-]*LONG([ _-]*(AXIS|AX))?",
    "HLA": r"HLA|HORIZ(ONTAL)?[ _-]*LONG([ _-]*(AXIS|AX))?",
}
_PHASES = {
    "stress": r"STRESS|STRS|STR|EXERCISE|ADENOSINE|REGADENOSON|DIPYRIDAMOLE|DOBUTAMINE",
    "rest": r"REST|RST|RESTING",
}
# GE writes IRNC and IRAC (iterative without or with AC), then SC for scatter and RR for resolution recovery.
_NOT_CORRECTED = r"(IR|FBP)?(NC|NAC)(SC)?(RR)?G?|NO[ _-]?AC|NON[ _-]?AC|UNCORRECTED"
_CORRECTED = r"(IR|FBP|CT)?AC(SC)?(RR)?G?|DL-AC|ATTN|ATTENUATION[ _-]*CORRECTED"


def plane_in(texts: Iterable[str]) -> str | None:
    """The plane that the first telling text names; a text that names two planes tells nothing."""
    return _first(texts, _PLANES)


def phase_in(texts: Iterable[str]) -> str | None:
    """The phase that the first telling text names."""
    return _first(texts, _PHASES)


def corrected_in(texts: Iterable[str]) -> bool:
    """Whether the first telling text says that attenuation was corrected; False where none tells."""
    for text in map(_words, texts):
        without = re.sub(_whole(_NOT_CORRECTED), " ", text)
        if re.search(_whole(_CORRECTED), without):
            return True
        if without != text:
            return False
    return False


def without_terms(text: str) -> str:
    """A name without the words that tell plane and phase, in capital letters."""
    for pattern in (*_PLANES.values(), *_PHASES.values()):
        text = re.sub(_whole(pattern), "", _words(text))
    return text


def texts_of(ds: Dataset, path: Path) -> list[str]:
    """The texts that name a series, best first: its description, image ID and protocol, then file and folder name."""
    keywords = ("SeriesDescription", "ImageID", "ProtocolName")
    return [str(ds.get(keyword) or "") for keyword in keywords] + [path.stem, path.absolute().parent.name]


def _first(texts: Iterable[str], terms: dict[str, str]) -> str | None:
    for text in map(_words, texts):
        found = [name for name, pattern in terms.items() if re.search(_whole(pattern), text)]
        if len(found) == 1:
            return found[0]
    return None


def _whole(pattern: str) -> str:
    return f"(?<![A-Z])({pattern})(?![A-Z])"


def _words(text: str) -> str:
    # "ReconRest" holds two words.
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).upper()
