"""What names of files and folders say of NIfTI pairs: whose they are, and their phase, plane and kind."""

from __future__ import annotations

from pathlib import Path

from spectac_fast.formats.evidence.places import phase_in, plane_in, without_places
from spectac_fast.formats.evidence.tokens import tokens
from spectac_fast.formats.evidence.vocabulary import WITHOUT
from spectac_fast.formats.evidence.words import correction_in
from spectac_fast.formats.series import Told, volume_ending


def told_by(path: Path, folder: Path) -> Told:
    """What the path of a file below `folder` says of it: the name of the file first, then its folders, inner ones
    first. A kind is told by folders alone, since the name of a file is evidence that is weighed.
    """
    texts = _texts(path, folder)
    plane = next(filter(None, map(plane_in, texts)), None)
    phase = next(filter(None, map(phase_in, texts)), None)
    return Told(plane, phase, kind=None if correction_in(texts[0]) else folder_kind(path, folder))


def folder_kind(path: Path, folder: Path) -> str | None:
    """What a folder on the way to a file says of its kind, the innermost that says "NC" or "AC"; else None."""
    said = (correction_in(text) for text in _texts(path, folder)[1:])
    return next((each.kind for each in said if each and each.kind != "both"), None)


def patient_of(path: Path, folder: Path) -> str:
    """What is left of a path below `folder` without what tells phase, plane and kind: the same for all of a patient's
    files.
    """
    parts = (_without_kind(without_places(text)) for text in reversed(_texts(path, folder)))
    return "/".join(filter(None, parts))


def _texts(path: Path, folder: Path) -> list[str]:
    inside = path.relative_to(folder)
    return [inside.name[: -len(volume_ending(path)) or None], *reversed(inside.parent.parts)]


def _without_kind(text: str) -> str:
    words = [word for word in tokens(text) if word.isalnum()]
    told = {k for k, word in enumerate(words) if correction_in(word)}
    told |= {k for k in range(len(words) - 1) if k + 1 in told and WITHOUT.match(words[k])}
    return " ".join(word for k, word in enumerate(words) if k not in told)
