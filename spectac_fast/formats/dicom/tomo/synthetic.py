"""Synthetic NM TOMO objects: valid DICOM whose header says that nobody was scanned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast.formats.dicom.elements import code, save_atomically, set_pixels
from spectac_fast.formats.dicom.synthetic import identity_of, put_acquisition

_VECTORS = (0x00540010, 0x00540020, 0x00540050, 0x00540090)


def write_projections(
    path: Path | str,
    counts: NDArray,
    *,
    windows_kev: Sequence[tuple[float, float]],
    angles: Sequence[float],
    radius_mm: Sequence[float],
    pixel_mm: float,
    top_mm: float,
    phase: str,
    patient_id: str,
    sex: str,
    study_key: str,
    collimator: str = "LEHR",
    frame_ms: int = 25_000,
    prone: bool = False,
    height_m: float | None = None,
    weight_kg: float | None = None,
) -> None:
    """Write synthetic projections as an NM TOMO file, atomically. The bytes are a function of the arguments.

    Args:
        path: file to write; missing folders are made.
        counts: [windows, views, rows, columns] as `formats.projections` has them, 0 ... 65535, rounded to whole counts.
        windows_kev: (lower, upper) limit of each energy window, keV.
        angles: of the views, degrees, 0 in front and 90 at the left, in equal steps.
        radius_mm: of every view, or one for the orbit.
        pixel_mm: side of a bin, mm.
        top_mm: where the first row lies along the patient, mm.
        phase: "stress" or "rest".
        patient_id, sex, study_key: as for `write_series`.
        collimator: its name. frame_ms: time at a view. prone: how the patient lay.
        height_m, weight_kg: of the patient, where known.

    Raises:
        ValueError: counts outside 0 ... 65535, or angles in unequal steps.
    """
    counts, at = np.asarray(counts), np.asarray(angles, np.float64)
    if counts.ndim != 4 or not np.isfinite(counts).all() or counts.min() < 0 or counts.max() > 65535:
        raise ValueError(f"counts must be [windows, views, rows, columns] from 0 to 65535, found {counts.shape}")
    windows, views = counts.shape[:2]
    step = at[1] - at[0]
    if len(at) != views or not np.allclose(np.diff(at), step):
        raise ValueError(f"angles must be {views} in equal steps, found {len(at)}")
    ds = identity_of(patient_id, sex, study_key, "TOMO", phase, "NC")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]
    ds.SeriesDescription, ds.ImageID = f"{phase.upper()} TOMO", "TOMO"
    put_acquisition(ds, phase, views)
    _windows(ds, windows_kev)
    _frames(ds, windows, views)
    ds.TypeOfDetectorMotion = "STEP AND SHOOT"
    _camera(ds, at, radius_mm, pixel_mm, top_mm, counts.shape[-1], collimator)
    ds.RotationInformationSequence[0].ActualFrameDuration = frame_ms
    ds.CorrectedImage = ["UNIF", "COR", "NRGY", "LIN"]
    ds.CountsAccumulated = int(np.rint(counts).sum())
    if height_m is not None and weight_kg is not None:
        ds.PatientSize, ds.PatientWeight = f"{height_m:.2f}", f"{weight_kg:.1f}"
    if prone:
        lying = ds.PatientOrientationCodeSequence[0]
        lying.PatientOrientationModifierCodeSequence = [code("SCT", "1240000", "prone")]
    set_pixels(ds, np.rint(counts).astype(np.uint16).reshape(-1, *counts.shape[2:]))
    save_atomically(ds, Path(path))


def _windows(ds: Dataset, windows_kev: Sequence[tuple[float, float]]) -> None:
    items = []
    for low, high in windows_kev:
        limits, window = Dataset(), Dataset()
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = f"{low:g}", f"{high:g}"
        window.EnergyWindowName = "Tc99m" if low <= 140.5 <= high else "SCATTER"
        window.EnergyWindowRangeSequence = [limits]
        items.append(window)
    ds.EnergyWindowInformationSequence = items


def _frames(ds: Dataset, windows: int, views: int) -> None:
    ds.FrameIncrementPointer = list(_VECTORS)
    ds.EnergyWindowVector = [window + 1 for window in range(windows) for _ in range(views)]
    ds.DetectorVector = ds.RotationVector = [1] * (windows * views)
    ds.AngularViewVector = [view + 1 for _ in range(windows) for view in range(views)]
    ds.NumberOfEnergyWindows, ds.NumberOfDetectors, ds.NumberOfRotations = windows, 1, 1


def _camera(
    ds: Dataset,
    angles: NDArray[np.float64],
    radius_mm: Sequence[float],
    pixel_mm: float,
    top_mm: float,
    columns: int,
    collimator: str,
) -> None:
    step, turn = angles[1] - angles[0], np.radians(angles[0])
    right, towards = np.array([np.cos(turn), np.sin(turn), 0.0]), np.array([np.sin(turn), -np.cos(turn), 0.0])
    corner = radius_mm[0] * towards - (columns - 1) / 2 * pixel_mm * right
    ds.PixelSpacing = [f"{pixel_mm:.6g}"] * 2
    detector = Dataset()
    detector.CollimatorGridName, detector.CollimatorType, detector.FocalDistance = collimator, "PARA", "0"
    detector.ImageOrientationPatient = [f"{cosine:.8f}" for cosine in (*right, 0.0, 0.0, -1.0)]
    detector.ImagePositionPatient = [f"{mm:.4f}" for mm in (corner[0], corner[1], top_mm)]
    ds.DetectorInformationSequence = [detector]
    rotation = ds.RotationInformationSequence[0]
    # Here 0 is at the front and 90 at the left, there 180 and 90.
    rotation.StartAngle, rotation.AngularStep = f"{(180 - angles[0]) % 360:.6g}", f"{abs(step):.6g}"
    rotation.ScanArc, rotation.RotationDirection = f"{abs(step) * len(angles):.6g}", "CW" if step > 0 else "CC"
    rotation.RadialPosition = [f"{mm:.1f}" for mm in radius_mm]
