"""Which energy window is the photopeak."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset

from spectac_fast.errors import NotApplicableError
from spectac_fast.formats.dicom.kind.tracer import PEAK_KEV, TECHNETIUM, THALLIUM
from spectac_fast.formats.dicom.tomo.heads import number

Ranges = tuple[tuple[float, float], ...]
# A window is about a peak that lies this near to its middle, of its width.
_MIDDLE = 0.25
# What counts of each nuclide come from, keV: thallium's are the X-rays of mercury and a gamma line.
_PEAKS = {TECHNETIUM: (PEAK_KEV,), THALLIUM: (71.0, 80.0, 167.4)}


def windows_of(items: tuple[Dataset, ...]) -> list[Ranges]:
    """(lower, upper) limits in keV of each energy window; () for one whose limits are not told."""
    return [
        tuple(
            (low, high)
            for limits in item.get("EnergyWindowRangeSequence") or ()
            for low, high in [[number(limits.get(f"EnergyWindow{end}Limit")) for end in ("Lower", "Upper")]]
            if 0 < low < high
        )
        for item in items
    ]


def photopeak(windows: list[Ranges], isotope: str, path: Path) -> tuple[int, tuple[str, ...]]:
    """The number of the window that holds the nuclide's peak, and a sentence where that is a choice.

    Of several it is the narrowest about the peak: those that cut it are halves of it, or beside. An only window whose
    limits are not told is taken for it. Raises NotApplicableError where none holds the peak.
    """
    peaks = _PEAKS[isotope]
    holding = [k for k, ranges in enumerate(windows) if any(_holds(each, peaks) for each in ranges)]
    if holding:
        about = [k for k in holding if any(_about(each, peaks) for each in windows[k])]
        chosen = min(about or holding, key=lambda k: sum(high - low for low, high in windows[k]))
        if len(holding) == 1:
            return chosen, ()
        said = " and ".join(f"{low:g} to {high:g} keV" for low, high in windows[chosen])
        return chosen, (f"{len(holding)} of its energy windows hold the peak; that of {said} is reconstructed.",)
    if len(windows) == 1 and not windows[0]:
        return 0, ("it does not tell its energy window, which is taken for the photopeak.",)
    said = ", ".join(f"{low:g} to {high:g} keV" for ranges in windows for low, high in ranges) or "none that is told"
    expected = " or ".join(f"{peak:g}" for peak in peaks)
    raise NotApplicableError(f"{path}: expected an energy window about the {expected} keV of {isotope}, found {said}.")


def _holds(limits: tuple[float, float], peaks: tuple[float, ...]) -> bool:
    return any(limits[0] <= peak <= limits[1] for peak in peaks)


def _about(limits: tuple[float, float], peaks: tuple[float, ...]) -> bool:
    """Whether a peak lies in the middle part of a window."""
    low, high = limits
    return any(abs(peak - (low + high) / 2) <= _MIDDLE * (high - low) for peak in peaks)
