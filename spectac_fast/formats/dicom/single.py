"""Reconstructions stored one slice a file: told apart, put in order, and read as one object."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.depth import check_depth
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE, stable_uid
from spectac_fast.formats.dicom.parse import parse, sentences
from spectac_fast.formats.dicom.read import check_kind, series_of
from spectac_fast.formats.dicom.values import stored_values
from spectac_fast.formats.series import Series

# Of the distance between slices, and mm: positions are written with few digits.
_UNEVEN = 0.02
_ASIDE_MM = 1.0
# What must be the same in all slices of a stack.
_SHARED = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PixelSpacing",
    "CorrectedImage",
)


def series_of_slice(path: Path, content: bytes) -> str:
    """The Series Instance UID if this file of one frame is a slice of an NM reconstruction, else "".

    Raises InputError for a damaged file.
    """
    with sentences(path):
        ds = parse(
            path, content, specific_tags=["SOPClassUID", "ImageType", "SeriesInstanceUID"], stop_before_pixels=True
        )
        kind = list(ds.get("ImageType") or [])
        stack = ds.get("SOPClassUID") == NM_IMAGE_STORAGE and kind[2:3] == ["RECON TOMO"]
        return str(ds.get("SeriesInstanceUID", "")) if stack else ""


def read_single_frames(files: Sequence[tuple[Path, bytes]], *, force: bool = False) -> Series:
    """Read a series of which every file holds one slice; the slices are put in order by their positions.

    files: (path, content) of each; the series takes the first path. Its header is that of one multi-frame object with
    the same geometry, and `instances` are the SOP Instance UIDs it stands for. Raises as `read_series`, and InputError
    for slices that differ in size, direction or scale, or are not evenly spaced.
    """
    first = files[0][0]
    slices = []
    for path, content in files:
        with sentences(path):
            ds = parse(path, content)
            check_depth(ds, path)
            check_kind(ds, path)
            slices.append(ds)
    with sentences(first):
        ordered, step = _in_order(slices, first)
        ds = _joined(ordered, step, first)
        return series_of(ds, first, force=force, instances=tuple(str(each.SOPInstanceUID) for each in ordered))


def _in_order(slices: list[Dataset], path: Path) -> tuple[list[Dataset], float]:
    """The slices along their normal and the distance between two, mm."""
    for keyword in _SHARED:
        if any(each.get(keyword) != slices[0].get(keyword) for each in slices):
            raise InputError(f"{path}: expected slices of one kind in its series, found several values of {keyword}.")
    orientation, positions = _vectors(slices, path)
    along = positions @ np.cross(orientation[:3], orientation[3:])
    order = np.argsort(along)
    steps = np.diff(positions[order], axis=0)
    step = np.median(np.diff(along[order]))
    normal = np.cross(orientation[:3], orientation[3:])
    even = np.abs(steps @ normal - step).max() <= _UNEVEN * step and step > 0
    if not even or np.linalg.norm(steps - np.outer(steps @ normal, normal), axis=1).max() > _ASIDE_MM:
        raise InputError(f"{path}: expected evenly spaced slices in its series, found gaps, repetitions or shifts.")
    return [slices[k] for k in order], float(step)


def _vectors(slices: list[Dataset], path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The direction cosines that all slices share, and the position of each, mm."""
    homes = [_home(each) for each in slices]
    try:
        orientations = np.array([home.ImageOrientationPatient for home in homes], np.float64).reshape(-1, 6)
        positions = np.array([home.ImagePositionPatient for home in homes], np.float64).reshape(-1, 3)
    except (AttributeError, ValueError, TypeError):
        raise InputError(f"{path}: expected a position and an orientation in every slice of its series.") from None
    if not np.isfinite(positions).all() or not np.allclose(orientations, orientations[0], atol=1e-3):
        raise InputError(f"{path}: expected parallel slices in its series, found several orientations.")
    return orientations[0], positions


def _home(ds: Dataset) -> Dataset:
    """Where a slice keeps its position: NM objects have it in the detector's item."""
    detectors = ds.get("DetectorInformationSequence") or [ds]
    return detectors[0] if "ImagePositionPatient" in detectors[0] else ds


def _joined(slices: list[Dataset], step: float, path: Path) -> Dataset:
    """One multi-frame data set of slices in order, `step` mm apart."""
    ds = copy.deepcopy(slices[0])
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    shape = (1, int(ds.get("Rows") or 0), int(ds.get("Columns") or 0))
    if min(shape) < 1 or ds.get("BitsAllocated") not in (8, 16):
        raise InputError(f"{path}: expected slices of 8 or 16 bit pixels, found something else.")
    pixels = [stored_values(each, path, shape, int(ds.BitsAllocated)) for each in slices]
    ds.SOPInstanceUID = stable_uid("joined slices", *(str(each.SOPInstanceUID) for each in slices))
    ds.NumberOfFrames = ds.NumberOfSlices = len(slices)
    ds.FrameIncrementPointer = Tag("SliceVector")
    ds.SliceVector = list(range(1, len(slices) + 1))
    ds.SpacingBetweenSlices = f"{step:.8g}"
    ds.add_new("PixelData", "OW", np.concatenate(pixels).tobytes())
    for keyword in ("SliceLocation", "InstanceNumber"):
        if keyword in ds:
            del ds[keyword]
    ds.InstanceNumber = 1
    return ds
