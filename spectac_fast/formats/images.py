"""One file of counts as a stack, for pairs of one's own: npy, or a 16-bit PNG or TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError
from spectac_fast.formats.damage import damaged

ENDINGS = (".npy", ".png", ".tif", ".tiff")
# Greyscale of 16 bits, which Pillow calls I in older versions, of 32 bits, and of single precision.
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_SHALLOW_MODES = ("1", "L", "LA", "P", "PA")
# What 8 bits are multiplied by to look like 16.
_WIDENED = (256, 257)


def read_counts(path: Path) -> NDArray[np.float32]:
    """The counts of a file, float32 [slices, rows, columns].

    npy: real numbers [slices, rows, columns] or [rows, columns]. PNG, TIFF: greyscale of 16 or 32 bits, or single
    precision; every page of a TIFF is a slice. Raises InputError for a damaged file, one of another kind, 8-bit data,
    counts that are not finite or below zero.
    """
    with damaged(path, path.suffix.lower()[1:]):
        values = _array(path) if path.suffix.lower() == ".npy" else _image(path)
    if values.ndim not in (2, 3) or 0 in values.shape:
        found = " x ".join(map(str, values.shape)) or "a single number"
        raise InputError(f"{path}: expected [slices, rows, columns] or [rows, columns], found {found}.")
    if values.dtype.kind not in "uif":
        raise InputError(f"{path}: expected real numbers, found {values.dtype}.")
    if values.dtype.itemsize == 1:
        raise _too_few_levels(path, f"8-bit numbers ({values.dtype})")
    if (factor := _widening(values)) is not None:
        raise _too_few_levels(path, f"only multiples of {factor}, which is 8-bit data in 16 bits")
    if not np.isfinite(values).all():
        raise InputError(f"{path}: expected finite counts, found NaN or infinity.")
    if values.min() < 0:
        raise InputError(f"{path}: expected counts of at least zero, found {values.min():g}.")
    with np.errstate(over="ignore"):
        counts = values.astype(np.float32)
    if not np.isfinite(counts).all():
        raise InputError(f"{path}: expected counts of single precision, found {values.max():g}.")
    return counts if counts.ndim == 3 else counts[None]


def _array(path: Path) -> NDArray[Any]:
    return np.load(path, allow_pickle=False)


def _image(path: Path) -> NDArray[Any]:
    from PIL import Image, ImageSequence

    pages = []
    with Image.open(path, formats=("PNG", "TIFF")) as image:
        for page in ImageSequence.Iterator(image):
            if page.mode in _SHALLOW_MODES:
                raise _too_few_levels(path, f"an 8-bit image (mode {page.mode})")
            if page.mode not in _DEEP_MODES:
                raise InputError(f"{path}: expected a 16-bit greyscale image, found colour (mode {page.mode}).")
            pages.append(np.array(page))
    return np.stack(pages)


def _widening(values: NDArray[Any]) -> int | None:
    """The factor that 8-bit data were multiplied by; None for counts."""
    if values.dtype.kind == "f" or values.max() <= max(_WIDENED):
        return None
    return next((factor for factor in _WIDENED if not (values % factor).any()), None)


def _too_few_levels(path: Path, found: str) -> InputError:
    return InputError(
        f"{path}: expected 16-bit counts, found {found}: counts do not fit into 256 levels; save them as 16-bit or npy."
    )
