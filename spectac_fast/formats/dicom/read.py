"""One NM multi-frame reconstruction file -> `Series`, or one sentence that says why not."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    MediaStorageDirectoryStorage,
)

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom.depth import check_depth
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE, PATIENT_STATE, STATE_CODES, VIEW_CODES
from spectac_fast.formats.dicom.parse import parse, sentences, uid_name
from spectac_fast.formats.dicom.values import stored_counts
from spectac_fast.formats.names import corrected_in, phase_in, plane_in, texts_of
from spectac_fast.formats.series import Series

_PLANE_OF_VIEW = {value: plane for (_, value), plane in VIEW_CODES.items()}
_PHASE_OF_STATE = {value: phase for (_, value), phase in STATE_CODES.items()}
_SLICE_VECTOR = 0x00540080
TRANSAXIAL = "TRA"


def read_series(path: Path | str, content: bytes | None = None, *, force: bool = False) -> Series:
    """Read one NM RECON TOMO multi-frame file, attenuation-corrected or not.

    The counts are the stored values (a Rescale Slope or Real World Value Mapping stays in the header), in slice order.
    content: the bytes of the file where they are known already or lie in an archive; `path` then only names them.
    force: read transaxial slices too, as plane "TRA".

    Raises:
        NoInputError: no such file.
        NotApplicableError: a sound DICOM file of another kind (other modality, projections, gated, transaxial).
        InputError: not DICOM, truncated, or without usable pixels, geometry, plane or phase.
    """
    path = Path(path)
    with sentences(path):
        ds = parse(path, content)
        check_depth(ds, path)
        check_kind(ds, path)
        return series_of(ds, path, force=force)


def series_of(ds: Dataset, path: Path, *, force: bool, instances: tuple[str, ...] = ()) -> Series:
    """The series in a multi-frame data set, which loses its pixels; to be called within `sentences`."""
    frames = stored_counts(ds, path)
    orientation, position, pixel_mm, slice_mm = _geometry(ds, path)
    texts = texts_of(ds, path)
    series = Series(
        counts=frames[np.argsort(slice_numbers(ds, path))],
        plane=_plane(ds, path, texts, orientation, force),
        phase=_phase(ds, path, texts),
        pixel_mm=pixel_mm,
        slice_mm=slice_mm,
        orientation=orientation,
        position=position,
        attenuation_corrected=_corrected(ds, texts),
        path=path,
        header=ds,
        instances=instances,
    )
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        if not re.fullmatch(r"[0-9.]{1,64}", str(ds.get(keyword, ""))):
            raise InputError(f"{path}: expected a valid {keyword}, found none.")
    del ds.PixelData
    return series


def glance(path: Path | str, content: bytes | None = None) -> tuple[str, int]:
    """Study Instance UID ("" if none) and number of frames of any DICOM file, without its pixels.

    content: as for `read_series`. Raises as `read_series` does for a file that is missing, not DICOM or damaged.
    """
    path = Path(path)
    with sentences(path):
        ds = parse(path, content, specific_tags=["StudyInstanceUID", "NumberOfFrames"], stop_before_pixels=True)
        return str(ds.get("StudyInstanceUID", "")), int(ds.get("NumberOfFrames") or 1)


def slice_numbers(ds: Dataset, path: Path) -> NDArray[np.int64]:
    """For each stored frame its slice, counted from 0: the Slice Vector, or the stored order where there is none."""
    frames = int(ds.get("NumberOfFrames") or 1)
    pointer = ds.get("FrameIncrementPointer")
    pointers = [pointer] if isinstance(pointer, int) else list(pointer or [_SLICE_VECTOR])
    vector = ds.get("SliceVector")
    numbers = np.arange(1, frames + 1) if vector is None else np.atleast_1d(np.asarray(vector, np.int64))
    if pointers != [_SLICE_VECTOR] or not np.array_equal(np.sort(numbers), np.arange(1, frames + 1)):
        raise InputError(f"{path}: expected frames that run through the slices once, found another Slice Vector.")
    return numbers - 1


def check_kind(ds: Dataset, path: Path) -> None:
    """Raise NotApplicableError unless a data set is an ungated NM reconstruction."""
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
    found = {
        "TOMO": "projections (TOMO)",
        "RECON GATED TOMO": "a gated reconstruction",
        "GATED TOMO": "gated projections",
    }
    if third != "RECON TOMO":
        what = found.get(third, "another Image Type")
        raise NotApplicableError(f"{path}: expected reconstructed slices (RECON TOMO), found {what}.")


def _geometry(ds: Dataset, path: Path) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, float], float]:
    detectors = ds.get("DetectorInformationSequence") or [Dataset()]
    home = detectors[0] if "ImageOrientationPatient" in detectors[0] else ds
    orientation = _numbers(home, path, "ImageOrientationPatient", 6)
    position = _numbers(home, path, "ImagePositionPatient", 3)
    pixel_mm = _numbers(ds, path, "PixelSpacing", 2)
    (slice_mm,) = _numbers(ds, path, "SpacingBetweenSlices", 1)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    skew = max(abs(row @ row - 1), abs(column @ column - 1), abs(row @ column))
    if skew > 0.01:
        raise InputError(
            f"{path}: expected perpendicular unit vectors in ImageOrientationPatient, found {orientation}."
        )
    if min(pixel_mm) <= 0 or slice_mm == 0:
        raise InputError(f"{path}: expected positive spacings, found pixels of {pixel_mm} mm every {slice_mm} mm.")
    return orientation, position, pixel_mm, slice_mm


def _numbers(ds: Dataset, path: Path, keyword: str, count: int) -> tuple[float, ...]:
    value = ds.get(keyword)
    values = [] if value is None or value == "" else [float(v) for v in np.atleast_1d(np.asarray(value, dtype=float))]
    if len(values) != count or not all(map(math.isfinite, values)):
        raise InputError(f"{path}: expected {count} finite numbers in {keyword}, found {values or 'none'}.")
    return tuple(values)


def _plane(ds: Dataset, path: Path, texts: list[str], orientation: tuple[float, ...], force: bool) -> str:
    for item in (*(ds.get("DetectorInformationSequence") or ()), ds):
        for view in item.get("ViewCodeSequence") or ():
            if view.get("CodeValue") in _PLANE_OF_VIEW:
                return _PLANE_OF_VIEW[view.CodeValue]
    plane = plane_in(texts)
    if plane is None and str(ds.get("SliceProgressionDirection", "")) in ("APEX_TO_BASE", "BASE_TO_APEX"):
        plane = "SA"
    if plane is not None:
        return plane
    normal = np.cross(orientation[:3], orientation[3:])
    if abs(normal[2]) > 0.99:
        if force:
            return TRANSAXIAL
        raise NotApplicableError(
            f"{path}: expected slices reoriented along the heart (SA, VLA or HLA), found transaxial slices."
        )
    raise InputError(f"{path}: expected SA, VLA or HLA in the view code, series description or file name, found none.")


def _phase(ds: Dataset, path: Path, texts: list[str]) -> str:
    for item in ds.get("AcquisitionContextSequence") or ():
        names, states = item.get("ConceptNameCodeSequence") or [], item.get("ConceptCodeSequence") or []
        if names and states and names[0].get("CodeValue") == PATIENT_STATE[1]:
            phase = _PHASE_OF_STATE.get(states[0].get("CodeValue"))
            if phase:
                return phase
    phase = phase_in([*texts, str(ds.get("StudyDescription") or "")])
    if phase is None:
        raise InputError(
            f"{path}: expected stress or rest in the series description or in the file name, found neither."
        )
    return phase


def _corrected(ds: Dataset, texts: list[str]) -> bool:
    corrections = ds.get("CorrectedImage") or []
    if "ATTN" in ([corrections] if isinstance(corrections, str) else list(corrections)):
        return True
    # GE's reconstruction states its corrections in the comments: ...$ReconCorr$ACSCRR$...
    vendor = re.search(r"ReconCorr\$([A-Z]*)", str(ds.get("ImageComments") or ""))
    if vendor:
        return vendor.group(1).startswith("AC")
    # A folder often holds both kinds, so its name says nothing here.
    return corrected_in(texts[:-1])
