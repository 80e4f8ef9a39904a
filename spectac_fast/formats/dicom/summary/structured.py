"""Measurements as a DICOM structured report, TID 1500 of PS3.16, through highdicom (extra: sr)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataset import Dataset
from pydicom.uid import UID

from spectac_fast._version import __version__
from spectac_fast.errors import InputError, SetupError
from spectac_fast.formats.dicom.derivation import RESEARCH
from spectac_fast.formats.dicom.elements import encoded_sha256, plain, quiet_pydicom, stable_uid, stage
from spectac_fast.formats.dicom.summary.home import in_study_of
from spectac_fast.formats.series import Series

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept, MeasurementReport, MeasurementsAndQualitativeEvaluations

# scheme, value, meaning
Code = tuple[str, str, str]

ENHANCED_SR = UID("1.2.840.10008.5.1.4.1.1.88.22")
# Of what no public scheme has a code for.
OWN_SCHEME = "99SPECTAC"
_SERIES_NUMBER = 39000
_ASCII = str.maketrans({"’": "'", "−": "-", "–": "-", "×": "x"})
_PROCEDURE: Code = ("SCT", "252432008", "Radionuclide myocardial perfusion study")
# What highdicom made beside the header that is made here.
_CONTENT = (
    "ValueType",
    "ConceptNameCodeSequence",
    "ContinuityOfContent",
    "ContentTemplateSequence",
    "ContentSequence",
    "CompletionFlag",
    "PreliminaryFlag",
    "VerificationFlag",
    "CurrentRequestedProcedureEvidenceSequence",
    "PertinentOtherEvidenceSequence",
    "PerformedProcedureCodeSequence",
    "ReferencedPerformedProcedureStepSequence",
)


@dataclass(frozen=True)
class Measured:
    """One number. name, unit, site: codes; site: where in the body, where that is narrower than the group's."""

    name: Code
    value: float
    unit: Code
    site: Code | None = None


@dataclass(frozen=True)
class Group:
    """What was measured in one image, or in two that are compared.

    name: in words. of: the series it was measured in, or derived from where those were never written. site: where in
    the body. said: codes of what is true of all of it. method: sentences on how it was measured.
    """

    name: str
    of: Sequence[Series]
    site: Code
    said: Mapping[Code, Code]
    measured: Sequence[Measured]
    method: Sequence[str] = ()


def need_highdicom() -> None:
    """Raise SetupError, with what to install, where highdicom is missing."""
    try:
        import highdicom  # noqa: F401 - the extra is there or not
    except ImportError:
        raise SetupError("DICOM structured reports need highdicom: pip install 'spectac_fast[sr]'.") from None


def write_measurements(groups: Sequence[Group], comments: Sequence[str], path: Path) -> None:
    """Write an Enhanced SR of groups of measurements (TID 1500, TID 1501), whole or not at all.

    groups: one at least; patient and study are those of the first one's first series. comments: sentences on all of it,
    which stand after the one that says what it is not for. Dates are the study's, and UIDs are hashes of study and
    content, so equal measurements of one study give equal bytes. Raises SetupError without highdicom, InputError for a
    series without a header that can be copied, OSError.
    """
    need_highdicom()
    source = groups[0].of[0]
    for one in (one for group in groups for one in group.of):
        if one.header is None:
            raise InputError(f"{one.path}: expected DICOM series for a DICOM structured report, found another format.")
    with quiet_pydicom():
        try:
            ds = _described(_header(source), groups, [RESEARCH, *comments])
            staged = stage(ds, path)
        except OSError:
            raise
        except Exception as error:
            # pydicom and highdicom quote values in their messages; they may identify the patient.
            raise InputError(f"{source.path}: the header cannot be copied ({type(error).__name__}).") from None
        os.replace(staged, path)


def _described(header: Dataset, groups: Sequence[Group], comments: Sequence[str]) -> Dataset:
    from highdicom.sr import EnhancedSR

    ds, study = in_study_of(header), str(header.StudyInstanceUID)
    evidence = list({one.SOPInstanceUID: one for group in groups for one in _instances(group)}.values())
    made = EnhancedSR(
        evidence=evidence,
        content=_report(study, groups, comments),
        # What is needed of these stands in `ds`.
        series_instance_uid=study,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=study,
        instance_number=1,
        is_complete=True,
    )
    for keyword in _CONTENT:
        if keyword in made:
            ds[keyword] = made[keyword]
    ds.SOPClassUID, ds.Modality = ENHANCED_SR, "SR"
    ds.SeriesNumber, ds.SeriesDescription = _SERIES_NUMBER, "DL-AC MEASUREMENTS"
    ds.ManufacturerModelName, ds.SoftwareVersions = "spectac_fast", __version__
    scheme = Dataset()
    scheme.CodingSchemeDesignator, scheme.CodingSchemeName = OWN_SCHEME, "spectac_fast"
    scheme.CodingSchemeResponsibleOrganization = "spectac_fast project"
    ds.CodingSchemeIdentificationSequence = [scheme]
    content = encoded_sha256(ds)
    ds.SOPInstanceUID = stable_uid("measurements instance", study, content)
    ds.SeriesInstanceUID = stable_uid("measurements series", study, content)
    return ds


def _report(study: str, groups: Sequence[Group], comments: Sequence[str]) -> MeasurementReport:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        RelationshipTypeValues,
        TextContentItem,
    )

    device = DeviceObserverIdentifyingAttributes(
        uid=stable_uid("device observer", __version__),
        name="spectac_fast",
        manufacturer_name="spectac_fast project",
        model_name=f"spectac_fast {__version__}",
    )
    report = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(_coded(("DCM", "121007", "Device")), device)
        ),
        procedure_reported=_coded(_PROCEDURE),
        imaging_measurements=[_measurements(study, group) for group in groups],
    )
    for sentence in comments:
        name = _coded(("DCM", "121106", "Comment"))
        report[0].ContentSequence.append(TextContentItem(name, _text(sentence), RelationshipTypeValues.CONTAINS))
    return report


def _measurements(study: str, group: Group) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        QualitativeEvaluation,
        SourceImageForMeasurementGroup,
        TrackingIdentifier,
    )

    sources = _instances(group)
    measured = [
        Measurement(
            _coded(one.name),
            one.value,
            _coded(one.unit),
            finding_sites=[FindingSite(_coded(one.site))] if one.site else None,
        )
        for one in group.measured
    ]
    uids = sorted(str(one.SOPInstanceUID) for one in sources)
    return MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(stable_uid("measurement group", study, group.name, *uids), group.name),
        algorithm_id=AlgorithmIdentification(
            "spectac_fast report", __version__, [_text(each) for each in group.method] or None
        ),
        finding_sites=[FindingSite(_coded(group.site))],
        measurements=measured,
        qualitative_evaluations=[QualitativeEvaluation(_coded(k), _coded(v)) for k, v in group.said.items()] or None,
        source_images=[SourceImageForMeasurementGroup(one.SOPClassUID, one.SOPInstanceUID) for one in sources],
    )


def _instances(group: Group) -> list[Dataset]:
    """What a reference to each object of a group's series needs, and nothing of the patient."""
    found = []
    for one in group.of:
        header = _header(one)
        for uid in one.instances or (str(header.SOPInstanceUID),):
            ds = Dataset()
            ds.SOPClassUID, ds.SOPInstanceUID = header.SOPClassUID, uid
            ds.StudyInstanceUID, ds.SeriesInstanceUID = header.StudyInstanceUID, header.SeriesInstanceUID
            for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
                setattr(ds, keyword, "")
            ds.StudyDate = ds.StudyTime = None
            found.append(ds)
    return found


def _header(series: Series) -> Dataset:
    assert series.header is not None
    return series.header


def _text(sentence: str) -> str:
    """A sentence in characters that every character set has."""
    return plain(sentence.translate(_ASCII))


def _coded(of: Code) -> CodedConcept:
    from highdicom.sr import CodedConcept

    scheme, value, meaning = of
    return CodedConcept(value, scheme, meaning)
