"""How deep a header nests, before anything that takes it for harmless walks through it."""

from __future__ import annotations

from pathlib import Path

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError

# Real headers nest four levels or so.
_DEEPEST = 16


def check_depth(ds: Dataset, path: Path, level: int = 0) -> None:
    """Refuse sequences within sequences without end: each level doubles the time that pydicom takes to fail on them."""
    if level > _DEEPEST:
        raise InputError(f"{path}: expected at most {_DEEPEST} sequences within each other, found more.")
    for tag in list(ds.keys()):
        vr = ds.get_item(tag).VR
        if vr in (None, "UN") and dictionary_has_tag(tag):
            vr = dictionary_VR(tag)
        if vr == "SQ":
            for item in ds[tag].value or ():
                check_depth(item, path, level + 1)
