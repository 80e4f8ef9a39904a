"""Stacks that were reconstructed from projections, as NM RECON TOMO objects of the same patient and study."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast._version import __version__
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.elements import (
    NM_IMAGE_STORAGE,
    PATIENT_STATE,
    code,
    encoded_sha256,
    quiet_pydicom,
    set_pixels,
    stable_uid,
)
from spectac_fast.formats.dicom.kind.tracer import THALLIUM
from spectac_fast.formats.dicom.patient import lying
from spectac_fast.formats.dicom.synthetic import put_geometry
from spectac_fast.formats.dicom.values.store import quantise
from spectac_fast.formats.dicom.values.units import unit_code
from spectac_fast.formats.projections import Projections, step_of

# The kind of a stack that holds the standard deviation of AC's counts.
DEVIATION = "AC-SD"

# Whose it is, which study it belongs to and what took it; the rest of a stack's header is its own.
_KEPT = (
    "SpecificCharacterSet", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "StudyTime", "SeriesTime",
    "AcquisitionTime", "ContentTime", "AccessionNumber", "Manufacturer", "InstitutionName", "ReferringPhysicianName",
    "StationName", "StudyDescription", "ManufacturerModelName", "PatientName", "PatientID", "IssuerOfPatientID",
    "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize", "PatientWeight", "PatientIdentityRemoved",
    "DeidentificationMethod", "DeviceSerialNumber", "StudyInstanceUID", "StudyID", "BodyPartExamined",
)  # fmt: skip
# Type 2: must be there, may be empty.
_NEVER_ABSENT = (
    "StudyDate", "StudyTime", "AccessionNumber", "Manufacturer", "ReferringPhysicianName", "PatientName", "PatientID",
    "PatientBirthDate", "PatientSex", "StudyID",
)  # fmt: skip
_SERIES_NUMBERS = {"SA": 1, "VLA": 2, "HLA": 3, "TRA": 4}
_SERIES_OFFSET, _KIND_OFFSETS = 3000, {"NC": 0, "AC": 10, "MU": 20, DEVIATION: 30}
_COUNTS = ("Reconstructed counts", "COUNTS")
_MEANINGS = {
    "NC": _COUNTS,
    "AC": _COUNTS,
    "MU": ("Linear attenuation", "MU"),
    DEVIATION: ("Standard deviation of reconstructed counts", "SD"),
}
# What its series description ends in.
_MARK = " SD"
_DEVIATION_COMMENT = "UNCERTAINTY of reconstructed counts: standard deviation in counts, no perfusion image."
_NUCLIDES = {False: ("72454006", "^99m^Technetium"), True: ("60057003", "^201^Thallium")}
_STATES = {"stress": ("DCM", "109091", "Cardiac Stress State"), "rest": ("SCT", "128975004", "Resting State")}
_POSTURES = {"supine": ("40199007", "supine"), "prone": ("1240000", "prone")}
_ENDS = {"head first": ("102540008", "headfirst"), "feet first": ("102541007", "feet-first")}


@dataclass(frozen=True, eq=False)
class Stack:
    """A reconstructed stack. counts: [slices, rows, columns], at least zero. plane: "SA", "VLA", "HLA" or "TRA".

    kind: "NC", "AC", `DEVIATION`, or "MU" for an attenuation map, whose counts are 1/cm. step: counts between
    neighbouring stored values, unless they do not fit 16 bits.
    pixel_mm, slice_mm, orientation, position: as in `write_series`. method: as GE abbreviates it, such as IRNC.
    algorithm, filter, scatter, attenuation: in words, "" for what was not corrected. made: everything that the counts
    depend on besides the projections. deviation: of a `DEVIATION` what it is made of, in words. counted: what was made
    of the projections before, in words, "" for nothing.
    """

    counts: NDArray[np.floating]
    plane: str
    kind: str
    step: float
    pixel_mm: float
    slice_mm: float
    orientation: Sequence[float]
    position: Sequence[float]
    method: str
    algorithm: str
    filter: str
    scatter: str
    attenuation: str
    made: Mapping[str, Any]
    deviation: str = ""
    counted: str = ""

    @property
    def corrected(self) -> bool:
        """Whether attenuation is corrected."""
        return self.kind in ("AC", DEVIATION)


def stack_object(
    projections: Projections, stack: Stack, maps: Sequence[tuple[str, str]] = (), of: Sequence[Dataset] = ()
) -> Dataset:
    """The NM object of a stack. maps: (class, instance) UIDs of the attenuation map's objects. of: the object whose
    deviation it is, where it is one.

    Every byte is a function of the arguments: dates are the projections', UIDs are hashes. All stacks of one file have
    one frame of reference, whose origin is the axis of rotation. Raises InputError for a header that cannot be copied.
    """
    try:
        with quiet_pydicom():
            return _object(projections, stack, [*map(_uids, of), _uids(projections.header), *maps])
    except Exception as error:
        # pydicom quotes values in its messages; they may identify the patient.
        raise InputError(f"{projections.path}: the header cannot be copied ({type(error).__name__}).") from None


def frame_of(projections: Projections) -> str:
    """UID of the frame of reference of everything that is reconstructed from projections."""
    return stable_uid("reconstructed frame of reference", str(projections.header.SOPInstanceUID))


def _object(projections: Projections, stack: Stack, sources: Sequence[tuple[str, str]]) -> Dataset:
    source, ds = projections.header, Dataset()
    for keyword in _KEPT:
        if keyword in source:
            ds[keyword] = copy.deepcopy(source[keyword])
    for keyword in _NEVER_ABSENT:
        if keyword not in ds:
            setattr(ds, keyword, "")
    made = json.dumps({**stack.made, "version": __version__}, sort_keys=True)
    uid, kind = str(source.SOPInstanceUID), stack.kind
    ds.SOPClassUID, ds.Modality = NM_IMAGE_STORAGE, "NM"
    ds.FrameOfReferenceUID = frame_of(projections)
    ds.PositionReferenceIndicator = ""
    # PS3.3 C.8.4.9.1.1.1: an original image is one of the patient's counts, reconstructed or not.
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    if kind == "MU":
        # There is no value for what was not transmitted either; this one keeps a map from being read as uptake.
        ds.ImageType = ["DERIVED", "PRIMARY", "RECON TOMO", "TRANSMISSION"]
    if kind == DEVIATION:
        ds.ImageType, ds.ImageComments = ["DERIVED", "PRIMARY", "RECON TOMO", "EMISSION"], _DEVIATION_COMMENT
    ds.SeriesNumber = _SERIES_OFFSET + _SERIES_NUMBERS[stack.plane] + _KIND_OFFSETS[kind]
    ds.InstanceNumber, ds.ImageID = 1, stack.plane
    ds.SeriesDescription = f"{projections.phase.upper()} {stack.method} {stack.plane}{_MARK * (kind == DEVIATION)}"
    ds.SoftwareVersions = __version__
    put_geometry(
        ds, stack.plane, len(stack.counts), np.broadcast_to(stack.pixel_mm, 2), stack.slice_mm, stack.orientation,
        stack.position,
    )  # fmt: skip
    ds.DetectorInformationSequence[0].CollimatorGridName = projections.collimator[:16]
    _put_acquisition(ds, projections)
    _put_method(ds, projections, stack, sources)
    pixels, slope = quantise(stack.counts, stack.step)
    set_pixels(ds, pixels)
    mapping = Dataset()
    mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, 0.0
    mapping.LUTExplanation, mapping.LUTLabel = _MEANINGS[kind]
    mapping.MeasurementUnitsCodeSequence = [unit_code("/cm" if kind == "MU" else "")]
    mapping.add_new("RealWorldValueFirstValueMapped", "US", 0)
    mapping.add_new("RealWorldValueLastValueMapped", "US", 65535)
    ds.RealWorldValueMappingSequence = [mapping]
    content = encoded_sha256(ds)
    ds.SOPInstanceUID = stable_uid("reconstructed instance", uid, stack.plane, kind, made, content)
    ds.SeriesInstanceUID = stable_uid("reconstructed series", uid, stack.plane, kind, made, content)
    return ds


def _put_acquisition(ds: Dataset, projections: Projections) -> None:
    """Photopeak, tracer, rotation, posture and phase, as far as the projections tell."""
    ds.CountsAccumulated = ""
    limits = []
    for low, high in projections.peak.ranges_kev:
        item = Dataset()
        item.EnergyWindowLowerLimit, item.EnergyWindowUpperLimit = f"{low:g}", f"{high:g}"
        limits.append(item)
    window = Dataset()
    window.EnergyWindowName = projections.isotope.replace("-", "")
    window.EnergyWindowRangeSequence = limits
    ds.EnergyWindowInformationSequence = [window]
    tracer = Dataset()
    tracer.RadionuclideCodeSequence = [code("SCT", *_NUCLIDES[projections.isotope == THALLIUM])]
    ds.RadiopharmaceuticalInformationSequence = [tracer]
    angles, step = projections.angles, step_of(projections.angles)
    rotation = Dataset()
    # Ours is 0 at the front and 90 at the left, theirs 180 and 90.
    rotation.StartAngle, rotation.AngularStep = f"{(180 - angles[0]) % 360:.6g}", f"{step:.6g}"
    rotation.ScanArc, rotation.RotationDirection = f"{projections.covered:.6g}", "CW"
    rotation.RadialPosition = [f"{mm:.1f}" for mm in projections.radius_mm]
    rotation.NumberOfFramesInRotation = projections.views
    if projections.frame_ms:
        rotation.ActualFrameDuration = round(projections.frame_ms)
    ds.RotationInformationSequence = [rotation]
    posture, end = lying(projections.header)
    recumbent = code("SCT", "102538003", "recumbent")
    if posture in _POSTURES:
        recumbent.PatientOrientationModifierCodeSequence = [code("SCT", *_POSTURES[posture])]
    ds.PatientOrientationCodeSequence = [recumbent] if posture in _POSTURES else []
    ds.PatientGantryRelationshipCodeSequence = [code("SCT", *_ENDS[end])] if end in _ENDS else []
    state = Dataset()
    state.ValueType = "CODE"
    state.ConceptNameCodeSequence = [code(*PATIENT_STATE, "Patient State")]
    state.ConceptCodeSequence = [code(*_STATES[projections.phase])]
    ds.AcquisitionContextSequence = [state]


def _put_method(ds: Dataset, projections: Projections, stack: Stack, sources: Sequence[tuple[str, str]]) -> None:
    before = projections.header.get("CorrectedImage") or []
    before = [before] if isinstance(before, str) else list(before)
    found = [*before, *(["ATTN"] if stack.corrected else []), *(["SCAT"] if stack.scatter else [])]
    ds.CorrectedImage = list(dict.fromkeys(found))
    counted = f", {stack.counted}," if stack.counted else ""
    parts = (
        f"Reconstructed from projections{counted} by spectac_fast {__version__}: {stack.algorithm}, "
        f"filter {stack.filter}, {_corrected('scatter', stack.scatter)}, "
        f"{_corrected('attenuation', stack.attenuation)}"
    )
    if stack.kind == "MU":
        parts = f"Attenuation at 140.5 keV by spectac_fast {__version__}: {stack.attenuation}. No CT was used"
    if stack.kind == DEVIATION:
        parts = f"Standard deviation over {stack.deviation}. {parts}"
    ds.DerivationDescription = f"Research use only, not a medical device. {parts}."[:1024]
    if stack.kind == "NC":
        # There are patients whose images look corrected without: words alone would leave readers in doubt.
        ds.DerivationCodeSequence = [code("DCM", "122729", "No attenuation correction")]
    ds.BurnedInAnnotation = "NO"
    ds.SourceImageSequence = [_source(*each) for each in sources]
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code("DCM", "109102", "Processing Equipment")]
    equipment.Manufacturer, equipment.ManufacturerModelName = "spectac_fast project", "spectac_fast reconstruct"
    equipment.SoftwareVersions, equipment.ContributionDescription = __version__, "Reconstruction"
    earlier = copy.deepcopy(projections.header.get("ContributingEquipmentSequence") or [])
    ds.ContributingEquipmentSequence = [*earlier, equipment]


def _uids(ds: Dataset) -> tuple[str, str]:
    return str(ds.SOPClassUID), str(ds.SOPInstanceUID)


def _corrected(what: str, how: str) -> str:
    return f"{what} correction: {how}" if how else f"no {what} correction"


def _source(kind: str, instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = kind, instance
    item.SpatialLocationsPreserved = "NO"
    item.PurposeOfReferenceCodeSequence = [code("DCM", "121322", "Source image for image processing operation")]
    return item
