"""DICOMDIR: the list of files on a disc."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import MediaStorageDirectoryStorage

from spectac_fast.errors import InputError, SpectacError
from spectac_fast.formats.dicom.door import quieten
from spectac_fast.formats.dicom.parse import file_content, file_meta, sentences

# File meta information is a few hundred bytes.
_BEGINNING = 2**16


def is_directory(path: Path) -> bool:
    """Whether a file says at its beginning that it is a DICOMDIR, whatever its name; False if it cannot be read."""
    try:
        with sentences(path), open(path, "rb") as file:
            meta = file_meta(file.read(_BEGINNING))
    except SpectacError:
        return False
    return meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage


def directory_entries(path: Path) -> list[tuple[str, ...]]:
    """The components of every Referenced File ID of a DICOMDIR, in its order, as they are written there.

    Raises InputError for a file that is no directory or is damaged.
    """
    with sentences(path):
        ds = quieten(dcmread(BytesIO(file_content(path))))
        if ds.file_meta.get("MediaStorageSOPClassUID") != MediaStorageDirectoryStorage:
            raise InputError(f"{path}: expected a DICOM directory, found another kind of DICOM file.")
        entries = []
        for record in ds.get("DirectoryRecordSequence") or ():
            parts = record.get("ReferencedFileID")
            if parts:
                entries.append((parts,) if isinstance(parts, str) else tuple(map(str, parts)))
        return entries
