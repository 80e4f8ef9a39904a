"""The one way out: counts as 16-bit words, and everything in the header that says what these stand for."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from spectac_fast.formats.dicom.elements import set_pixels
from spectac_fast.formats.dicom.values.mapping import chosen_items
from spectac_fast.formats.dicom.values.padding import Padding, float_padding_of, padding_of
from spectac_fast.formats.dicom.values.units import unit_code, unit_of_header, unit_of_item

if TYPE_CHECKING:
    from spectac_fast.formats.series import Series

_LARGEST, _LARGEST_SIGNED, _LEAST = 65535, 32767, -32768
# Padding that lies this high leaves 14 bits for counts below it; lower padding lies among them.
_HIGH = 16384


@dataclass(frozen=True, eq=False)
class Words:
    """values: uint16 or int16 [slices, rows, columns], times slope counts. top: what counts may take at most.

    padding: what the header has to name, or None.
    """

    values: NDArray
    slope: float
    top: int
    padding: Padding | None


def quantise(counts: NDArray, finest: float = 1.0, largest: int = _LARGEST) -> tuple[NDArray[np.uint16], float]:
    """Counts -> (uint16, slope) with counts ~ slope * uint16; the slope is `finest` wherever the counts fit.

    Counts that do not fit below `largest` are not clipped: the slope is `finest` times the smallest power of two with
    which they do; where `finest` is 0, it is the smallest power of two. Negative counts become 0. Raises ValueError if
    a value is not finite.
    """
    counts = np.asarray(counts, np.float64)
    if not np.isfinite(counts).all():
        raise ValueError("counts must be finite, found NaN or infinity")
    top = float(counts.max(initial=0.0))
    if top <= 0:
        slope = finest or 1.0
    elif finest and np.rint(top / finest) <= largest:
        slope = finest
    else:
        slope = (finest or 1.0) * 2.0 ** math.ceil(math.log2(top / (finest or 1.0) / (largest + 0.5)))
    return np.clip(np.rint(counts / slope), 0, largest).astype(np.uint16), slope


def words_of(series: Series, counts: NDArray, finest: float = 1.0) -> Words:
    """The words that hold `counts` [slices, rows, columns] of a series, and its padding where that was.

    finest: the least step, in steps of the source. Padding that is below zero makes them signed; where it lies among
    the counts, those that would look like it are one step off. What 16 bits do not hold is written as 0.
    """
    padding, held = _written(series)
    low = 0.0 if padding is None else padding.low
    top = _LARGEST_SIGNED if low < 0 else int(low) - 1 if low >= _HIGH else _LARGEST
    pixels, slope = quantise(series.silenced(np.asarray(counts)), finest * series.step, top)
    if held is None or padding is None:
        return Words(pixels, slope, top, None)
    values = pixels.astype(np.int16) if low < 0 else pixels
    inside = ~np.isnan(held)
    if 0 < low < _HIGH:
        alike = ~inside & (values == low)
        values[alike] = np.where(np.asarray(counts)[alike] < low * slope, low - 1, low + 1)
    values[inside] = held[inside].astype(values.dtype)
    return Words(values, slope, top, padding if _names_padding(series.header) else None)


def put_words(ds: Dataset, words: Words, order: NDArray[np.intp], *, joined: bool, meaning: str) -> None:
    """Put words, and everything that says what they stand for, into a data set that has the source's header.

    order: the slice in each frame. joined: several objects, of which the header is the first one's. meaning: what the
    values are, in words. Every mapping in the header gives the same counts.
    """
    unit = unit_of_item(chosen_items(ds)[0]) if chosen_items(ds) else unit_of_header(ds)
    items = _real_world(ds, words, unit, meaning, joined)
    values = words.values[order]
    set_pixels(ds, values, words.padding is not None and words.padding.holds(values))
    vr = "SS" if values.dtype.kind == "i" else "US"
    if words.padding is not None:
        low, high, value = (int(each) for each in (words.padding.low, words.padding.high, words.padding.value))
        ds.add_new("PixelPaddingValue", vr, value)
        if low != high:
            ds.add_new("PixelPaddingRangeLimit", vr, low if value == high else high)
    for item in items:
        item.add_new("RealWorldValueFirstValueMapped", vr, 0)
        item.add_new("RealWorldValueLastValueMapped", vr, words.top)
    ds.RealWorldValueMappingSequence = items
    # Many readers know this one only; the IOD does not have it, so it is left out where it would say nothing.
    rescaled = words.slope != 1 or "RescaleSlope" in ds or "RescaleIntercept" in ds
    if rescaled:
        ds.RescaleSlope, ds.RescaleIntercept = format_number_as_ds(words.slope), "0"
        ds.RescaleType = ds.get("RescaleType") or "US"
    if "WindowCenter" in ds or "WindowWidth" in ds:
        top = max(int(ds.LargestImagePixelValue), 2) * (words.slope if rescaled else 1)
        ds.WindowCenter, ds.WindowWidth = f"{top / 2:g}", f"{top:g}"


def _written(series: Series) -> tuple[Padding | None, NDArray[np.float32] | None]:
    """The padding of a series as 16 bits can hold it: its values, and like `Series.padding` what each voxel gets."""
    held = series.padding
    if held is None:
        return None, None
    low, high = float(np.nanmin(held)), float(np.nanmax(held))
    header = series.header if series.header is not None else Dataset()
    named = padding_of(header, int(header.get("BitsAllocated") or 16), low < 0) or float_padding_of(
        header, np.dtype(np.float32)
    )
    known = named is not None and named.low <= low and high <= named.high
    padding = named if named is not None and known else Padding(low, low, high)
    whole = all(float(each).is_integer() for each in (padding.value, padding.low, padding.high, low, high))
    if not whole or padding.low < _LEAST or padding.high > (_LARGEST_SIGNED if padding.low < 0 else _LARGEST):
        return Padding(0, 0, 0), np.where(np.isnan(held), held, np.float32(0))
    if padding.high <= 0 or padding.low >= _HIGH:
        return padding, held
    one = padding.value
    return Padding(one, one, one), np.where(np.isnan(held), held, np.float32(one))


def _names_padding(header: Dataset | None) -> bool:
    return header is not None and (
        padding_of(header, 32, True) is not None or float_padding_of(header, np.dtype(np.float64)) is not None
    )


def _real_world(ds: Dataset, words: Words, unit: str, meaning: str, joined: bool) -> list[Dataset]:
    """The items that map words to counts, and to other units of which the source knew the ratio."""
    chosen = chosen_items(ds)
    if not chosen:
        return [_straight(Dataset(), words.slope, unit, meaning)]
    old = chosen[0].get("RealWorldValueSlope")
    items = [_straight(chosen[0], words.slope, unit, meaning)]
    straight = bool(old) and not chosen[0].get("RealWorldValueIntercept") and len(chosen) == 1 and not joined
    for item in ds.RealWorldValueMappingSequence:
        if straight and item not in chosen and item.get("RealWorldValueSlope") and not item.RealWorldValueIntercept:
            ratio = float(item.RealWorldValueSlope) / float(old)
            items.append(_straight(item, words.slope * ratio, unit_of_item(item), meaning))
    return items


def _straight(item: Dataset, slope: float, unit: str, meaning: str) -> Dataset:
    """An item with another slope, no intercept and no bounds or table of other values; whole where it was not."""
    item = copy.deepcopy(item)
    for keyword in (
        "RealWorldValueLUTData",
        "DoubleFloatRealWorldValueFirstValueMapped",
        "DoubleFloatRealWorldValueLastValueMapped",
    ):
        if keyword in item:
            del item[keyword]
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, 0.0
    item.LUTExplanation = item.get("LUTExplanation") or meaning
    item.LUTLabel = item.get("LUTLabel") or (unit.upper()[:16] if unit else "COUNTS")
    item.MeasurementUnitsCodeSequence = item.get("MeasurementUnitsCodeSequence") or [unit_code(unit)]
    return item
