"""Attenuation maps that come with projections: a CT series, or an NM object that holds a map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom.depth import check_depth
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE
from spectac_fast.formats.dicom.parse import parse, sentences, uid_name
from spectac_fast.formats.dicom.patient import identity
from spectac_fast.formats.dicom.read import slice_numbers
from spectac_fast.formats.dicom.values.pixels import stored_pixels
from spectac_fast.formats.evidence.header import emission_doubts

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
# Slices of a series may be so unequally spaced, relative; two directions are the same to this.
_UNEVEN, _SAME = 0.05, 1e-3
# Soft tissue, 1/cm at 140 keV: what the middle of a body's values must be, in one power of ten or another.
_SOFT = (0.10, 0.20)
# Air, fat and water of a CT, HU.
_AIR_BELOW, _BODY = -900.0, (-200.0, 300.0)


@dataclass(frozen=True, eq=False)
class AttenuationMap:
    """values: float32 [slices, rows, columns], in `unit`, "HU" or "1/cm". first: centre of voxel (0, 0, 0) (LPS), mm.

    steps: from voxel to voxel along slices, rows and columns, mm, [3, 3]. frame: UID of the frame of reference, perhaps
    "". path: of the first file. sources: (class, instance) UIDs of its objects. patient: `patient.identity`.
    notes: as in `Projections`.
    """

    values: NDArray[np.float32]
    unit: str
    first: NDArray[np.float64]
    steps: NDArray[np.float64]
    frame: str
    path: Path
    sources: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    patient: str = ""


def read_map_files(files: Sequence[tuple[Path, bytes]]) -> AttenuationMap:
    """The map in files, given as (path, content): one NM object, or the slices of one CT series.

    Other objects beside a CT series are left out. Raises InputError for files that are neither, several series, gaps
    between slices, and values that cannot be Hounsfield units or attenuation.
    """
    slices: dict[str, list[Dataset]] = {}
    for path, content in files:
        with sentences(path):
            ds = parse(path, content)
            check_depth(ds, path)
            kind = str(ds.get("SOPClassUID", ""))
            if kind == NM_IMAGE_STORAGE and len(files) == 1:
                return _of_nm(ds, path)
            if kind == CT_IMAGE_STORAGE and "LOCALIZER" not in (ds.get("ImageType") or ()):
                ds.filename = path
                slices.setdefault(str(ds.get("SeriesInstanceUID", "")), []).append(ds)
            elif len(files) == 1:
                found = uid_name(ds.SOPClassUID, "an unknown kind of object")
                raise NotApplicableError(f"{path}: expected a CT series or an NM attenuation map, found {found}.")
    first = files[0][0]
    if len(slices) != 1:
        many = f"{len(slices)} CT series" if slices else f"none in {len(files)} files"
        raise InputError(f"{first.parent}: expected one CT series as attenuation map, found {many}.")
    (series,) = slices.values()
    with sentences(Path(series[0].filename)):
        return _of_ct(series, Path(series[0].filename))


def _of_ct(slices: list[Dataset], path: Path) -> AttenuationMap:
    if len(slices) < 2:
        raise InputError(f"{path.parent}: expected the slices of a CT series, found one.")
    cosines = np.array([_numbers(ds, "ImageOrientationPatient", 6, path) for ds in slices])
    places = np.array([_numbers(ds, "ImagePositionPatient", 3, path) for ds in slices])
    spacing = np.array([_numbers(ds, "PixelSpacing", 2, path) for ds in slices])
    shapes = {(int(ds.Rows), int(ds.Columns)) for ds in slices}
    if len(shapes) > 1 or np.ptp(cosines, 0).max() > _SAME or np.ptp(spacing, 0).max() > _SAME:
        raise InputError(f"{path}: expected parallel CT slices of one size, found several.")
    row, column = cosines[0, :3], cosines[0, 3:]
    normal = np.cross(row, column)
    order = np.argsort(places @ normal)
    between, mean = np.diff((places @ normal)[order]), (places[order[-1]] - places[order[0]]) / (len(slices) - 1)
    aside = np.abs(places[order] - places[order[0]] - np.arange(len(slices))[:, None] * mean).max()
    if between.min() <= 0 or np.ptp(between) > _UNEVEN * np.median(between) or aside > _UNEVEN * between.max():
        raise InputError(f"{path}: expected evenly spaced CT slices, found gaps or repetitions.")
    values = np.stack([_hounsfield(slices[k], path) for k in order])
    if not np.isfinite(values).all() or (values < _AIR_BELOW).mean() in (0.0, 1.0) or not _within(values, *_BODY).any():
        raise InputError(
            f"{path}: expected Hounsfield units of a patient in air, found {values.min():.0f} to {values.max():.0f}."
        )
    # Of a tilted gantry the slices do not lie straight above each other.
    steps = np.stack([mean, column * spacing[0, 0], row * spacing[0, 1]])
    return AttenuationMap(
        values, "HU", places[order[0]], steps, str(slices[0].get("FrameOfReferenceUID") or ""), path,
        tuple((str(slices[k].SOPClassUID), str(slices[k].SOPInstanceUID)) for k in order), patient=identity(slices[0]),
    )  # fmt: skip


def _hounsfield(ds: Dataset, path: Path) -> NDArray[np.float32]:
    stored = stored_pixels(ds, path)
    if "RescaleSlope" not in ds:
        raise InputError(f"{path}: expected a Rescale Slope to Hounsfield units, found none.")
    unit = str(ds.get("RescaleType") or "HU").strip().upper()
    if unit not in ("HU", "US"):
        # What is no customary unit may hold anything and is not repeated.
        raise InputError(f"{path}: expected Hounsfield units of a CT, found another Rescale Type.")
    values = stored.values[0] * float(ds.RescaleSlope) + float(ds.get("RescaleIntercept") or 0)
    if stored.padded is not None:
        values = np.where(stored.padded[0], -1000.0, values)
    return values.astype(np.float32)


def _within(values: NDArray, low: float, high: float) -> NDArray[np.bool_]:
    return (values > low) & (values < high)


def reconstructed_map(ds: Dataset) -> bool:
    """Whether an NM object is a reconstruction that its header says to be of transmission, or a map."""
    return _is_reconstruction(ds) and bool(emission_doubts(ds))


def _is_reconstruction(ds: Dataset) -> bool:
    return [*map(str, ds.get("ImageType") or ()), "", "", ""][2] == "RECON TOMO"


def _of_nm(ds: Dataset, path: Path) -> AttenuationMap:
    if not _is_reconstruction(ds):
        raise NotApplicableError(
            f"{path}: expected a reconstructed attenuation map (RECON TOMO), found another object."
        )
    if not emission_doubts(ds):
        raise NotApplicableError(
            f"{path}: expected an attenuation map, found an NM object that nothing says to be transmission or a map."
        )
    home = (ds.get("DetectorInformationSequence") or [ds])[0]
    row_column, place = (
        _numbers(home, keyword, count, path)
        for keyword, count in (("ImageOrientationPatient", 6), ("ImagePositionPatient", 3))
    )
    down, right = _numbers(ds, "PixelSpacing", 2, path)
    spacing = _numbers(ds, "SpacingBetweenSlices", 1, path)[0]
    row, column = row_column[:3], row_column[3:]
    stored = stored_pixels(ds, path)
    values = stored.values.astype(np.float64)[np.argsort(slice_numbers(ds, path))]
    slope, intercept = _real_world(ds)
    scaled, notes = _to_per_cm(values * slope + intercept, path)
    steps = np.stack([np.cross(row, column) * spacing, column * down, row * right])
    source = ((str(ds.SOPClassUID), str(ds.SOPInstanceUID)),)
    frame = str(ds.get("FrameOfReferenceUID") or "")
    return AttenuationMap(scaled, "1/cm", place, steps, frame, path, source, notes, identity(ds))


def _real_world(ds: Dataset) -> tuple[float, float]:
    """Slope and intercept that the header names, (1, 0) where it names none."""
    items = ds.get("RealWorldValueMappingSequence") or ()
    if items and "RealWorldValueSlope" in items[0]:
        return float(items[0].RealWorldValueSlope), float(items[0].get("RealWorldValueIntercept") or 0)
    return float(ds.get("RescaleSlope") or 1), float(ds.get("RescaleIntercept") or 0)


def _to_per_cm(values: NDArray[np.float64], path: Path) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Values as 1/cm: vendors store other powers of ten, and soft tissue tells which."""
    top = float(values.max())
    if not np.isfinite(values).all() or top <= 0 or values.min() < -0.05 * top:
        raise InputError(f"{path}: expected attenuation of at least zero, found {values.min():g} to {top:g}.")
    tissue = float(np.median(values[values > 0.4 * np.quantile(values, 0.99)]))
    # Soft tissue is 0.15/cm, so that one power of ten at most brings it there.
    power = round(math.log10(tissue / math.sqrt(_SOFT[0] * _SOFT[1])))
    scaled = values / 10.0**power
    if not _SOFT[0] <= tissue / 10.0**power <= _SOFT[1]:
        raise InputError(
            f"{path}: expected an attenuation map of soft tissue near 0.15/cm, or a power of ten of that, found "
            f"{tissue:g}."
        )
    note = (
        f"its values are taken as 1/cm times {10.0**power:g}, because soft tissue then has {tissue / 10**power:.3f}/cm."
    )
    return np.maximum(scaled, 0).astype(np.float32), (note,) if power else ()


def _numbers(ds: Dataset, keyword: str, count: int, path: Path) -> NDArray[np.float64]:
    value = ds.get(keyword)
    found = [] if value is None or value == "" else [float(each) for each in np.atleast_1d(np.asarray(value, object))]
    if len(found) != count or not np.isfinite(found).all():
        raise InputError(f"{path}: expected {keyword} of {count} numbers in the attenuation map, found none.")
    return np.array(found)
