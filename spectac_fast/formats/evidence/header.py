"""What a header says about itself: whether attenuation was corrected, and whether it shows emission at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from spectac_fast.formats.evidence.words import Said, computed_in, correction_in, map_in


class Weight(IntEnum):
    """How much a piece of evidence counts; lower ones are heard where no higher one speaks."""

    HINT = 1
    WORDS = 2
    CODED = 3


@dataclass(frozen=True)
class Evidence:
    """One piece: kind "AC", "NC", or "both" where it contradicts itself; a clause that tells where it was found.

    The clause quotes recognised words and codes only, never a value as it stands: that may hold a name.
    """

    kind: str
    weight: Weight
    clause: str


# (group, last byte of the element): owner's first letters and what it is. GE: "GENIE" conformance statements; Siemens,
# Picker: pydicom's private dictionary. (0011,xx12) is where GE's "Volumetrix MI RESULTS" tells AC from NC.
_PRIVATE_NAMES = {
    (0x0009, 0x10): ("GEMS", "GE study name"),
    (0x0009, 0x20): ("GEMS", "GE series name"),
    (0x0009, 0x2C): ("GEMS", "GE series comments"),
    (0x0011, 0x10): ("GEMS", "GE dataset object name"),
    (0x0011, 0x12): ("GEMS", "GE dataset name"),
    (0x0011, 0x30): ("GEMS", "GE picture name"),
    (0x0033, 0x11): ("GEMS", "GE object name"),
    (0x0057, 0x01): ("SIEMENS MED NM", "Siemens image type"),
    (0x0041, 0x21): ("SIEMENS MED NM", "Siemens text"),
    (0x00E1, 0x40): ("ELSCINT", "Elscint image label"),
    (0x7001, 0x17): ("Picker", "Odyssey index"),
}
_SERIES_KEYWORDS = (
    *("SeriesDescription", "ImageID", "DerivationDescription", "ProcessingFunction", "ContentDescription"),
    "ReconstructionMethod",
)
_SERIES_CODES = ("SeriesDescriptionCodeSequence", "DerivationCodeSequence")
_HINT_KEYWORDS = ("ProtocolName", "PerformedProtocolType")
# Attenuation correction method, CID 3112: emission-based, transmission-based, CT-based; and none.
_CODES = {"122726": "AC", "122727": "AC", "122728": "AC", "122729": "NC"}
_SIEMENS_CHANG = (0x0055, 0x8C)
_TEXT = ("LO", "SH", "CS", "ST", "LT", "UT", "UC", "UN")
_LONGEST = 1024
_MAP_UNITS = ("1CM", "CM-1", "/CM", "1/CM", "HU", "[HNSF'U]")


def correction_evidence(ds: Dataset) -> list[Evidence]:
    """Everything a header says about the correction of attenuation, weightiest first."""
    found = [*_coded(ds), *_own_words(ds), *_hints(ds)]
    return sorted(found, key=lambda each: -each.weight)


def emission_doubts(ds: Dataset) -> list[str]:
    """Clauses on why a reconstruction shows something else than emission: transmission, or a map of attenuation."""
    types = [str(value).upper() for value in values_of(ds, "ImageType")]
    doubts = [f"its Image Type says {said}" for value in types if (said := "MAP" if value == "MAP" else map_in(value))]
    for name, text in series_texts(ds):
        # How it was derived may tell what it was derived without.
        if not name.startswith("Derivation") and (words := map_in(text)):
            doubts.append(f"its {name} says {words}")
    units = [str(unit).upper().replace(" ", "") for unit in _units(ds) + values_of(ds, "RescaleType")]
    doubts += [f"its unit is {unit}" for unit in units if unit in _MAP_UNITS]
    return doubts


def computed_doubts(ds: Dataset) -> list[str]:
    """Clauses on why slices are no counts of one state: a difference, a ratio or scores were computed from others."""
    types = [("Image Type", str(value)) for value in values_of(ds, "ImageType")]
    # How it was derived may tell what was subtracted from it.
    texts = [(name, text) for name, text in series_texts(ds) if not name.startswith("Derivation")]
    return [f"its {name} says {word}" for name, text in (*types, *texts) if (word := computed_in(text))]


def series_texts(ds: Dataset) -> list[tuple[str, str]]:
    """(what it is, text) of every attribute in which a series names itself, vendors' own ones included."""
    public = [(_title(keyword), text) for keyword in _SERIES_KEYWORDS for text in map(str, values_of(ds, keyword))]
    codes = [(_title(keyword), item.get("CodeMeaning")) for keyword in _SERIES_CODES for item in ds.get(keyword) or ()]
    public += [(title.removesuffix(" Sequence"), str(meaning)) for title, meaning in codes if meaning]
    return public + [(name, text) for name, text in _private_texts(ds) if name]


def values_of(ds: Dataset, keyword: str) -> list:
    """The values of an attribute: none, one or many, as a list."""
    value = ds.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def _coded(ds: Dataset) -> Iterator[Evidence]:
    for value in map(str, values_of(ds, "CorrectedImage")):
        said = "AC" if value.strip() == "ATTN" else _kind_in(value)
        if said:
            yield Evidence(said, Weight.CODED, f"its Corrected Image lists {'ATTN' if said == 'AC' else said}")
    told = str(ds.get("AttenuationCorrected") or "")
    if told in ("YES", "NO"):
        yield Evidence("AC" if told == "YES" else "NC", Weight.CODED, f"its Attenuation Corrected is {told}")
    method = str(ds.get("AttenuationCorrectionMethod") or "")
    if method.strip():
        without = re.search(r"(?i)\b(none?|off|not (applied|used|done))\b", method) is not None
        clause = f"its Attenuation Correction Method is {'none' if without else 'given'}"
        yield Evidence("NC" if without else "AC", Weight.CODED, clause)
    for item in _items(ds):
        if item.get("CodingSchemeDesignator") == "DCM" and (kind := _CODES.get(str(item.get("CodeValue", "")))):
            yield Evidence(kind, Weight.CODED, f"it holds the code DCM {item.CodeValue}")
    # GE's reconstruction states its corrections in the comments: ...$ReconCorr$ACSCRR$...
    comments = " ".join(map(str, values_of(ds, "ImageComments")))
    for vendor in re.findall(r"ReconCorr\$([A-Za-z]*)", comments):
        if kind := _kind_in(vendor):
            yield Evidence(kind, Weight.CODED, f"its Image Comments say ReconCorr {vendor.upper()}")
    for element, creator in private_elements(ds):
        siemens = creator.startswith("SIEMENS MED NM") and place_of(element.tag) == _SIEMENS_CHANG
        if siemens and element.value in (1, 2):
            yield Evidence("AC", Weight.CODED, "its Siemens attenuation flag (0055,xx8C) is set")


def _own_words(ds: Dataset) -> Iterator[Evidence]:
    types = [("Image Type", str(value)) for value in values_of(ds, "ImageType")]
    for name, text in (*types, *series_texts(ds)):
        if said := correction_in(text):
            yield Evidence(said.kind, Weight.WORDS, _saying(name, said))


def _saying(name: str, said: Said) -> str:
    """The words, and what they were taken to mean: those of a denial may be the same."""
    return f"its {name} says {said.words} ({'NC and AC' if said.kind == 'both' else said.kind})"


def _hints(ds: Dataset) -> Iterator[Evidence]:
    texts = [(_title(keyword), str(text)) for keyword in _HINT_KEYWORDS for text in values_of(ds, keyword)]
    texts += [("private element", text) for name, text in _private_texts(ds) if not name]
    texts += [("Image Comments", str(text)) for text in values_of(ds, "ImageComments") if "ReconCorr$" not in str(text)]
    for name, text in texts:
        if said := correction_in(text):
            yield Evidence(said.kind, Weight.HINT, _saying(name, said))
    if any(re.fullmatch(r"(?i)bq/?(ml|cc)", str(unit).strip("{}")) for unit in _units(ds)):
        yield Evidence("AC", Weight.HINT, "its unit is becquerel per ml, which needs the correction")


def _units(ds: Dataset) -> list:
    codes = [
        code.get("CodeValue", "")
        for item in ds.get("RealWorldValueMappingSequence") or ()
        for code in item.get("MeasurementUnitsCodeSequence") or ()
    ]
    return values_of(ds, "Units") + codes


def _kind_in(text: str) -> str:
    said = correction_in(text)
    return said.kind if said else ""


def _items(ds: Dataset) -> Iterator[Dataset]:
    """Every code two levels deep at most: deeper ones are about other objects."""
    for tag in list(ds.keys()):
        if not tag.is_private and ds[tag].VR == "SQ":
            for item in ds[tag].value or ():
                yield item
                for keyword in ("ConceptCodeSequence", "DerivationCodeSequence"):
                    yield from item.get(keyword) or ()


def private_elements(ds: Dataset) -> Iterator[tuple[DataElement, str]]:
    """Private elements of the first level with their creators' names, "" where none is given."""
    for tag, _ in list(ds.items()):
        if tag.is_private and tag.elem >= 0x1000:
            creator = ds.get((tag.group, tag.elem >> 8))
            try:
                element = ds[tag]
            except Exception:
                # Its creator's dictionary expects another kind of value: nobody can say what it is.
                continue
            yield element, str(creator.value) if creator is not None else ""


def place_of(tag: BaseTag) -> tuple[int, int]:
    """Group and place in its block of a private element, whichever block it was given."""
    return tag.group, tag.elem & 0xFF


def _private_texts(ds: Dataset) -> Iterator[tuple[str, str]]:
    """(what it is or "" where nobody has published it, text) of private elements."""
    for element, creator in private_elements(ds):
        owner, name = _PRIVATE_NAMES.get(place_of(element.tag), ("", ""))
        known = name if not creator or creator.startswith(owner) else ""
        for text in texts_of(element):
            yield f"{known} ({element.tag.group:04X},{element.tag.elem:04X})" if known else "", text


def texts_of(element: DataElement) -> Iterator[str]:
    """The printable texts in an element of any text's kind, or of one that was written as bytes."""
    if element.VR not in _TEXT:
        return
    for value in element.value if isinstance(element.value, MultiValue | list) else [element.value]:
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
        if len(text) <= _LONGEST and (text := text.strip("\0 ")) and text.isprintable():
            yield text


def _title(keyword: str) -> str:
    return dictionary_description(keyword)
