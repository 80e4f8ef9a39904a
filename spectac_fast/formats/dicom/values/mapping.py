"""From stored values to counts: the Real World Value Mapping, or else Rescale Slope and Intercept or a Modality LUT."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.values.padding import whole_number
from spectac_fast.formats.dicom.values.units import note_on_unit, unit_of_header, unit_of_item

_BOUNDS = (
    ("RealWorldValueFirstValueMapped", "RealWorldValueLastValueMapped"),
    ("DoubleFloatRealWorldValueFirstValueMapped", "DoubleFloatRealWorldValueLastValueMapped"),
)


@dataclass(frozen=True, eq=False)
class Piece:
    """Counts for stored values from first to last: slope * value + intercept, or table[value - start]."""

    first: float = -math.inf
    last: float = math.inf
    slope: float = 1.0
    intercept: float = 0.0
    table: NDArray[np.float64] | None = None
    start: float = 0.0

    def of(self, values: NDArray) -> NDArray[np.float64]:
        if self.table is None:
            return values * np.float64(self.slope) + self.intercept
        place = (values - np.float64(self.start)).clip(0, len(self.table) - 1).astype(np.intp)
        return self.table[place]

    def straight_as(self, other: Piece) -> bool:
        """Whether both are the same straight line."""
        lines = self.table is None and other.table is None
        return lines and math.isclose(self.slope, other.slope, rel_tol=1e-6) and self.intercept == other.intercept


@dataclass(frozen=True, eq=False)
class Mapping:
    """pieces: one, or several for stored values of several ranges. extends: of values outside them the nearest says.

    unit: as in `units`. notes: sentences on what was assumed.
    """

    pieces: tuple[Piece, ...]
    extends: bool
    unit: str
    notes: tuple[str, ...]

    @property
    def step(self) -> float:
        """Counts between neighbouring stored values, 0 where a table says."""
        return min(0.0 if piece.table is not None else abs(piece.slope) for piece in self.pieces)

    def counts(
        self, values: NDArray, padded: NDArray[np.bool_] | None, path: Path
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        """Counts, float32 [frames, rows, columns], of stored values, and sentences; those of padding are any number.

        Raises InputError for values that no piece covers.
        """
        if len(self.pieces) == 1 and self.pieces[0].straight_as(Piece()):
            return values.astype(np.float32), ()
        counts = np.empty(values.shape, np.float32)
        beyond = 0
        # Frame by frame: in double precision a whole stack would take twice the memory of all else.
        for k, frame in enumerate(values):
            found, covered = np.zeros(frame.shape), np.zeros(frame.shape, bool)
            for piece in self.pieces:
                inside = (frame >= piece.first) & (frame <= piece.last) & ~covered
                found[inside] = piece.of(frame[inside])
                covered |= inside
            left = ~covered if padded is None else ~covered & ~padded[k]
            if left.any():
                beyond += int(left.sum())
                found[left] = self.pieces[0].of(frame[left])
            with np.errstate(over="ignore"):
                counts[k] = found
        if beyond and not self.extends:
            raise InputError(f"{path}: expected a count for every stored value, found {beyond} that its table lacks.")
        if beyond:
            return counts, ("some stored values lie beyond those that its mapping covers; it is extended to them.",)
        return counts, ()


def mapping_of(ds: Dataset, signed: bool, path: Path) -> Mapping:
    """The mapping that a header asks for.

    The Real World Value Mapping counts first: it is defined from stored values, whatever a Modality LUT does for
    display (PS3.3 C.7.6.16.2.11). signed: of the stored values. Raises InputError for slopes that are zero or no
    numbers, and for mappings that differ from frame to frame.
    """
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in ds.get(groups) or ():
            if "PixelValueTransformationSequence" in group or "RealWorldValueMappingSequence" in group:
                raise InputError(f"{path}: expected one mapping of stored values for all frames, found {groups}.")
    rescale = _rescale(ds, signed, path)
    items = chosen_items(ds)
    if not items:
        unit = unit_of_header(ds)
        return Mapping((rescale or Piece(),), True, unit, _falling(rescale) + note_on_unit(unit))
    pieces = [_piece(item, signed, path) for item in items]
    notes: list[str] = []
    if len(pieces) > 1 and _overlap(pieces):
        if not all(pieces[0].straight_as(piece) for piece in pieces):
            notes.append("its header maps the same stored values several ways; the first one is taken.")
        pieces = pieces[:1]
    if rescale is not None and not (len(pieces) == 1 and pieces[0].straight_as(rescale)):
        notes.append("its Real World Value Mapping and its Rescale Slope or Modality LUT differ; the former is taken.")
    extends = len(pieces) == 1 and pieces[0].table is None
    unit = unit_of_item(items[0])
    return Mapping(tuple(pieces), extends, unit, (*notes, *_falling(pieces[0]), *note_on_unit(unit)))


def chosen_items(ds: Dataset) -> list[Dataset]:
    """The items of the Real World Value Mapping that give counts, or those of the first unit where none does."""
    items = [
        item
        for item in ds.get("RealWorldValueMappingSequence") or ()
        if item.get("RealWorldValueSlope") is not None or item.get("RealWorldValueLUTData") is not None
    ]
    units = [unit_of_item(item) for item in items]
    wanted = "" if "" in units else next(iter(units), "")
    return [item for item, unit in zip(items, units) if unit == wanted]


def _piece(item: Dataset, signed: bool, path: Path) -> Piece:
    first, last = _bounds(item, signed)
    if item.get("RealWorldValueLUTData") is not None:
        data = item.RealWorldValueLUTData
        # With explicit VR what exceeds 64 KiB is written as UN (PS3.5 6.2.2) and comes as bytes.
        data = np.frombuffer(data, "<f8") if isinstance(data, bytes) else data
        table = np.atleast_1d(np.asarray(data, np.float64))
        if not np.isfinite(table).all() or not math.isfinite(first) or len(table) <= last - first:
            raise InputError(f"{path}: expected a count for every stored value in its table, found another size.")
        return Piece(first, first + len(table) - 1, table=table, start=first)
    slope, intercept = (_number(item, f"RealWorldValue{each}", path) for each in ("Slope", "Intercept"))
    return Piece(first, last, _slope(slope, path), intercept or 0.0)


def _bounds(item: Dataset, signed: bool) -> tuple[float, float]:
    """First and last stored value that an item maps; without bounds where it names none that make sense."""
    for names in _BOUNDS:
        bounds = [item.get(name) for name in names]
        if names == _BOUNDS[0]:
            numbers = [whole_number(item, name) for name in names]
            # Some writers give US where the pixels are signed.
            bounds = [n - 65536 if n is not None and signed and n > 32767 else n for n in numbers]
        if None not in bounds and float(bounds[0]) <= float(bounds[1]):
            return float(bounds[0]), float(bounds[1])
    return -math.inf, math.inf


def _overlap(pieces: Sequence[Piece]) -> bool:
    ordered = sorted(pieces, key=lambda piece: piece.first)
    return any(b.first <= a.last for a, b in itertools.pairwise(ordered))


def _rescale(ds: Dataset, signed: bool, path: Path) -> Piece | None:
    """Rescale Slope and Intercept or the Modality LUT; None where there is none."""
    tables = ds.get("ModalityLUTSequence")
    slope, intercept = (_number(ds, f"Rescale{each}", path) for each in ("Slope", "Intercept"))
    if tables:
        if slope is not None:
            raise InputError(f"{path}: expected a Rescale Slope or a Modality LUT, found both.")
        return _table(tables[0], signed, path)
    if slope is None and intercept is None:
        return None
    return Piece(slope=1.0 if slope is None else _slope(slope, path), intercept=intercept or 0.0)


def _table(item: Dataset, signed: bool, path: Path) -> Piece:
    """A Modality LUT: below its first stored value its first entry holds, above its last the last."""
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    size, first, bits = (int(each) for each in descriptor)
    size = size or 65536
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u1" if bits <= 8 and len(data) < 2 * size else "<u2")
    table = np.atleast_1d(np.asarray(data, np.float64))
    if len(table) < size:
        raise InputError(f"{path}: expected a Modality LUT of {size} entries, found {len(table)}.")
    first = first - 65536 if signed and first > 32767 else first
    return Piece(table=table[:size], start=first)


def _falling(piece: Piece | None) -> tuple[str, ...]:
    if piece is None or piece.slope > 0:
        return ()
    return ("its slope is negative: the greatest stored value stands for the fewest counts.",)


def _slope(slope: float | None, path: Path) -> float:
    if not slope:
        raise InputError(f"{path}: expected a slope other than zero from stored values to counts, found 0.")
    return slope


def _number(ds: Dataset, keyword: str, path: Path) -> float | None:
    """A finite number; None where the attribute is absent or empty."""
    value = ds.get(keyword)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{path}: expected one finite number in {keyword}, found another value.")
    return number
