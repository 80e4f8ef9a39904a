"""What was injected and which photons were counted: the models know myocardial perfusion by technetium-99m alone.

Nothing that a file says is repeated as it stands, only what was recognised in it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from spectac_fast.errors import NotApplicableError

TECHNETIUM, THALLIUM = "Tc-99m", "Tl-201"
PEAK_KEV = 140.5
# Of two annihilation photons (511 keV) no window of a lower peak reaches so high.
_ANNIHILATION_KEV = 450.0


@dataclass(frozen=True)
class _Nuclide:
    """words: a pattern of its names. codes: SCT (PS3.16 CID 18 and 4020) and the retired SRT ones. hours: half-life."""

    words: str
    codes: tuple[str, ...]
    hours: float


def _isotope(symbol: str, mass: str, *names: str) -> str:
    """Pattern of "Tl-201", "201Tl" and "thallium", of words in capitals that single spaces part."""
    return "|".join((rf"{symbol} ?{mass}", rf"{mass} ?{symbol}", *names))


NUCLIDES = {
    TECHNETIUM: _Nuclide(_isotope("TC", "99 ?M?", r"TE[CK]H?NE[CTZ]\w*"), ("72454006", "C-163A8"), 6.007),
    THALLIUM: _Nuclide(_isotope("TL", "201", "TL", r"TH?AL+I\w*", r"THALLO\w*"), ("60057003", "C-138A9"), 72.9),
    "I-123": _Nuclide(_isotope("I", "123", r"IOD\w* ?123", r"123 ?IOD\w*"), ("21572004", "C-114A4"), 13.22),
    "I-131": _Nuclide(_isotope("I", "131", r"IOD\w* ?131", r"131 ?IOD\w*"), ("1368003", "C-114B1"), 192.5),
    "In-111": _Nuclide(_isotope("IN", "111", r"INDIUM"), ("56609000", "C-145A4"), 67.31),
    "Ga-67": _Nuclide(_isotope("GA", "67", r"GAL+IUM ?67", r"67 ?GAL+IUM"), ("2008008", "C-131A2"), 78.28),
    "Lu-177": _Nuclide(_isotope("LU", "177", r"LUTETIUM"), ("447553000", "C-101ED"), 159.5),
    "Xe-133": _Nuclide(_isotope("XE", "133", r"XENON"), ("80751004", "C-172A8"), 125.9),
    "F-18": _Nuclide(
        _isotope("F", "18", r"FLUOR\w* ?18", r"18 ?FLUOR\w*", r"F?FDG", r"FLUORODE\w*", r"FLURPI\w*"),
        ("77004003", "C-111A1"),
        1.8295,
    ),
    "Rb-82": _Nuclide(_isotope("RB", "82", r"RUBIDIUM"), ("79197006", "C-159A2"), 0.0212),
    "N-13": _Nuclide(
        _isotope("N", "13", r"NITROGEN ?13", r"13 ?NITROGEN", r"AMMONIA\w*"), ("21576001", "C-107A1"), 0.1661
    ),
    "O-15": _Nuclide(_isotope("O", "15", r"OXYGEN ?15", r"15 ?OXYGEN"), ("129504001", "C-B1038"), 0.03396),
    "C-11": _Nuclide(_isotope("C", "11", r"CARBON ?11", r"11 ?CARBON"), ("40565003", "C-105A1"), 0.3397),
    "Ga-68": _Nuclide(_isotope("GA", "68", r"GAL+IUM ?68", r"68 ?GAL+IUM"), ("35337001", "C-131A3"), 1.1285),
    "Cu-64": _Nuclide(_isotope("CU", "64", r"COPPER ?64", r"64 ?COPPER"), ("3932008", "C-127A2"), 12.70),
}
_POSITRONS = ("F-18", "Rb-82", "N-13", "O-15", "C-11", "Ga-68", "Cu-64")
# In texts that name a series a letter and a number may be anything.
_SHORT = {"C-11", "N-13", "O-15", "I-131"}
_PERFUSION = r"SESTA ?MIBI|MIBI|CARDIOLITE|STAMICIS|TETROFOSMIN\w*|MYOVIEW|TEBOROXIME|FURIFOSMIN|N ?NOET"
# Technetium that does not go where blood flows in the heart's wall, and iodine's tracers of nerves and fat.
_OTHERS = {
    "pyrophosphate (PYP)": r"PYP|P YP|TC ?PYP|PYRO ?PHOSPHAT\w*|TECHNESCAN ?PYP",
    "a bone tracer": r"DPD|HMDP|HDP|MDP|MEDRONATE|OXIDRONATE|DICARBOXYPROPANE\w*",
    "labelled blood": r"(TAGGED |LABEL+ED )?(RBC|RED (BLOOD )?CELLS?|ERYTHROCYTES?)|MUGA|BLOOD ?POOL|ALBUMIN|HSA",
    "particles or a colloid": r"MAA|(MACRO)?AGGREGATED ALBUMIN|MICROSPHERES|(SULF?P?H?UR|NANO|STANNOUS|TIN)? ?COL+OID",
    "a tracer of other organs": r"DTPA|PENTETATE|MAG ?3|DMSA|SUCCIMER|MEBROFENIN|HIDA|HMPAO|EXAMETAZIME|BICISATE|ECD",
    "MIBG": r"M?IBG|IOBENGUANE|IODOBENZYLGUANIDINE",
    "BMIPP": r"BMIPP|IODOFILTIC|IODOPHENYL\w*",
}
# A stated half-life, seconds, is one of the table's if it is within so much of it.
_HALF_LIFE_OFF = 0.03


@dataclass(frozen=True)
class _Said:
    """One thing a file says: a nuclide or a tracer by its name here, and where it says so."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} (its {self.where})"


def tracer_notes(ds: Dataset, path: Path, *, force: bool) -> tuple[str, ...]:
    """Sentences on what the models were not trained on: thallium, other energy windows, contradictions.

    Raises NotApplicableError, unless forced, where their correction would mean nothing: annihilation photons, other
    nuclides than technetium and thallium, tracers that do not show perfusion.
    """
    nuclides, tracers, windows = list(_nuclides(ds)), list(_tracers(ds)), energy_windows(ds)
    found = _refused(nuclides, tracers, windows)
    if found and not force:
        raise NotApplicableError(
            f"{path}: expected perfusion slices of {TECHNETIUM}, found {found}; --force corrects them all the same."
        )
    notes = [f"found {found}, which no model was trained on; its correction means little."] if found else []
    names = {said.what for said in nuclides}
    if TECHNETIUM in names and len(names) > 1:
        listed = " and ".join(map(str, nuclides))
        notes.append(f"it names {listed}; its correction is that of {TECHNETIUM}.")
    elif THALLIUM in names:
        notes.append(
            f"found {nuclides[0]}: its photons of 69 to 83 keV are attenuated by a fifth more than those of 140 keV "
            "that the model was trained on, so that its correction is too small."
        )
    if not found and windows and not any(low <= PEAK_KEV <= high for low, high in windows):
        said = " and ".join(f"{low:g} to {high:g} keV" for low, high in windows)
        notes.append(
            f"its energy window of {said} does not hold the {PEAK_KEV:g} keV of {TECHNETIUM} that the model was "
            "trained on; its correction may be wrong."
        )
    if _perfusion(tracers) and any(said.what in _OTHERS for said in tracers):
        notes.append(f"it names {' and '.join(map(str, tracers))}; corrected as perfusion.")
    return tuple(notes)


def foreign(ds: Dataset) -> str:
    """What makes a file's counts no perfusion of technetium or thallium, and where it says so; "" for nothing."""
    return _refused(list(_nuclides(ds)), list(_tracers(ds)), energy_windows(ds))


def nuclide_names(ds: Dataset) -> set[str]:
    """The nuclides that a file names."""
    return {said.what for said in _nuclides(ds)}


def energy_windows(ds: Dataset) -> list[tuple[float, float]]:
    """(lower, upper) limits in keV of the windows that the frames may be of; none where the file says nothing usable.

    With an Energy Window Vector of one number they are those of that window alone.
    """
    items = list(ds.get("EnergyWindowInformationSequence") or ())
    vector = ds.get("EnergyWindowVector")
    numbers = set() if vector is None or vector == "" else {int(each) for each in np.atleast_1d(np.asarray(vector))}
    if len(numbers) == 1 and 1 <= min(numbers) <= len(items):
        items = [items[min(numbers) - 1]]
    found = []
    for item in items:
        for window in item.get("EnergyWindowRangeSequence") or ():
            low, high = (_number(window.get(f"EnergyWindow{end}Limit")) for end in ("Lower", "Upper"))
            if 0 < low < high:
                found.append((low, high))
    return found


def _refused(nuclides: list[_Said], tracers: list[_Said], windows: list[tuple[float, float]]) -> str:
    """What makes a correction meaningless, or nothing."""
    names = {said.what for said in nuclides}
    if not names & {TECHNETIUM, THALLIUM} and names:
        return str(nuclides[0])
    if windows and all(low < 511.0 and high > _ANNIHILATION_KEV for low, high in windows):
        return f"an energy window of {windows[0][0]:g} to {windows[0][1]:g} keV, as for annihilation photons"
    others = [said for said in tracers if said.what in _OTHERS]
    return str(others[0]) if others and not _perfusion(tracers) else ""


def _perfusion(tracers: list[_Said]) -> bool:
    return any(said.what not in _OTHERS for said in tracers)


def _nuclides(ds: Dataset) -> Iterator[_Said]:
    """The nuclides that a file names, each once a place, the surest first."""
    for item in ds.get("RadiopharmaceuticalInformationSequence") or ():
        yield from _coded(item, "RadionuclideCodeSequence", "radionuclide")
        for text in _radiopharmaceutical(item):
            yield from (_Said(name, "radiopharmaceutical") for name in _named(text))
        seconds = _number(item.get("RadionuclideHalfLife"))
        for name, nuclide in NUCLIDES.items():
            if abs(seconds / 3600.0 / nuclide.hours - 1.0) <= _HALF_LIFE_OFF:
                yield _Said(name, "half-life")
    for item in ds.get("EnergyWindowInformationSequence") or ():
        yield from (_Said(name, "energy window's name") for name in _named(item.get("EnergyWindowName")))
    for text in _series_texts(ds):
        yield from (_Said(name, "description") for name in _named(text) if name not in _SHORT)


def _coded(item: Dataset, keyword: str, where: str) -> Iterator[_Said]:
    for code in item.get(keyword) or ():
        value = str(code.get("CodeValue") or "")
        known = [name for name, nuclide in NUCLIDES.items() if value in nuclide.codes]
        yield from (_Said(name, where) for name in known or _named(code.get("CodeMeaning")))


def _radiopharmaceutical(item: Dataset) -> list[str]:
    codes = item.get("RadiopharmaceuticalCodeSequence") or ()
    return [str(item.get("Radiopharmaceutical") or ""), *(str(code.get("CodeMeaning") or "") for code in codes)]


def _tracers(ds: Dataset) -> Iterator[_Said]:
    """The tracers that a file names; "perfusion" for those that show it."""
    places = [
        ("radiopharmaceutical", text)
        for item in ds.get("RadiopharmaceuticalInformationSequence") or ()
        for text in _radiopharmaceutical(item)
    ]
    for where, text in (*places, *(("description", text) for text in _series_texts(ds))):
        for what, pattern in ({"a perfusion tracer": _PERFUSION} | _OTHERS).items():
            if _holds(text, pattern):
                yield _Said(what, where)


def _series_texts(ds: Dataset) -> list[str]:
    # The protocol and the study may name both nuclides of a two-isotope examination.
    return [str(ds.get(keyword) or "") for keyword in ("SeriesDescription", "ImageID")]


def _named(text: object) -> list[str]:
    return [name for name, nuclide in NUCLIDES.items() if _holds(str(text or ""), nuclide.words)]


def _holds(text: str, pattern: str) -> bool:
    plain = "".join(mark for mark in unicodedata.normalize("NFKD", text) if not unicodedata.combining(mark))
    words = " ".join(re.findall(r"[A-Z]+|[0-9]+", plain.upper()))
    return re.search(rf"(?<![A-Z0-9])({pattern})(?![A-Z0-9])", words) is not None


def _number(value: object) -> float:
    """A number of a header, NaN for what is none."""
    try:
        return float(str(value))
    except ValueError:
        return math.nan
