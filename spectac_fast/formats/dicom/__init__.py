"""NM RECON TOMO objects: read them (`read`, `single`), derive corrected ones (`derive`), make synthetic ones
(`synthetic`). Stored values become counts, and counts stored values, in `values/` alone. Importing this imports
pydicom; what is public is named below.
"""

from spectac_fast.formats.dicom.derive import derive_corrected, derive_uncertainty
from spectac_fast.formats.dicom.directory import directory_entries, is_directory
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE, quiet_pydicom, save_atomically, stage
from spectac_fast.formats.dicom.parse import check_size, file_content
from spectac_fast.formats.dicom.read import glance, instance_uid, read_series
from spectac_fast.formats.dicom.single import read_single_frames, series_of_slice
from spectac_fast.formats.dicom.synthetic import write_series
from spectac_fast.formats.dicom.values.store import quantise

__all__ = [
    "NM_IMAGE_STORAGE",
    "check_size",
    "derive_corrected",
    "derive_uncertainty",
    "directory_entries",
    "file_content",
    "glance",
    "instance_uid",
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
