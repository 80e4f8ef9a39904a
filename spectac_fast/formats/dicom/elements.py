"""What every object written here shares: codes, deterministic UIDs, 16-bit pixels, atomic files."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from spectac_fast.formats.atomic import stage_bytes

NM_IMAGE_STORAGE = UID("1.2.840.10008.5.1.4.1.1.20")

# View code -> plane (PS3.16 CID 26), in SNOMED CT codes and in the retired SRT ones that older systems write.
VIEW_CODES = {
    ("SCT", "103340004"): "SA",
    ("SCT", "131185001"): "VLA",
    ("SCT", "131186000"): "HLA",
    ("SRT", "G-A186"): "SA",
    ("SRT", "G-A18A"): "VLA",
    ("SRT", "G-A18B"): "HLA",
}
VIEW_MEANINGS = {"SA": "Short Axis", "VLA": "Vertical Long Axis", "HLA": "Horizontal Long Axis"}

# Patient State code -> phase (PS3.16 CID 3101).
PATIENT_STATE = ("DCM", "109054")
STATE_CODES = {
    ("DCM", "109091"): "stress",
    ("SRT", "F-05019"): "stress",
    ("SCT", "128975004"): "rest",
    ("SRT", "F-01602"): "rest",
}


class _Quiet:
    """Silence that several threads share: the first to enter makes it, the last to leave ends it."""

    def __init__(self) -> None:
        self._lock, self._inside, self._undo = threading.Lock(), 0, ExitStack()

    def enter(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                logger = logging.getLogger("pydicom")
                self._undo.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL)
                self._undo.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._undo.close()


_quiet = _Quiet()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Silence pydicom's warnings and log: they quote values, and a value may identify a patient."""
    _quiet.enter()
    try:
        yield
    finally:
        _quiet.leave()


def code(scheme: str, value: str, meaning: str) -> Dataset:
    """One item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def plain(text: str) -> str:
    """`text` in the characters that every DICOM character set has; a backslash would separate values."""
    return re.sub(r"[^ -\[\]-~]", "?", text)


def stable_uid(*parts: str) -> UID:
    """A UID that is a function of `parts`: 2.25 and a version-8 UUID (RFC 9562) cut from their SHA-256."""
    digest = hashlib.sha256("\x1f".join(("spectac_fast", *parts)).encode()).digest()
    number = int.from_bytes(digest[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return UID(f"2.25.{number}")


def encoded_sha256(ds: Dataset) -> str:
    """SHA-256 of a data set as `stage` encodes it, file meta information left out."""
    content = DicomBytesIO()
    content.is_little_endian, content.is_implicit_VR = True, False
    write_dataset(content, ds)
    return hashlib.sha256(content.getvalue()).hexdigest()


def set_pixels(ds: Dataset, pixels: NDArray, padding: NDArray[np.bool_] | bool = False) -> None:
    """Put uint16 or int16 `pixels` [frames, rows, columns] and every attribute that describes them into `ds`.

    padding: where they are no values; the extremes leave them out.
    """
    signed = pixels.dtype.kind == "i"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.NumberOfFrames, ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, int(signed)
    values = pixels[~padding] if np.any(padding) else pixels
    # pydicom cannot tell US from SS for these two when the dataset came from a file of the other kind.
    ds.add_new("SmallestImagePixelValue", "SS" if signed else "US", int(values.min(initial=values.max(initial=0))))
    ds.add_new("LargestImagePixelValue", "SS" if signed else "US", int(values.max(initial=0)))
    ds.add_new("PixelData", "OW", pixels.astype("<i2" if signed else "<u2").tobytes())


def stage(ds: Dataset, path: Path) -> Path:
    """Write `ds` completely to a temporary file beside `path` and return it; the caller renames it into place.

    Explicit VR little endian, with file meta information that does not depend on versions or on the clock.
    Raises OSError, and whatever pydicom raises for a header that cannot be encoded; nothing is left behind then.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = stable_uid("implementation")
    meta.ImplementationVersionName = "SPECTAC_FAST"
    ds.file_meta, ds.preamble = meta, b"\0" * 128
    # To memory first: what pydicom makes of a full disk's error has neither its number nor its text.
    content = BytesIO()
    ds.save_as(content, enforce_file_format=True)
    return stage_bytes(content.getbuffer(), path)


def save_atomically(ds: Dataset, path: Path) -> None:
    """Write `ds` to `path` so that the file is there whole or not at all."""
    os.replace(stage(ds, path), path)
