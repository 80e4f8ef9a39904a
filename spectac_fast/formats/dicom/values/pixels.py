"""The pixel element of a data set -> stored values, integers or floating point, compressed by run lengths or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.parse import uid_name
from spectac_fast.formats.dicom.values.padding import float_padding_of
from spectac_fast.formats.dicom.values.words import values_of

# With the limit for files (`parse`) this keeps reading below half a gibibyte: counts, 4 bytes each, are held twice.
MAX_VOXELS = 32 * 2**20

# Element -> bits of one sample.
PIXEL_ELEMENTS = {"PixelData": (8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}
_READABLE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless)


@dataclass(frozen=True, eq=False)
class Stored:
    """values: [frames, rows, columns] in stored order, before any slope. padded: which of them are padding, or None.

    notes: sentences on what was assumed about them.
    """

    values: NDArray
    padded: NDArray[np.bool_] | None
    notes: tuple[str, ...]


def stored_pixels(ds: Dataset, path: Path) -> Stored:
    """The stored values of a data set; raises InputError for pixels that are not there, not whole or not counts."""
    there = [keyword for keyword in PIXEL_ELEMENTS if len(ds.get(keyword) or b"")]
    if not there:
        raise InputError(f"{path}: expected Pixel Data, found none; the file may be truncated.")
    if len(there) > 1:
        raise InputError(f"{path}: expected pixels in one element, found {' and '.join(there)}.")
    keyword = there[0]
    shape = _shape(ds, keyword, path)
    syntax = ds.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if syntax not in _READABLE or (syntax == RLELossless and keyword != "PixelData"):
        found = uid_name(syntax, "an unknown transfer syntax")
        raise InputError(f"{path}: expected little-endian pixels, uncompressed or RLE, found {found}.")
    size = int(ds.BitsAllocated) // 8
    if keyword == "PixelData":
        dtype = np.dtype(f"<u{size}")
        words = _decompressed(ds, dtype) if syntax == RLELossless else np.frombuffer(_even(ds.PixelData, size), dtype)
        return Stored(*values_of(ds, _whole(words, shape, path), path))
    dtype = np.dtype(f"<f{size}")
    values = _whole(np.frombuffer(_even(ds[keyword].value, size), dtype), shape, path)
    padding = float_padding_of(ds, dtype)
    padded = padding.holds(values) if padding else None
    return Stored(values, padded if padded is not None and padded.any() else None, ())


def _shape(ds: Dataset, keyword: str, path: Path) -> tuple[int, int, int]:
    frames, rows, columns = (int(ds.get(each) or 0) for each in ("NumberOfFrames", "Rows", "Columns"))
    shape = (frames or 1, rows, columns)
    bits, stored = int(ds.get("BitsAllocated") or 0), int(ds.get("BitsStored") or 0)
    possible = 1 <= stored <= bits or keyword != "PixelData"
    if min(shape) < 1 or bits not in PIXEL_ELEMENTS[keyword] or not possible or ds.get("SamplesPerPixel", 1) != 1:
        one = "one 8 or 16 bit sample per pixel, or 32" if keyword == "PixelData" else f"{keyword} of its usual bits"
        raise InputError(
            f"{path}: expected {one}, found {shape[0]} frames of {rows} x {columns} with {bits} bits allocated and "
            f"{stored} stored."
        )
    if str(ds.get("PhotometricInterpretation", "MONOCHROME2")) != "MONOCHROME2":
        raise InputError(f"{path}: expected counts stored as MONOCHROME2, found another representation.")
    if math.prod(shape) > MAX_VOXELS:
        claimed = math.prod(shape) * bits / 8 / 2**20
        raise InputError(f"{path}: expected a heart study, found a claim of {claimed:.0f} MiB of pixels.")
    return shape


def _decompressed(ds: Dataset, dtype: np.dtype) -> NDArray:
    # As bytes: arrays have the bits above BitsStored cut off, which may tell padding or be wanted.
    content, _ = get_decoder(RLELossless).as_buffer(ds)
    return np.frombuffer(_even(content, dtype.itemsize), dtype)


def _even(content: bytes | bytearray | memoryview, size: int) -> memoryview:
    """As much of the bytes as are whole samples."""
    return memoryview(content)[: len(content) // size * size]


def _whole(samples: NDArray, shape: tuple[int, int, int], path: Path) -> NDArray:
    """The samples of all frames; InputError where there are fewer, or more by a frame."""
    needed, there = math.prod(shape) * samples.itemsize, samples.nbytes
    if there < needed:
        raise InputError(f"{path}: truncated, expected {needed} bytes of pixels, found {there}.")
    if there - needed >= needed // shape[0]:
        raise InputError(f"{path}: expected pixels of {shape[0]} frames, found {there * shape[0] // needed}.")
    return samples[: math.prod(shape)].reshape(shape)
