"""The study that an object belongs to: whose it is, and nothing that is true of other pixels alone."""

from __future__ import annotations

from pydicom.dataset import Dataset

_KEPT = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyInstanceUID",
    "StudyID",
)
# Type 2: must be there, may be empty.
_NEVER_ABSENT = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
)


def in_study_of(header: Dataset) -> Dataset:
    """The beginning of an object in the study of `header`: patient, study and maker. Its date is the study's."""
    ds = Dataset()
    for keyword in _KEPT:
        if keyword in header:
            ds[keyword] = header[keyword]
    for keyword in _NEVER_ABSENT:
        if keyword not in ds:
            setattr(ds, keyword, "")
    ds.ContentDate, ds.ContentTime = ds.StudyDate, ds.StudyTime
    ds.InstanceNumber = 1
    ds.Manufacturer = "spectac_fast project"
    return ds
