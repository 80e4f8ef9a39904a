"""A picture as a DICOM secondary capture in the study of a series."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from spectac_fast._version import __version__
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.elements import quiet_pydicom, save_atomically, stable_uid
from spectac_fast.formats.dicom.summary.home import in_study_of
from spectac_fast.formats.series import Series

SECONDARY_CAPTURE = UID("1.2.840.10008.5.1.4.1.1.7")
_SERIES_NUMBER = 29000


def write_capture(source: Series, pixels: NDArray[np.uint8], path: Path, *, annotated: bool = False) -> None:
    """Write a picture [rows, columns, 3] (sRGB) as a secondary capture, whole or not at all.

    source: a series read from DICOM; patient and study are its own. annotated: the picture holds words of the user's,
    which may tell whose it is. Dates are the study's, UIDs are hashes, so equal
    pictures of one study give equal bytes. Raises ValueError for a source without header or pixels of another kind,
    InputError for a header that cannot be copied, OSError.
    """
    if source.header is None:
        raise ValueError("a secondary capture needs a series that was read from DICOM")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 pixels [rows, columns, 3], found {pixels.dtype} {pixels.shape}")
    with quiet_pydicom():
        try:
            ds = _described(source.header, hashlib.sha256(pixels.tobytes()).hexdigest())
        except Exception as error:
            # pydicom quotes values in its messages; they may identify the patient.
            raise InputError(f"{source.path}: the header cannot be copied ({type(error).__name__}).") from None
        ds.BurnedInAnnotation = "YES" if annotated else "NO"
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.Rows, ds.Columns = pixels.shape[:2]
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelRepresentation = 7, 0
        content = pixels.tobytes()
        ds.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
        save_atomically(ds, path)


def _described(header: Dataset, entropy: str) -> Dataset:
    ds = in_study_of(header)
    study = str(header.StudyInstanceUID)
    ds.SOPClassUID = SECONDARY_CAPTURE
    ds.SOPInstanceUID = stable_uid("report instance", study, entropy)
    ds.SeriesInstanceUID = stable_uid("report series", study, entropy)
    ds.Modality, ds.ConversionType, ds.ImageType = "OT", "WSD", ["DERIVED", "SECONDARY"]
    ds.SeriesNumber = _SERIES_NUMBER
    ds.SeriesDescription = "DL-AC REPORT"
    ds.PatientOrientation, ds.BodyPartExamined = "", "HEART"
    ds.SecondaryCaptureDeviceManufacturer = "spectac_fast project"
    ds.SecondaryCaptureDeviceManufacturerModelName = "spectac_fast"
    ds.SecondaryCaptureDeviceSoftwareVersions = __version__
    ds.ImageComments = (
        "Summary of an ESTIMATED attenuation correction (no CT). Research use only, not a medical device."
    )
    return ds
