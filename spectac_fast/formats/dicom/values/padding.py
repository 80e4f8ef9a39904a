"""Pixel Padding Value and Range Limit: stored values that say that there is no signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

_OF_INTEGERS = ("PixelPaddingValue", "PixelPaddingRangeLimit")
_OF_FLOATS = (
    ("FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit"),
    ("DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit"),
    _OF_INTEGERS,
)


@dataclass(frozen=True)
class Padding:
    """Stored values from low to high, both included, are padding. value: the one to write; NaN where that is it."""

    value: float
    low: float
    high: float

    def holds(self, values: NDArray) -> NDArray[np.bool_]:
        """Where `values` are padding."""
        if np.isnan(self.value):
            return np.isnan(values)
        return (values >= self.low) & (values <= self.high)


def padding_of(ds: Dataset, bits: int, signed: bool) -> Padding | None:
    """The padding that the header of integer pixels names, as numbers of that many bits, or None.

    Some writers give a value the other sign's form (US 32768 for SS -32768): it is the same word.
    """
    value, limit = (_as_word(whole_number(ds, keyword), bits, signed) for keyword in _OF_INTEGERS)
    if value is None:
        return None
    other = value if limit is None else limit
    return Padding(value, min(value, other), max(value, other))


def float_padding_of(ds: Dataset, dtype: np.dtype) -> Padding | None:
    """The padding that the header of floating point pixels names, rounded as these are, or None."""
    for keyword, limit_keyword in _OF_FLOATS:
        value, limit = (_number(ds.get(each)) for each in (keyword, limit_keyword))
        if value is not None:
            value, other = (float(dtype.type(each)) for each in (value, value if limit is None else limit))
            return Padding(value, min(value, other), max(value, other))
    return None


def whole_number(ds: Dataset, keyword: str) -> int | None:
    """An attribute of VR US or SS, whatever VR it was given; None where it holds no single whole number."""
    value = ds.get(keyword)
    if isinstance(value, bytes) and value:
        return int.from_bytes(value, "little")
    number = _number(value)
    return int(number) if number is not None and number.is_integer() else None


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _as_word(value: int | None, bits: int, signed: bool) -> int | None:
    if value is None or not -(1 << bits - 1) <= value < 1 << bits:
        return None
    value %= 1 << bits
    return value - (1 << bits) if signed and value >> bits - 1 else value
