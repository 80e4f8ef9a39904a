"""What the values of an image are measured in, by its header."""

from __future__ import annotations

from pydicom.dataset import Dataset

from spectac_fast.formats.dicom.elements import code

# Spellings of Units (0054,1001), Rescale Type and UCUM -> UCUM code. "" is counts; a header's own words are not
# repeated, because they could be anything.
_UCUM = {
    "": "",
    "CNTS": "",
    "COUNTS": "",
    "COUNT": "",
    "{COUNTS}": "",
    "{COUNT}": "",
    "US": "",
    "{PROPCOUNTS}": "{propcounts}",
    "PROPCNTS": "{propcounts}",
    "BQML": "Bq/ml",
    "BQ/ML": "Bq/ml",
    "KBQ/ML": "kBq/ml",
    "MBQ/ML": "MBq/ml",
    "PCNT": "%",
    "%": "%",
    "CPS": "{counts}/s",
    "{COUNTS}/S": "{counts}/s",
    "{CNTS}/S": "{counts}/s",
    "GML": "g/ml",
    "G/ML": "g/ml",
    "{SUVBW}G/ML": "g/ml{SUVbw}",
    "G/ML{SUVBW}": "g/ml{SUVbw}",
    "ML/MIN/G": "ml/min/g",
}
# No unit, or one that is not known here.
OTHER = "1"


def unit_of_header(ds: Dataset) -> str:
    """The unit that Units or Rescale Type names: a UCUM code, `OTHER`, or "" for counts and where neither says."""
    return _named(ds.get("Units")) or (_named(ds.get("RescaleType")) if "RescaleSlope" in ds else "")


def unit_of_item(item: Dataset) -> str:
    """The unit that an item of the Real World Value Mapping Sequence names, in the same way."""
    codes = item.get("MeasurementUnitsCodeSequence")
    return _named(codes[0].get("CodeValue")) if codes else ""


def unit_code(unit: str) -> Dataset:
    """The code of a unit as the functions above give it."""
    if not unit:
        return code("UCUM", "{counts}", "Counts")
    return code("UCUM", unit, "no units" if unit == OTHER else unit)


def note_on_unit(unit: str) -> tuple[str, ...]:
    """A sentence on a unit that is not counts."""
    if not unit:
        return ()
    named = "another unit" if unit == OTHER else unit
    return (f"its values are in {named} by its header, not counts; they are corrected as proportional to counts.",)


def _named(text: object) -> str:
    return _UCUM.get(str(text or "").strip().upper(), OTHER)
