"""Files and bytes -> data sets; whatever a damaged one makes pydicom do becomes one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_description
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from spectac_fast.errors import InputError, NoInputError, NotApplicableError
from spectac_fast.formats.dicom.door import quieten
from spectac_fast.formats.dicom.elements import quiet_pydicom

# A reconstructed stack is below 10 MB: anything near this limit is a mistake or an attack. Reading holds a file three
# times.
MAX_FILE_BYTES = 64 * 2**20

# Numbers as text, and what pads them. One that is not finite is judged where it is used.
_NUMBERS = re.compile(rb"[-+0-9.eEnaifNAIF\\ \t\r\n\0]*")
# The numbers that every reader of slices or projections needs: where these are none, the file has no use; others may
# hold whatever a system wrote there.
_READ = (
    *("PixelSpacing", "SpacingBetweenSlices", "SliceThickness", "ImagePositionPatient", "ImageOrientationPatient"),
    *("RescaleSlope", "RescaleIntercept", "NumberOfFrames", "StartAngle", "AngularStep", "ScanArc"),
    "RadialPosition",
)
_READ_WITHIN = ("DetectorInformationSequence", "RotationInformationSequence")


@contextmanager
def sentences(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes pydicom raise into one sentence; its own messages quote values."""
    try:
        with quiet_pydicom():
            yield
    except (InputError, NoInputError):
        raise
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file or folder.") from None
    except InvalidDicomError:
        raise InputError(f"{path}: expected a DICOM file, found something else.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or 'damaged'}).") from None
    except Exception as error:
        raise InputError(f"{path}: damaged or truncated DICOM ({type(error).__name__}).") from None


def file_content(path: Path) -> bytes:
    """The bytes of a file that may be a DICOM file.

    Raises NoInputError where there is none, NotApplicableError for one too large to be a heart study, InputError for
    what cannot be read.
    """
    with sentences(path):
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: expected a file, found something else.")
        check_size(path, path.stat().st_size)
        return path.read_bytes()


def check_size(path: Path, size: int) -> None:
    """Raise NotApplicableError for a file of more bytes than are read."""
    if size > MAX_FILE_BYTES:
        raise NotApplicableError(
            f"{path}: expected a file of at most {MAX_FILE_BYTES >> 20} MiB, found {size / 2**20:.0f} MiB."
        )


def parse(path: Path, content: bytes | None, **options: Any) -> Dataset:
    """The data set of a file; to be called within `sentences`."""
    content = file_content(path) if content is None else content
    # Looked at before the data set, because a deflated one would be inflated, to any size, on reading.
    syntax = UID(file_meta(content).get("TransferSyntaxUID", ImplicitVRLittleEndian))
    if syntax == DeflatedExplicitVRLittleEndian:
        raise NotApplicableError(f"{path}: expected an uncompressed DICOM file, found {syntax.name}.")
    # From memory, a length field of 4 GB reads what is there; from a file it would allocate 4 GB first.
    ds = quieten(dcmread(BytesIO(content), **options))
    if wrong := _first_unreadable(ds):
        raise InputError(f"{path}: expected numbers in its {wrong}, found other characters; a decimal comma is none.")
    return ds


def _first_unreadable(ds: Dataset) -> str:
    """The name of the first of `_READ` whose text should be numbers and is not, here or in items; "" for none."""
    for keyword in _READ:
        # As it was read: asking for the element itself would convert it, which raises.
        value = ds.get_item(keyword).value if keyword in ds else b""
        if isinstance(value, bytes) and not _NUMBERS.fullmatch(value):
            return dictionary_description(keyword)
    within = (item for keyword in _READ_WITHIN if keyword in ds for item in ds[keyword].value)
    return next(filter(None, map(_first_unreadable, within)), "")


def file_meta(content: bytes) -> Dataset:
    """The file meta information at the beginning of a file; to be called within `sentences`."""
    if content[128:132] != b"DICM":
        raise InvalidDicomError
    after = BytesIO(content)
    after.seek(132)
    return read_dataset(after, False, True, stop_when=lambda tag, *_: tag.group != 2)


def uid_name(uid: UID, unknown: str) -> str:
    """The registered name of a UID; a value that is none could hold anything and is not repeated."""
    return uid.name if uid.name != str(uid) else unknown
