"""Whom a series shows, how that patient lay, and when: what tells one acquisition from another. An identity leaves here
as a hash only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from pydicom.dataset import Dataset

from spectac_fast.formats.dicom.elements import code, quiet_pydicom
from spectac_fast.formats.names import SUPINE, lying_in

T = TypeVar("T")

# Read by `identity`; a name or number that was entered twice may differ in spaces, carets and capitals.
IDENTITY = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")
# Patient Position (PS3.3 C.7.3.1.1.2): which end first, then how the patient lies.
_POSITION = re.compile(r"([HFLRAP]F)(S|P|DR|DL)")
_POSITIONS = {"S": SUPINE, "P": "prone", "DR": "on the right side", "DL": "on the left side"}
_ENDS = {"HF": "head first", "FF": "feet first"}
# CID 19, 20 and 21 of PS3.16 in SNOMED CT, and the retired SRT codes that older systems write.
_POSTURES = {
    **dict.fromkeys(("40199007", "F-10340"), SUPINE),
    **dict.fromkeys(("1240000", "F-10310", "34026001", "F-10316"), "prone"),
    **dict.fromkeys(("102535000", "F-10317"), "on the right side"),
    **dict.fromkeys(("102536004", "F-10319"), "on the left side"),
    **dict.fromkeys(("C86043", "F-10440", "10904000", "F-10320"), "upright"),
    **dict.fromkeys(("102539006", "F-10460", "33586001", "F-103A0"), "upright"),
}
_GANTRY = {
    **dict.fromkeys(("102540008", "F-10470", "G-5190"), "head first"),
    **dict.fromkeys(("102541007", "F-10480", "G-5191"), "feet first"),
}
# What Patient Position knows, in SNOMED CT.
_SCT = {
    SUPINE: ("40199007", "supine"),
    "prone": ("1240000", "prone"),
    "on the right side": ("102535000", "right lateral decubitus"),
    "on the left side": ("102536004", "left lateral decubitus"),
    "head first": ("102540008", "headfirst"),
    "feet first": ("102541007", "feet-first"),
}


@dataclass(frozen=True)
class Facts:
    """What tells the acquisition of one series from that of another; "" and () where the header does not say.

    patient: a hash. study: its UID. lying: "supine", "prone" ... moment: of acquisition, digits. window: energies.
    references: UIDs of this object and of those it was made from.
    """

    patient: str = ""
    study: str = ""
    lying: str = ""
    moment: str = ""
    window: tuple[float, ...] = ()
    references: frozenset[str] = frozenset()


def facts_of(ds: Dataset) -> Facts:
    """What a header says; a value that cannot be read says nothing."""
    with quiet_pydicom():
        own = frozenset({str(ds.get("SOPInstanceUID") or "")}) - {""}
        return Facts(
            patient=identity(ds),
            study=str(ds.get("StudyInstanceUID") or ""),
            lying=_readable(_lying, ds, ("", ""))[0],
            moment=_readable(_moment, ds, ""),
            window=_readable(_window, ds, ()),
            references=own | _readable(_references, ds, frozenset[str]()),
        )


def identity(ds: Dataset) -> str:
    """A hash of who the patient is, from which nothing can be read off; "" for one without number and name."""
    values = [_readable(_text, ds, "?", keyword) for keyword in IDENTITY]
    if not any(values):
        return ""
    return hashlib.sha256("\x1f".join(("spectac patient", *values)).encode()).hexdigest()


def lying(ds: Dataset) -> tuple[str, str]:
    """("supine", "prone" ..., "head first" or "feet first") by Patient Position, codes and names; "" where not said.

    Whatever of these says that the patient did not lie supine is believed: the others may not have been set.
    """
    with quiet_pydicom():
        return _readable(_lying, ds, ("", ""))


def keep_codes_alone(ds: Dataset) -> None:
    """Let the codes of a new object say what Patient Position says, which must not stand beside them (PS3.3 C.7.3.1).

    One that is not known is left as it is.
    """
    position = _POSITION.fullmatch(str(ds.get("PatientPosition") or "").strip().upper())
    if position is None or "PatientOrientationCodeSequence" not in ds:
        return
    posture, end = _POSITIONS[position[2]], _ENDS.get(position[1], "")
    del ds.PatientPosition
    if posture not in [_POSTURES.get(each) for each in _modifiers(ds)]:
        lying_down = code("SCT", "102538003", "recumbent")
        lying_down.PatientOrientationModifierCodeSequence = [code("SCT", *_SCT[posture])]
        ds.PatientOrientationCodeSequence = [lying_down]
    if end and end not in [_GANTRY.get(each) for each in _codes(ds.get("PatientGantryRelationshipCodeSequence") or ())]:
        ds.PatientGantryRelationshipCodeSequence = [code("SCT", *_SCT[end])]


def _readable(function: Callable[..., T], ds: Dataset, otherwise: T, *arguments: str) -> T:
    try:
        return function(ds, *arguments)
    except Exception:
        # pydicom raises many things for damaged values.
        return otherwise


def _text(ds: Dataset, keyword: str) -> str:
    return re.sub(r"[\s^=]+", " ", str(ds.get(keyword) or "")).strip().upper()


def _lying(ds: Dataset) -> tuple[str, str]:
    said, ends = [], []
    position = _POSITION.fullmatch(str(ds.get("PatientPosition") or "").strip().upper())
    if position:
        said.append(_POSITIONS[position[2]])
        ends.append(_ENDS.get(position[1], ""))
    said += [
        _POSTURES.get(each, "") for each in (*_codes(ds.get("PatientOrientationCodeSequence") or ()), *_modifiers(ds))
    ]
    ends += [_GANTRY.get(each, "") for each in _codes(ds.get("PatientGantryRelationshipCodeSequence") or ())]
    said.append(lying_in(str(ds.get(keyword) or "") for keyword in ("SeriesDescription", "ImageID", "ProtocolName")))
    said, ends = [each for each in said if each], [each for each in ends if each]
    unusual = [each for each in said if each != SUPINE]
    return next(iter(unusual or said), ""), next(iter(ends), "")


def _modifiers(ds: Dataset) -> list[str]:
    items = ds.get("PatientOrientationCodeSequence") or ()
    return [each for item in items for each in _codes(item.get("PatientOrientationModifierCodeSequence") or ())]


def _codes(items: Iterable[Dataset]) -> list[str]:
    return [str(item.get("CodeValue") or "") for item in items]


def _references(ds: Dataset) -> frozenset[str]:
    return frozenset(
        str(item.ReferencedSOPInstanceUID)
        for keyword in ("SourceImageSequence", "ReferencedImageSequence")
        for item in ds.get(keyword) or ()
        if item.get("ReferencedSOPInstanceUID")
    )


def _moment(ds: Dataset) -> str:
    """Date and time of acquisition to the second, "" where the time is not known."""
    whole = str(ds.get("AcquisitionDateTime") or "")
    if len(whole) < 12:
        time = str(ds.get("AcquisitionTime") or "")
        whole = str(ds.get("AcquisitionDate") or "") + time if time else ""
    return re.sub(r"[.+-].*", "", whole).replace(":", "").ljust(14, "0") if whole else ""


def _window(ds: Dataset) -> tuple[float, ...]:
    """Lower and upper limits of the energy windows, keV."""
    return tuple(
        float(limits.get(keyword) or 0)
        for item in ds.get("EnergyWindowInformationSequence") or ()
        for limits in item.get("EnergyWindowRangeSequence") or ()
        for keyword in ("EnergyWindowLowerLimit", "EnergyWindowUpperLimit")
    )
