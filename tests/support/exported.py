"""An archive's export of synthetic studies: an object a folder, UIDs as names, no endings, and what else lies there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from spectac_fast.data.demo import unpack

SECRETS = ("SECRET-", "DOE")


class Export:
    """An archive's folder, filled from the bundled study of `spectac phantom`."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.folder, self._source, self._written = folder, source, 0
        if not source.is_dir():
            unpack(source)

    def put(self, patient: str, name: str, change=None, counts=None, study: str = "") -> Path:
        """Write one series ("stress_SA_NC") as `patient`'s. change(ds): of its header; counts: of its stored values."""
        ds = pydicom.dcmread(self._source / f"{name}.dcm")
        ds.PatientID, ds.PatientName = f"SECRET-{patient}", f"DOE^{patient}"
        ds.StudyInstanceUID = _uid(patient, study)
        ds.FrameOfReferenceUID = _uid(patient, study, name.partition("_")[0], "frame")
        ds.SeriesInstanceUID = generate_uid()
        if counts is not None:
            values = np.frombuffer(ds.PixelData, "<u2").reshape(int(ds.NumberOfFrames), ds.Rows, ds.Columns)
            found = np.clip(np.rint(counts(values.astype(float))), 0, 65535).astype("<u2")
            ds.NumberOfFrames, ds.Rows, ds.Columns = found.shape
            ds.PixelData = found.tobytes()
        if change is not None:
            change(ds)
        return self.save(patient, ds)

    def save(self, patient: str, ds: Dataset) -> Path:
        """Write a data set as an archive names files."""
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        self._written += 1
        # Of files that are as good the first is taken: names are in the order of writing.
        name = f"1.2.826.0.1.3680043.8.498.{10**30 + 7919 * self._written}"
        path = self.folder / f"box{len(patient)}" / str(ds.StudyInstanceUID) / name / generate_uid()
        path.parent.mkdir(parents=True)
        ds.save_as(path)
        return path

    def pair(self, patient: str, what: str, **more) -> tuple[Path, Path]:
        """NC and AC of one phase and plane ("stress_SA")."""
        return self.put(patient, f"{what}_NC", **more), self.put(patient, f"{what}_AC", **more)

    def pdf(self, patient: str) -> Path:
        """A report of somebody's as an encapsulated PDF."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = EncapsulatedPDFStorage, ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.Modality, ds.PatientID = EncapsulatedPDFStorage, "DOC", f"SECRET-{patient}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = _uid(patient, ""), generate_uid()
        ds.EncapsulatedDocument, ds.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4 ", "application/pdf"
        return self.save(patient, ds)


def _uid(*words: str) -> str:
    return generate_uid(entropy_srcs=["export", *words])


def coarser(values: np.ndarray) -> np.ndarray:
    """The central 48 x 48 pixels."""
    return values[:, 8:56, 8:56]


def smaller_pixels(ds: Dataset) -> None:
    """A camera with pixels of 6 mm."""
    ds.PixelSpacing = ["6.0", "6.0"]


def an_hour_later(ds: Dataset) -> None:
    """Another acquisition."""
    ds.AcquisitionTime = "235900"
