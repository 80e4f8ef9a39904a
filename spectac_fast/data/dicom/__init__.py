"""NM RECON TOMO objects: read them, derive corrected ones, make synthetic ones. Importing this package imports pydicom."""

from spectac_fast.data.dicom.synthetic import write_series

__all__ = ["write_series"]
