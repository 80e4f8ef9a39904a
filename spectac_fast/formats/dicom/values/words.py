"""Which bits of a word are the value: what the header says, or must have meant where the values contradict it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError
from spectac_fast.formats.background import stands_alone
from spectac_fast.formats.dicom.values.padding import padding_of, whole_number

# Of the difference between neighbours to that between distant voxels: near 0 for images, 1 for noise.
_MUCH_SMOOTHER = 0.5
_NOISE = 0.8
# In an image, neighbours that differ by so much of the whole range are counts that were too large for it.
_TORN = 0.9
# Of values that were cut off at the largest possible one there are more than of those within a hundredth of it, or
# ten steps; towards the top of a peak there are fewer and fewer.
_FEWEST_CUT, _CLOSE, _STEPS = 4, 100, 10
_LIMITS = ("LargestImagePixelValue", "SmallestImagePixelValue")


@dataclass(frozen=True)
class Field:
    """Bits `low` to `low + bits - 1` of a word; signed: two's complement."""

    low: int
    bits: int
    signed: bool

    def of(self, words: NDArray) -> NDArray:
        """The values in unsigned words of 8, 16 or 32 bits, integers of the same size."""
        width = 8 * words.dtype.itemsize
        upwards = (words << (width - self.low - self.bits)).astype(words.dtype, copy=False)
        return upwards.view(f"<i{width // 8}" if self.signed else words.dtype) >> (width - self.bits)

    def __str__(self) -> str:
        place = f" from bit {self.low} on" if self.low else ""
        return f"{'signed' if self.signed else 'unsigned'}, of {self.bits} bits{place}"


def values_of(ds: Dataset, words: NDArray, path: Path) -> tuple[NDArray, NDArray[np.bool_] | None, tuple[str, ...]]:
    """The stored values of integer pixels, which of them are padding (or None), and sentences on what was assumed.

    words: unsigned, of BitsAllocated bits, [frames, rows, columns]. Where values contradict BitsStored, HighBit or
    PixelRepresentation, Largest (or Smallest) Image Pixel Value says which bits were meant. Raises InputError where
    they contradict and nothing says so.
    """
    width = 8 * words.dtype.itemsize
    stored, high = int(ds.BitsStored), ds.get("HighBit")
    high = stored - 1 if high is None else int(high)
    field = Field(min(max(high + 1 - stored, 0), width - stored), stored, bool(ds.get("PixelRepresentation") or 0))
    padded = _padded(ds, words, field)
    words = _without_overlays(ds, words, field, padded)
    known = words if padded is None else words[~padded]
    if not known.size:
        return field.of(words), padded, ()
    notes: tuple[str, ...] = ()
    if high != stored - 1 or _overflows(field, known) or _of_either_sign(field, known):
        field, notes = _meant(ds, field, high, words, padded, path)
        padded = _padded(ds, words, field)
    values = field.of(words)
    _check_whole(values, padded, field, path)
    notes += _note_cut(values, padded, field)
    return values if padded is None else _with_padding(ds, words, field, values), padded, notes


def _without_overlays(ds: Dataset, words: NDArray, field: Field, padded: NDArray[np.bool_] | None) -> NDArray:
    """The words without overlays that the header places in the bits above their values, where nothing else is there."""
    width, bits = 8 * words.dtype.itemsize, 0
    for group in range(0x6000, 0x6020, 2):
        place = ds.get((group, 0x0102))
        embedded = place is not None and (group, 0x3000) not in ds
        if embedded and field.bits <= (position := int(place.value or 0)) < width:
            bits |= 1 << position
    if not bits or field.low:
        return words
    values = field.of(words).view(words.dtype)
    if padded is not None:
        values = np.where(padded, words, values)
    return words if ((words ^ values) & ~words.dtype.type(bits)).any() else values


def _with_padding(ds: Dataset, words: NDArray, field: Field, values: NDArray) -> NDArray:
    """The values of a field, and where the whole word is padding all of it."""
    whole = _whole(field, words)
    padding = padding_of(ds, whole.bits, field.signed)
    return np.where(padding.holds(whole.of(words)), whole.of(words), values) if padding else values


def _whole(field: Field, words: NDArray) -> Field:
    """All bits of the words, signed as a field is."""
    return Field(0, 8 * words.dtype.itemsize, field.signed)


def _padded(ds: Dataset, words: NDArray, field: Field) -> NDArray[np.bool_] | None:
    """Padding may use bits of the word that values do not."""
    whole = _whole(field, words)
    padding = padding_of(ds, whole.bits, field.signed)
    if padding is None:
        return None
    found = padding.holds(field.of(words))
    if field != whole:
        found |= padding.holds(whole.of(words))
    return found if found.any() else None


def _overflows(field: Field, words: NDArray) -> bool:
    """Whether bits of the words besides the field are in use; those above a negative value repeat its sign."""
    whole = _whole(field, words)
    return field != whole and bool((field.of(words) != whole.of(words)).any())


def _of_either_sign(field: Field, words: NDArray) -> bool:
    """Whether it makes a difference if values are taken as signed."""
    return bool((replace(field, signed=True).of(words) < 0).any())


def _meant(
    ds: Dataset, field: Field, high: int, words: NDArray, padded: NDArray[np.bool_] | None, path: Path
) -> tuple[Field, tuple[str, ...]]:
    """The field that the header proves, or else the only sensible one, with a note unless it is what it says."""
    known = words if padded is None else words[~padded]
    whole = _whole(field, words)
    right = replace(field, low=0)
    candidates = [field, right, whole, *(replace(each, signed=not field.signed) for each in (field, right, whole))]
    keyword = next((each for each in _LIMITS if whole_number(ds, each) is not None), "")
    proven = [each for each in dict.fromkeys(candidates) if keyword and _proves(ds, keyword, each, words, known)]
    said = f"BitsStored {field.bits}, HighBit {high} and PixelRepresentation {int(field.signed)}"
    if field in proven:
        return field, ()
    if proven and all(np.array_equal(each.of(known), proven[0].of(known)) for each in proven):
        value = whole_number(ds, keyword)
        return proven[0], (f"the values do not fit {said}; {keyword} {value} shows that they are {proven[0]}.",)
    refused = InputError(
        f"{path}: expected values that fit {said}, found {whole.of(known).min()} to {whole.of(known).max()} in "
        f"{whole.bits} bits, and no LargestImagePixelValue that shows what was meant."
    )
    if high != field.bits - 1:
        return _placed(field, high, known, refused)
    if not _overflows(field, known):
        return field, ()
    largest = whole_number(ds, "LargestImagePixelValue") or 0
    signal = np.ones(words.shape, bool) if padded is None else ~padded
    roughness = [_rough(each.of(words), signal) for each in (whole, field)]
    if largest >= 1 << field.bits or roughness[0] < _MUCH_SMOOTHER * roughness[1]:
        raise refused
    return field, (f"bits above BitsStored {field.bits} are in use, for an overlay perhaps; they are left out.",)


def _proves(ds: Dataset, keyword: str, field: Field, words: NDArray, known: NDArray) -> bool:
    """Whether the values of a field have the extreme that the header names, padding included or not."""
    extreme = np.max if keyword == _LIMITS[0] else np.min
    named, size = whole_number(ds, keyword), 1 << 8 * words.dtype.itemsize
    return named is not None and any((int(extreme(field.of(each))) - named) % size == 0 for each in (known, words))


def _placed(field: Field, high: int, known: NDArray, refused: InputError) -> tuple[Field, tuple[str, ...]]:
    """Where in the word the values lie when HighBit is not BitsStored - 1 and nothing proves it."""
    right = replace(field, low=0)
    where = f"HighBit {high} with BitsStored {field.bits}: the values are taken from the"
    if field.low and not (known & ((1 << field.low) - 1)).any():
        return field, (f"{where} upper {field.bits} bits, because those below are empty.",)
    used = min(field.bits, high + 1)
    if not _overflows(replace(right, bits=used), known):
        return right, (f"{where} lower {used} bits, because those above are empty.",)
    raise refused


def _rough(values: NDArray, known: NDArray[np.bool_]) -> float:
    """Mean difference of neighbours in a row, as a share of that between voxels half a row apart."""
    counted = np.where(known, values, 0).astype(np.float32)
    apart = np.abs(counted - np.roll(counted, counted.shape[2] // 2, axis=2)).mean()
    return float(np.abs(np.diff(counted, axis=2)).mean() / apart) if apart else 0.0


def _check_whole(values: NDArray, padded: NDArray[np.bool_] | None, field: Field, path: Path) -> None:
    """Raise InputError for values that are torn: too large for their bits, or below zero in unsigned ones."""
    size = 1 << field.bits
    if int(values.max()) - min(int(values.min()), 0) < _TORN * size:
        return
    known = np.ones(values.shape, bool) if padded is None else ~padded
    for extreme in (np.max, np.min):
        value = int(extreme(values, initial=0, where=known))
        at = known & (values == value)
        if value and stands_alone(values, at, known, value):
            known &= ~at
    high = known & (values >= size // 2)
    if not field.signed and high.any():
        below, lowest = int(values.max(initial=0, where=known & ~high)), int(values[high].min())
        if lowest > 2 * below > 0 and 2 * (size - lowest) <= below:
            raise InputError(
                f"{path}: expected counts, found some of {lowest} and more and no other above {below}, as values below "
                "zero look that are taken as unsigned."
            )
    if _jump(values, known, _TORN * size) and _rough(values, known) < _NOISE:
        raise InputError(
            f"{path}: expected counts that fit {field.bits} bits, found neighbours at both ends of that range, as "
            "counts look that were too large for it."
        )


def _note_cut(values: NDArray, padded: NDArray[np.bool_] | None, field: Field) -> tuple[str, ...]:
    """A sentence where more values are the largest that their bits hold than come close to it."""
    largest = (1 << field.bits - field.signed) - 1
    known = values if padded is None else values[~padded]
    at, near = (int((known >= largest - below).sum()) for below in (0, max(largest // _CLOSE, _STEPS)))
    if at < _FEWEST_CUT or 2 * at <= near:
        return ()
    return (f"{at} values are {largest}, the largest that {field.bits} bits hold; what was above it has been lost.",)


def _jump(values: NDArray, known: NDArray[np.bool_], height: float) -> bool:
    """Whether any neighbours within a slice differ by more than `height`."""
    for axis in (1, 2):
        one, valid = np.moveaxis(values, axis, 0).astype(np.float32), np.moveaxis(known, axis, 0)
        if (valid[1:] & valid[:-1] & (np.abs(one[1:] - one[:-1]) > height)).any():
            return True
    return False
