"""Stored values and counts: one way in, one way out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.elements import code
from spectac_fast.formats.dicom.parse import uid_name

# With the limit for files (`parse`) this keeps reading below half a gibibyte: counts, 4 bytes each, are held twice.
MAX_VOXELS = 32 * 2**20

_READABLE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless)
_LARGEST = 65535


def stored_counts(ds: Dataset, path: Path) -> NDArray[np.float32]:
    """Stored values, float32 [frames, rows, columns] in stored order."""
    shape = tuple(int(ds.get(keyword) or 0) for keyword in ("NumberOfFrames", "Rows", "Columns"))
    shape = (shape[0] or 1, *shape[1:])
    bits, stored = int(ds.get("BitsAllocated") or 0), int(ds.get("BitsStored") or 0)
    if "PixelData" not in ds or not len(ds.PixelData or b""):
        raise InputError(f"{path}: expected Pixel Data, found none; the file may be truncated.")
    if min(shape) < 1 or bits not in (8, 16) or not 1 <= stored <= bits or ds.get("SamplesPerPixel", 1) != 1:
        raise InputError(
            f"{path}: expected one 8 or 16 bit sample per pixel, found {shape[0]} frames of {shape[1]} x {shape[2]} "
            f"with {bits} bits allocated and {stored} stored."
        )
    if str(ds.get("PhotometricInterpretation", "MONOCHROME2")) != "MONOCHROME2" or float(ds.get("RescaleIntercept", 0)):
        raise InputError(
            f"{path}: expected counts stored as MONOCHROME2 without intercept, found another representation."
        )
    needed = math.prod(shape) * bits // 8
    if math.prod(shape) > MAX_VOXELS:
        raise InputError(f"{path}: expected a heart study, found a claim of {needed / 2**20:.0f} MiB of pixels.")
    values = stored_values(ds, path, shape, bits)
    # Bits above the stored ones may hold an overlay; shifting up and down again drops them and keeps the sign.
    unused = bits - stored
    counts = ((values << unused) >> unused).astype(np.float32)
    if not (counts > 0).any():
        raise InputError(f"{path}: expected counts, found only zeros.")
    return counts


def stored_values(ds: Dataset, path: Path, shape: tuple[int, ...], bits: int) -> NDArray:
    """The stored pixels, integers of `shape` (frames, rows, columns), decompressed where they are not native."""
    syntax = ds.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if syntax not in _READABLE:
        found = uid_name(syntax, "an unknown transfer syntax")
        raise InputError(f"{path}: expected uncompressed or RLE pixels, found {found}.")
    dtype = np.dtype(f"<{'i' if ds.get('PixelRepresentation', 0) else 'u'}{bits // 8}")
    if syntax == RLELossless:
        return ds.pixel_array.reshape(shape).astype(dtype)
    needed = math.prod(shape) * dtype.itemsize
    if len(ds.PixelData) < needed:
        raise InputError(f"{path}: truncated, expected {needed} bytes of pixels, found {len(ds.PixelData)}.")
    return np.frombuffer(ds.PixelData, dtype, math.prod(shape)).reshape(shape)


def quantise(counts: NDArray, finest: float = 1.0) -> tuple[NDArray[np.uint16], float]:
    """Counts -> (uint16, slope) with counts ~ slope * uint16; the slope is `finest` wherever the counts fit.

    Counts that do not fit are not clipped: the slope becomes the smallest power of two with which they do, so that it
    is exact. Negative counts become 0. `finest` must be a power of two. Raises ValueError if a value is not finite.
    """
    counts = np.asarray(counts, np.float64)
    if not np.isfinite(counts).all():
        raise ValueError("counts must be finite, found NaN or infinity")
    top = float(counts.max(initial=0.0))
    fits = np.rint(top / finest) <= _LARGEST
    slope = finest if fits else 2.0 ** math.ceil(math.log2(top / (_LARGEST + 0.5)))
    return np.clip(np.rint(counts / slope), 0, _LARGEST).astype(np.uint16), slope


def map_values(ds: Dataset, slope: float, meaning: str) -> None:
    """Record that a stored value stands for `slope` counts, on top of whatever mapping the source already had.

    meaning: what the mapped values are, in words.
    """
    if "RescaleSlope" in ds:
        ds.RescaleSlope = f"{float(ds.RescaleSlope) * slope:.10g}"
    # A mapping by a table covers the source's values only; the new ones may lie anywhere.
    known = [item for item in ds.get("RealWorldValueMappingSequence") or () if "RealWorldValueSlope" in item]
    for item in known:
        item.RealWorldValueSlope = float(item.RealWorldValueSlope) * slope
    if not known:
        item = Dataset()
        item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, 0.0
        item.LUTExplanation, item.LUTLabel = meaning, "COUNTS"
        item.MeasurementUnitsCodeSequence = [code("UCUM", "{counts}", "Counts")]
        known = [item]
    for item in known:
        item.add_new("RealWorldValueFirstValueMapped", "US", 0)
        item.add_new("RealWorldValueLastValueMapped", "US", _LARGEST)
    ds.RealWorldValueMappingSequence = known
