"""NM RECON TOMO objects: read them, derive corrected ones, make synthetic ones. Importing this imports pydicom."""

from spectac_fast.data.dicom.derive import derive_corrected, derive_uncertainty, quantise
from spectac_fast.data.dicom.directory import directory_entries, is_directory
from spectac_fast.data.dicom.elements import NM_IMAGE_STORAGE, quiet_pydicom, save_atomically, stage
from spectac_fast.data.dicom.parse import check_size, file_content
from spectac_fast.data.dicom.read import glance, read_series
from spectac_fast.data.dicom.single import read_single_frames, series_of_slice
from spectac_fast.data.dicom.synthetic import write_series

__all__ = [
    "NM_IMAGE_STORAGE",
    "check_size",
    "derive_corrected",
    "derive_uncertainty",
    "directory_entries",
    "file_content",
    "glance",
    "is_directory",
    "quantise",
    "quiet_pydicom",
    "read_series",
    "read_single_frames",
    "save_atomically",
    "series_of_slice",
    "stage",
    "write_series",
]
