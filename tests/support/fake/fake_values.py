"""Stored values of every kind in otherwise sound files, and what any reader makes of a file's values."""

import numpy as np
import pydicom
from fake_study import edit, heart, write_nc
from pydicom.dataset import Dataset

LIMITS = ("SmallestImagePixelValue", "LargestImagePixelValue")
ELEMENTS = {"<f4": ("FloatPixelData", "OF"), "<f8": ("DoubleFloatPixelData", "OD")}


def store(ds, values, dtype="<u2", *, stored=None, high=None, signed=None):
    """Put values [frames, rows, columns] into a data set as numbers of a type; all that described others goes."""
    dtype = np.dtype(dtype)
    for keyword in (*LIMITS, "PixelData"):
        if keyword in ds:
            del ds[keyword]
    ds.BitsAllocated = 8 * dtype.itemsize
    ds.NumberOfFrames, ds.Rows, ds.Columns = values.shape
    words = np.asarray(values).astype(dtype).tobytes()
    if dtype.kind == "f":
        for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
            del ds[keyword]
        keyword, vr = ELEMENTS[dtype.str]
        ds.add_new(keyword, vr, words)
        return
    ds.BitsStored = stored or ds.BitsAllocated
    ds.HighBit = ds.BitsStored - 1 if high is None else high
    ds.PixelRepresentation = int(dtype.kind == "i" if signed is None else signed)
    ds.add_new("PixelData", "OW", words)


def real_world(slope=None, intercept=0.0, *, first=0, last=65535, unit=None, table=None, vr="US"):
    """An item of the Real World Value Mapping Sequence."""
    item = Dataset()
    if slope is not None:
        item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    if table is not None:
        item.RealWorldValueLUTData = [float(value) for value in table]
    item.add_new("RealWorldValueFirstValueMapped", vr, first)
    item.add_new("RealWorldValueLastValueMapped", vr, last)
    item.LUTExplanation, item.LUTLabel = "as it was", "OLD"
    if unit is not None:
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", unit
        item.MeasurementUnitsCodeSequence = [code]
    return item


def smooth(rng, peak=900.0, shape=(12, 32, 32)):
    """Whole counts of a heart without noise, 0 at the edges, `peak` at its hottest."""
    counts = heart(rng, shape, peak=1e6).astype(float)
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    counts = counts * np.clip(1.2 - np.hypot(x, y), 0, 1)
    return np.rint(counts * peak / counts.max())


def write_values(path, counts, change, **storage):
    """A file whose values are `counts`, stored as `store` is told, and changed by `change(ds)`."""
    write_nc(path, np.zeros(counts.shape))
    edit(path, lambda ds: (store(ds, counts, **storage), change(ds) if change else None))
    return path


def by_rule(ds, rule):
    """Counts as a reader sees them that knows one rule: "real world" or "rescale"; padding is 0."""
    pixels = ds.pixel_array.astype(float)
    if rule == "rescale":
        counts = pixels * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0))
    else:
        item = ds.RealWorldValueMappingSequence[0]
        counts = pixels * item.RealWorldValueSlope + item.RealWorldValueIntercept
    if "PixelPaddingValue" in ds:
        ends = ds.PixelPaddingValue, ds.get("PixelPaddingRangeLimit", ds.PixelPaddingValue)
        counts[(pixels >= min(ends)) & (pixels <= max(ends))] = 0
    return counts


def read(path):
    return pydicom.dcmread(path)
