"""Which energy window is the photopeak."""

from __future__ import annotations

import math
from pathlib import Path

from pydicom.dataset import Dataset

from spectac_fast.errors import NotApplicableError
from spectac_fast.formats.dicom.kind.tracer import PEAK_KEV, TECHNETIUM, THALLIUM

Ranges = tuple[tuple[float, float], ...]
# What counts of each nuclide come from, keV: thallium's are the X-rays of mercury and a gamma line.
_PEAKS = {TECHNETIUM: (PEAK_KEV,), THALLIUM: (71.0, 80.0, 167.4)}


def windows_of(ds: Dataset, count: int) -> list[Ranges]:
    """(lower, upper) limits in keV of each of `count` energy windows; () for one whose limits are not told."""
    items = list(ds.get("EnergyWindowInformationSequence") or ())[:count]
    found = [
        tuple(
            (low, high)
            for limits in item.get("EnergyWindowRangeSequence") or ()
            for low, high in [[_kev(limits.get(f"EnergyWindow{end}Limit")) for end in ("Lower", "Upper")]]
            if 0 < low < high
        )
        for item in items
    ]
    return found + [()] * (count - len(found))


def photopeak(windows: list[Ranges], isotope: str, path: Path) -> int:
    """The number of the window that holds the nuclide's peak, the narrowest where several do.

    An only window whose limits are not told is taken for it. Raises NotApplicableError where none holds the peak.
    """
    holding = [k for k, ranges in enumerate(windows) if _holds(ranges, _PEAKS[isotope])]
    if holding:
        return min(holding, key=lambda k: sum(high - low for low, high in windows[k]))
    if len(windows) == 1 and not windows[0]:
        return 0
    said = ", ".join(f"{low:g} to {high:g} keV" for ranges in windows for low, high in ranges) or "none that is told"
    peaks = " or ".join(f"{peak:g}" for peak in _PEAKS[isotope])
    raise NotApplicableError(f"{path}: expected an energy window about the {peaks} keV of {isotope}, found {said}.")


def _holds(ranges: Ranges, peaks: tuple[float, ...]) -> bool:
    return any(low <= peak <= high for low, high in ranges for peak in peaks)


def _kev(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return math.nan
