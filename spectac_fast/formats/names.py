"""Plane and phase read from free text, for files whose coded attributes do not say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from spectac_fast.formats.evidence import places
from spectac_fast.formats.evidence.tokens import plain

SUPINE = "supine"
_POSTURES = {
    "prone": (
        r"\w*PRONE\w*|PRON(?:O|A|US|ADA)|PROON|BAUCH(?:LAGE|LIEGEND)?|PROCUBITUS|DECUBIT\w+[ _-]*VENTRALE?|BUIKLIG\w*"
        r"|MAGELEJE|BUKLAGE|MAGELEIE|BRZUCHU?|НА[ _-]*ЖИВОТЕ|NA[ _-]*BRISE|HASON|YUZUSTU",
        r"腹臥位|伏臥位|うつ伏せ|俯卧|俯臥|엎드린|복와위",
    ),
    SUPINE: (
        r"SUPIN(?:E|O|A|US)|RUECKENLAGE|RUCKENLAGE|DECUBIT\w+[ _-]*DORSALE?|RUGLIG\w*|RYGLEJE|RYGGLAGE|НА[ _-]*СПИНЕ",
        r"仰臥位|背臥位|仰卧|앙와위",
    ),
}


def plane_in(texts: Iterable[str]) -> str | None:
    """The plane that the first telling text names; a text that names two planes tells nothing."""
    return next(filter(None, map(places.plane_in, texts)), None)


def phase_in(texts: Iterable[str]) -> str | None:
    """The phase that the first telling text names."""
    return next(filter(None, map(places.phase_in, texts)), None)


def lying_in(texts: Iterable[str]) -> str:
    """How the first telling text says that the patient lay, "" where none tells."""
    for text in map(plain, texts):
        # A term counts where no letter touches it.
        found = [
            how
            for how, (term, ideographs) in _POSTURES.items()
            if re.search(rf"(?<![^\W\d_])({term})(?![^\W\d_])", text) or re.search(ideographs, text)
        ]
        if len(found) == 1:
            return found[0]
    return ""


def posture_note(posture: str) -> tuple[str, ...]:
    """A sentence for a patient who did not lie supine, as all of a model's training did."""
    if posture in ("", SUPINE):
        return ()
    how = "was imaged upright" if posture == "upright" else f"lay {posture}"
    return (f"the patient {how}; models were trained mostly on supine patients, whose attenuation differs.",)


def texts_of(ds: Dataset, path: Path) -> list[str]:
    """The texts that name a series, best first: its description, image ID and protocol, then file and folder name."""
    keywords = ("SeriesDescription", "ImageID", "ProtocolName")
    return [str(ds.get(keyword) or "") for keyword in keywords] + [path.stem, path.absolute().parent.name]
