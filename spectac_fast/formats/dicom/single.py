"""Reconstructions stored one slice a file: told apart, put in order, and read as one object."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom.depth import check_depth
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE, stable_uid
from spectac_fast.formats.dicom.geometry import cosines_of, position_of
from spectac_fast.formats.dicom.kind.objects import check_kind
from spectac_fast.formats.dicom.parse import parse, sentences
from spectac_fast.formats.dicom.read import series_of
from spectac_fast.formats.dicom.values.counts import Counted, counts_of, stacked
from spectac_fast.formats.series import NOTHING, Series, Told

# Of the distance between slices, and mm: positions are written with few digits.
_UNEVEN = 0.02
_ASIDE_MM = 1.0
# What must be the same in all slices of a stack; how each stores its counts may differ.
_SHARED = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
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


def read_single_frames(files: Sequence[tuple[Path, bytes]], *, force: bool = False, told: Told = NOTHING) -> Series:
    """Read a series of which every file holds one slice; the slices are put in order by their positions, or by their
    numbers where they have none.

    files: (path, content) of each; the series takes the first path. Its header is that of one multi-frame object with
    the same geometry, and `instances` are the SOP Instance UIDs it stands for. Every slice has its own slope. Raises as
    `read_series`, and InputError for slices that differ in size or direction, or are not evenly spaced.
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
        for keyword in _SHARED:
            if any(each.get(keyword) != slices[0].get(keyword) for each in slices):
                raise InputError(
                    f"{first}: expected slices of one kind in its series, found several values of {keyword}."
                )
        vectors = _vectors(slices, first)
        ordered, step, *notes = _by_number(slices, first) if vectors is None else _by_position(slices, first, *vectors)
        frames = stacked([_one_slice(each, first) for each in ordered])
        ds = _joined(ordered, step)
        instances = tuple(str(each.SOPInstanceUID) for each in ordered)
        series = series_of(ds, first, frames, force=force, told=told, instances=instances)
        return replace(series, notes=(*notes, *series.notes))


def _by_position(
    slices: list[Dataset], path: Path, orientation: NDArray[np.float64], positions: NDArray[np.float64]
) -> tuple[list[Dataset], float]:
    """The slices along their normal and the distance between two, mm."""
    along = positions @ np.cross(orientation[:3], orientation[3:])
    order = np.argsort(along)
    steps = np.diff(positions[order], axis=0)
    step = np.median(np.diff(along[order]))
    normal = np.cross(orientation[:3], orientation[3:])
    even = np.abs(steps @ normal - step).max() <= _UNEVEN * step and step > 0
    if not even or np.linalg.norm(steps - np.outer(steps @ normal, normal), axis=1).max() > _ASIDE_MM:
        raise InputError(f"{path}: expected evenly spaced slices in its series, found gaps, repetitions or shifts.")
    return [slices[k] for k in order], float(step)


def _by_number(slices: list[Dataset], path: Path) -> tuple[list[Dataset], float, str]:
    """The slices by SliceLocation or InstanceNumber, the distance between two, mm, and what was assumed."""
    for keyword in ("SliceLocation", "InstanceNumber"):
        numbers = np.array([float(each.get(keyword) or 0) for each in slices])
        order = np.argsort(numbers)
        steps = np.diff(numbers[order])
        if steps.min() <= 0:
            continue
        if steps.max() - steps.min() > _UNEVEN * steps.min():
            raise InputError(f"{path}: expected evenly spaced slices in its series, found gaps in {keyword}.")
        spacing = slices[0].get("SpacingBetweenSlices") or (steps[0] if keyword == "SliceLocation" else None)
        spacing = float(spacing or slices[0].get("SliceThickness") or 0)
        if not spacing:
            raise InputError(f"{path}: expected a distance between slices in its series, found none.")
        note = f"slices have no position; they are taken in the order of {keyword}, {abs(spacing):g} mm apart."
        return [slices[k] for k in order], spacing, note
    raise InputError(
        f"{path}: expected a position, a SliceLocation or an InstanceNumber of its own in every slice of its series."
    )


def _vectors(slices: list[Dataset], path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The direction cosines that all slices share, and the position of each, mm; None where no slice has a position."""
    found = [cosines_of(each, path) for each in slices]
    names = [next(iter(each), "") for each in found]
    positions = [position_of(each, path, name) for each, name in zip(slices, names)]
    if not any(positions) or not any(names):
        return None
    if not all(positions) or not all(names):
        raise InputError(f"{path}: expected a position and an orientation in every slice of its series.")
    orientations = np.array([each[name] for each, name in zip(found, names)])
    if not np.allclose(orientations, orientations[0], atol=1e-3):
        raise InputError(f"{path}: expected parallel slices in its series, found several orientations.")
    return orientations[0], np.array(positions)


def _one_slice(ds: Dataset, path: Path) -> Counted:
    frames = int(ds.get("NumberOfFrames") or 1)
    if frames != 1:
        raise InputError(f"{path}: expected one frame in every file of its series, found {frames} in one.")
    return counts_of(ds, path)


def _joined(slices: list[Dataset], step: float) -> Dataset:
    """The header of one multi-frame object that holds the slices in order, `step` mm apart."""
    ds = copy.deepcopy(slices[0])
    ds.SOPInstanceUID = stable_uid("joined slices", *(str(each.SOPInstanceUID) for each in slices))
    ds.NumberOfFrames = ds.NumberOfSlices = len(slices)
    ds.FrameIncrementPointer = Tag("SliceVector")
    ds.SliceVector = list(range(1, len(slices) + 1))
    ds.SpacingBetweenSlices = f"{step:.8g}"
    for keyword in ("SliceLocation", "InstanceNumber"):
        if keyword in ds:
            del ds[keyword]
    ds.InstanceNumber = 1
    return ds
