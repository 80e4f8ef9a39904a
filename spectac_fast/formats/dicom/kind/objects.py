"""The class and the Image Type of an object: slices, or something that is never corrected."""

from __future__ import annotations

from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID, MediaStorageDirectoryStorage

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE
from spectac_fast.formats.dicom.parse import uid_name
from spectac_fast.formats.evidence.header import computed_doubts, emission_doubts

# Value 3 of the Image Type (PS3.3 C.8.4.9), in words.
OTHER_TYPES = {
    "RECON TOMO": "reconstructed slices",
    "TOMO": "projections (TOMO)",
    "RECON GATED TOMO": "a gated reconstruction",
    "GATED TOMO": "gated projections",
    "GATED": "gated planar images",
    "DYNAMIC": "dynamic planar images",
    "STATIC": "planar images",
    "WHOLE BODY": "a whole-body scan",
}


def check_kind(ds: Dataset, path: Path) -> None:
    """Raise NotApplicableError unless a data set is an ungated NM reconstruction of emission.

    No option makes a map of attenuation anything else: whether attenuation was corrected is another question.
    """
    kind = UID(str(ds.get("SOPClassUID", "")))
    # A DICOMDIR has a class in its file meta information only.
    if not kind and ds.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        kind = MediaStorageDirectoryStorage
    if not kind:
        raise InputError(f"{path}: expected a SOP Class, found none; the file may be truncated.")
    if kind != NM_IMAGE_STORAGE:
        found = uid_name(kind, "an unknown kind of object")
        raise NotApplicableError(f"{path}: expected NM slices (Nuclear Medicine Image Storage), found {found}.")
    image_type = list(ds.get("ImageType") or [])
    third = image_type[2] if len(image_type) > 2 else "nothing"
    if third != "RECON TOMO":
        what = OTHER_TYPES.get(third, "another Image Type")
        # What can be made of the file is the better half of a refusal.
        hint = "; spectac reconstruct makes slices of them" if third in ("TOMO", "GATED TOMO") else ""
        raise NotApplicableError(f"{path}: expected reconstructed slices (RECON TOMO), found {what}{hint}.")
    if "WholeBodyTechnique" in ds:
        raise NotApplicableError(f"{path}: expected slices of the heart, found a whole-body scan (its technique).")
    if doubts := emission_doubts(ds):
        raise NotApplicableError(
            f"{path}: expected counts that the patient emitted, found transmission or a map of attenuation: "
            f"{'; '.join(doubts)}."
        )
    if doubts := computed_doubts(ds):
        raise NotApplicableError(
            f"{path}: expected the counts of one state, found an image computed from others: {'; '.join(doubts)}."
        )
