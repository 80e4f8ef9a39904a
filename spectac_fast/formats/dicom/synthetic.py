"""Synthetic NM RECON TOMO objects: valid DICOM whose header says that nobody was scanned."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from spectac_fast._version import __version__
from spectac_fast.formats.dicom.elements import (
    NM_IMAGE_STORAGE,
    PATIENT_STATE,
    VIEW_CODES,
    VIEW_MEANINGS,
    code,
    save_atomically,
    set_pixels,
    stable_uid,
)

_SERIES_NUMBERS = {"TOMO": 0, "SA": 1, "VLA": 2, "HLA": 3}
_PHASE_TIMES = {"stress": "101500", "rest": "143000"}
_VIEW_CODE_OF = {plane: value for (scheme, value), plane in VIEW_CODES.items() if scheme == "SCT"}


@dataclass(frozen=True)
class Settings:
    """What a header says of camera and reconstruction, where it is not that of the first cohort.

    method: as GE abbreviates it in a series' name, such as IRACSCRR or FBPNC; algorithm, kernel: in words, kernel of at
    most 16 characters each; filter: its name; scatter: how it was corrected, "" = not. start_angle, angular_step,
    scan_arc: degrees as PS3.3 C.8.4.9 counts them (0 at the back, 90 left, 180 front), direction "CW" or "CC";
    radius_mm: one for the orbit or one for each view; frame_ms: time at a view.
    """

    method: str
    algorithm: str
    filter: str
    kernel: tuple[str, ...]
    scatter: str
    collimator: str
    views: int
    start_angle: float
    angular_step: float
    scan_arc: float
    direction: str
    radius_mm: tuple[float, ...]
    frame_ms: int
    prone: bool
    height_m: float
    weight_kg: float


def write_series(
    path: Path | str,
    counts: NDArray,
    *,
    plane: str,
    phase: str,
    corrected: bool,
    pixel_mm: float | Sequence[float],
    slice_mm: float,
    orientation: Sequence[float],
    position: Sequence[float],
    patient_id: str,
    sex: str,
    study_key: str,
    views: int = 64,
    settings: Settings | None = None,
) -> None:
    """Write one synthetic stack as an NM RECON TOMO file, atomically. The bytes are a function of the arguments.

    Args:
        path: file to write; missing folders are made.
        counts: [slices, rows, columns], 0 ... 65535, rounded to whole counts and stored one to one.
        plane: "SA", "VLA" or "HLA".
        phase: "stress" or "rest".
        corrected: whether attenuation (and scatter) was corrected.
        pixel_mm: in-plane pixel size, mm: one number or (row spacing, column spacing).
        slice_mm: distance from slice to slice, mm; negative when slices run against row x column.
        orientation: direction cosines of row and column (LPS), 6 numbers.
        position: centre of the first voxel (LPS), mm, 3 numbers.
        patient_id: identifier of the simulated patient.
        sex: "M", "F" or "O".
        study_key: everything that shares it belongs to one study; UIDs and dates are derived from it.
        views: projections acquired over 180 degrees.
        settings: of camera and reconstruction; None leaves out what the first cohort's headers did not say.

    Raises:
        ValueError: counts outside 0 ... 65535 or not finite, or an unknown plane or phase.
    """
    counts = np.asarray(counts)
    if plane not in VIEW_MEANINGS or phase not in _PHASE_TIMES:
        raise ValueError(f"plane must be SA, VLA or HLA and phase stress or rest, found {plane!r} and {phase!r}")
    if counts.ndim != 3 or not np.isfinite(counts).all() or counts.min() < 0 or counts.max() > 65535:
        raise ValueError(f"counts must be [slices, rows, columns] from 0 to 65535, found shape {counts.shape}")
    kind = "AC" if corrected else "NC"
    ds = identity_of(patient_id, sex, study_key, plane, phase, kind)
    put_geometry(ds, plane, counts.shape[0], np.broadcast_to(pixel_mm, 2), slice_mm, orientation, position)
    put_acquisition(ds, phase, views)
    ds.CorrectedImage = ["UNIF", "COR", "NRGY", "LIN"] + (["ATTN", "SCAT"] if corrected else [])
    if settings is not None:
        _set(ds, settings, corrected, plane, phase)
    set_pixels(ds, np.rint(counts).astype(np.uint16))
    save_atomically(ds, Path(path))


def identity_of(patient_id: str, sex: str, study_key: str, plane: str, phase: str, kind: str) -> Dataset:
    """Patient, study, series and equipment of a synthetic object; plane: or what else it holds. kind: "NC" or "AC"."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    ds.SOPClassUID = NM_IMAGE_STORAGE
    ds.SOPInstanceUID = stable_uid("instance", study_key, phase, plane, kind)
    ds.SeriesInstanceUID = stable_uid("series", study_key, phase, plane, kind)
    ds.StudyInstanceUID = stable_uid("study", study_key)
    # The patient leaves the table between stress and rest, so each phase has its own frame of reference.
    ds.FrameOfReferenceUID = stable_uid("frame of reference", study_key, phase)
    ds.PositionReferenceIndicator = ""
    day = datetime.date(2021, 1, 1) + datetime.timedelta(days=hashlib.sha256(study_key.encode()).digest()[0])
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = day.strftime("%Y%m%d")
    ds.StudyTime = _PHASE_TIMES["stress"]
    ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = _PHASE_TIMES[phase]
    ds.AccessionNumber, ds.ReferringPhysicianName, ds.StudyID = "", "", "1"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "NM", "spectac_fast", "physics simulation"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "0", __version__
    ds.StudyDescription = "SYNTHETIC MYOCARDIAL PERFUSION (simulation, not a patient)"
    ds.SeriesDescription = f"{phase.upper()} {'IRAC' if kind == 'AC' else 'IRNC'} {plane}"
    ds.SeriesNumber = {"stress": 10, "rest": 20}[phase] + {"NC": 0, "AC": 3}[kind] + _SERIES_NUMBERS[plane]
    ds.InstanceNumber = 1
    ds.ImageID = plane
    ds.PatientName, ds.PatientID = f"SYNTHETIC^{patient_id}", patient_id
    ds.PatientBirthDate, ds.PatientSex = "", sex
    ds.PatientIdentityRemoved, ds.DeidentificationMethod = "YES", "No patient: simulated data"
    ds.BodyPartExamined = "HEART"
    return ds


def put_geometry(
    ds: Dataset,
    plane: str,
    slices: int,
    pixel_mm: NDArray,
    slice_mm: float,
    orientation: Sequence[float],
    position: Sequence[float],
) -> None:
    """Where a stack of `slices` lies, as in `write_series`; plane: also "TRA", transaxial."""
    ds.FrameIncrementPointer = 0x00540080
    ds.SliceVector, ds.NumberOfSlices = list(range(1, slices + 1)), slices
    ds.NumberOfEnergyWindows = ds.NumberOfDetectors = ds.NumberOfRotations = 1
    ds.PixelSpacing = [f"{mm:.6g}" for mm in pixel_mm]
    ds.SpacingBetweenSlices, ds.SliceThickness = f"{slice_mm:.6g}", f"{abs(slice_mm):.6g}"
    detector = Dataset()
    detector.CollimatorGridName, detector.CollimatorType, detector.FocalDistance = "LEHR", "PARA", "0"
    detector.ImageOrientationPatient = [f"{cosine:.8f}" for cosine in orientation]
    detector.ImagePositionPatient = [f"{mm:.4f}" for mm in position]
    if plane in _VIEW_CODE_OF:
        detector.ViewCodeSequence = [code("SCT", _VIEW_CODE_OF[plane], VIEW_MEANINGS[plane])]
    ds.DetectorInformationSequence = [detector]


def put_acquisition(ds: Dataset, phase: str, views: int) -> None:
    """Photopeak, tracer, rotation and posture of the first cohort, and the phase."""
    ds.CountsAccumulated = ""
    energies = Dataset()
    energies.EnergyWindowLowerLimit, energies.EnergyWindowUpperLimit = "126.45", "154.55"
    window = Dataset()
    window.EnergyWindowName, window.EnergyWindowRangeSequence = "Tc99m", [energies]
    ds.EnergyWindowInformationSequence = [window]
    tracer = Dataset()
    tracer.RadionuclideCodeSequence = [code("SCT", "72454006", "^99m^Technetium")]
    tracer.Radiopharmaceutical = "Tc-99m sestamibi"
    tracer.RadiopharmaceuticalCodeSequence = [code("SCT", "424299003", "Technetium Tc^99m^ sestamibi")]
    ds.RadiopharmaceuticalInformationSequence = [tracer]
    rotation = Dataset()
    rotation.StartAngle, rotation.AngularStep, rotation.ScanArc = "315", f"{180 / views:.6g}", "180"
    rotation.RotationDirection, rotation.ActualFrameDuration = "CC", 25000
    rotation.NumberOfFramesInRotation = views
    ds.RotationInformationSequence = [rotation]
    lying = code("SCT", "102538003", "recumbent")
    lying.PatientOrientationModifierCodeSequence = [code("SCT", "40199007", "supine")]
    ds.PatientOrientationCodeSequence = [lying]
    ds.PatientGantryRelationshipCodeSequence = [code("SCT", "102541007", "feet-first")]
    state = Dataset()
    state.ValueType = "CODE"
    state.ConceptNameCodeSequence = [code(*PATIENT_STATE, "Patient State")]
    stress, rest = code("DCM", "109091", "Cardiac Stress State"), code("SCT", "128975004", "Resting State")
    state.ConceptCodeSequence = [stress if phase == "stress" else rest]
    ds.AcquisitionContextSequence = [state]


def _set(ds: Dataset, settings: Settings, corrected: bool, plane: str, phase: str) -> None:
    ds.SeriesDescription = f"{phase.upper()} {settings.method} {plane}"
    corrections = (["ATTN"] if corrected else []) + (["SCAT"] if settings.scatter else [])
    ds.CorrectedImage = ["UNIF", "COR", "NRGY", "LIN", *corrections]
    # Attributes of other modalities that mean just this; NM has none of its own, and vendors hide it in private ones.
    ds.ReconstructionMethod, ds.FilterType, ds.ConvolutionKernel = settings.algorithm, settings.filter, settings.kernel
    if settings.scatter:
        ds.ScatterCorrectionMethod = settings.scatter
    if corrected:
        ds.AttenuationCorrectionMethod = "CT attenuation map"
    ds.PatientSize, ds.PatientWeight = f"{settings.height_m:.2f}", f"{settings.weight_kg:.1f}"
    ds.DetectorInformationSequence[0].CollimatorGridName = settings.collimator
    rotation = ds.RotationInformationSequence[0]
    rotation.StartAngle, rotation.AngularStep = f"{settings.start_angle:.6g}", f"{settings.angular_step:.6g}"
    rotation.ScanArc, rotation.RotationDirection = f"{settings.scan_arc:.6g}", settings.direction
    rotation.RadialPosition = [f"{mm:.1f}" for mm in settings.radius_mm]
    rotation.NumberOfFramesInRotation, rotation.ActualFrameDuration = settings.views, settings.frame_ms
    if settings.prone:
        lying = ds.PatientOrientationCodeSequence[0]
        lying.PatientOrientationModifierCodeSequence = [code("SCT", "1240000", "prone")]
