"""Plane and phase read from free text, for files whose coded attributes do not say."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom.dataset import Dataset

from spectac_fast.formats.evidence import places


def plane_in(texts: Iterable[str]) -> str | None:
    """The plane that the first telling text names; a text that names two planes tells nothing."""
    return next(filter(None, map(places.plane_in, texts)), None)


def phase_in(texts: Iterable[str]) -> str | None:
    """The phase that the first telling text names."""
    return next(filter(None, map(places.phase_in, texts)), None)


def texts_of(ds: Dataset, path: Path) -> list[str]:
    """The texts that name a series, best first: its description, image ID and protocol, then file and folder name."""
    keywords = ("SeriesDescription", "ImageID", "ProtocolName")
    return [str(ds.get(keyword) or "") for keyword in keywords] + [path.stem, path.absolute().parent.name]
