"""Of whom slices are and how they were made, as far as a header says it plainly."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydicom.dataset import Dataset

from spectac_fast.formats.dicom.elements import quiet_pydicom
from spectac_fast.formats.dicom.patient import lying
from spectac_fast.formats.evidence.header import series_texts, values_of
from spectac_fast.formats.evidence.tokens import tokens
from spectac_fast.formats.evidence.vocabulary import units_of
from spectac_fast.formats.facts import HeaderFacts
from spectac_fast.formats.names import SUPINE

# Bodies that are none are entered too: centimetres for metres, nothing for a weight.
_BMI = (11.0, 80.0)
# Dedicated cardiac cameras with detectors of cadmium zinc telluride (Imbert et al., J Nucl Med 2012;53:1897).
_CARDIAC = re.compile(r"D[- ]?SPECT|NM[- ]?5[37]0C|ALCYONE|MYOSPECT|\bCZT\b", re.IGNORECASE)
# Parallel holes before one large crystal.
_GENERAL = re.compile(r"\b(?:LE|ME|HE)[A-Z]*\b|VXHR|VXGP", re.IGNORECASE)
_FILTERED, _ITERATIVE = {"FBP", "BP"}, {"OSEM", "OSE", "OS", "IR", "MLEM", "RBI", "RAMLA", "ITERATIVE", "ITER"}


def header_facts(ds: Dataset) -> HeaderFacts:
    """What a header says; a value that cannot be read says nothing."""
    with quiet_pydicom():
        posture = lying(ds)[0]
        words = {word for _, text in series_texts(ds) for token in tokens(text) for word in (token, *units_of(token))}
        return HeaderFacts(
            male={"M": True, "F": False}.get(str(ds.get("PatientSex") or "").strip().upper()),
            bmi=_bmi(ds),
            prone={SUPINE: False, "prone": True}.get(posture),
            arc=_arc(ds),
            cardiac=_cardiac(ds),
            fbp=_told(words & _FILTERED, words & _ITERATIVE),
            # NC is hardly ever corrected for scatter, and says so where it is.
            scatter_corrected=_scatter(ds, words) if len(ds) else None,
        )


def _told(yes: object, no: object) -> bool | None:
    return bool(yes) if bool(yes) != bool(no) else None


def _number(ds: Dataset, keyword: str) -> float:
    try:
        return float(ds.get(keyword) or 0)
    except (TypeError, ValueError):
        return 0.0


def _bmi(ds: Dataset) -> float | None:
    metres, kilograms = _number(ds, "PatientSize"), _number(ds, "PatientWeight")
    metres = metres / 100 if metres > 100 else metres
    if not 1.2 < metres < 2.3:
        return None
    bmi = kilograms / metres**2
    return bmi if _BMI[0] < bmi < _BMI[1] else None


def _arc(ds: Dataset) -> float | None:
    """Half a turn or a whole one. Others than these are not believed: with several heads some systems give the turn of
    each.
    """
    arcs = {abs(_number(item, "ScanArc")) for item in _items(ds, "RotationInformationSequence")}
    if arcs and all(170 <= arc <= 210 for arc in arcs):
        return 180.0
    return 360.0 if arcs and all(345 <= arc <= 375 for arc in arcs) else None


def _cardiac(ds: Dataset) -> bool | None:
    detectors = _items(ds, "DetectorInformationSequence")
    texts = [str(ds.get("ManufacturerModelName") or ""), *(str(d.get("CollimatorGridName") or "") for d in detectors)]
    return _told(any(map(_CARDIAC.search, texts)), any(map(_GENERAL.search, texts[1:])))


def _scatter(ds: Dataset, words: set[str]) -> bool:
    listed = {str(value).strip().upper() for value in values_of(ds, "CorrectedImage")}
    return "SCAT" in listed or bool(ds.get("ScatterCorrectionMethod")) or bool(words & {"SC", "SCAT"})


def _items(ds: Dataset, keyword: str) -> Iterable[Dataset]:
    return [item for item in ds.get(keyword) or () if isinstance(item, Dataset)]
