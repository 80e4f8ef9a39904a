"""One NM TOMO file -> `Projections`, or one sentence that says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom.depth import check_depth
from spectac_fast.formats.dicom.elements import NM_IMAGE_STORAGE
from spectac_fast.formats.dicom.kind.objects import OTHER_TYPES
from spectac_fast.formats.dicom.kind.tracer import TECHNETIUM, THALLIUM, foreign, nuclide_names
from spectac_fast.formats.dicom.parse import parse, sentences, uid_name
from spectac_fast.formats.dicom.patient import lying
from spectac_fast.formats.dicom.read import stated_phase
from spectac_fast.formats.dicom.tomo.frames import Frames, frames_of
from spectac_fast.formats.dicom.tomo.orbit import Orbit, orbit_of
from spectac_fast.formats.dicom.tomo.windows import photopeak, windows_of
from spectac_fast.formats.dicom.values.counts import counts_of
from spectac_fast.formats.dicom.values.pixels import PIXEL_ELEMENTS
from spectac_fast.formats.names import posture_note
from spectac_fast.formats.projections import Projections, Window, covered, gaps, step_of
from spectac_fast.formats.series import NOTHING, Told

TYPES = ("TOMO", "GATED TOMO")
# An arc that is less than half a circle by more than this has not seen the patient from every side, degrees.
_ARC, _SHORT = 180.0, 1.5
# Views at one angle, degrees; squares and spacings, relative.
_SAME_ANGLE, _SAME_MM = 0.1, 0.01
# A view of less than this share of the usual counts was cut short or looked past the patient.
_FEW_COUNTS = 0.1
# Cosine between two directions that are meant to be the same.
_ALONG = 0.95
_SMALLEST, _LARGEST = 16, 256
_FEWEST_VIEWS = 12


def read_projections(path: Path | str, content: bytes | None = None, *, told: Told = NOTHING) -> Projections:
    """Read the projections in an NM TOMO or GATED TOMO file of perfusion with technetium-99m or thallium-201.

    Gates are summed; the views of all detectors and rotations are merged, each scaled to one time, and sorted by
    angle. content: as for `read_series`. told: the phase, where the user says it.

    Raises:
        NoInputError: no such file.
        NotApplicableError: a sound DICOM file of another kind (reconstructed, planar, whole-body, dynamic,
            transmission, of another nuclide or energy).
        InputError: not DICOM, truncated, or frames, angles, pixels or counts with which nothing can be reconstructed.
    """
    path = Path(path)
    with sentences(path):
        ds = parse(path, content)
        check_depth(ds, path)
        _check_kind(ds, path)
        isotope = _isotope(ds, path)
        frames = frames_of(ds, path)
        orbit = orbit_of(ds, frames, path)
        pixel_mm = _pixel(ds, path)
        phase, said = stated_phase(ds, path, told)
        counted, noted = _counted(ds, path)
        ordered, rate = _to_one_time(ds, frames, frames.ordered(counted))
        turned, top_mm, turns = _upright(ds, ordered, orbit, pixel_mm)
        counts, angles, radius, merged = _by_angle(turned, orbit)
        windows = windows_of(ds, frames.windows)
        peak = photopeak(windows, isotope, path)
        _check_arc(angles, path)
        few = _check_counts(counts[peak], angles, path)
        for keyword in PIXEL_ELEMENTS:
            if keyword in ds:
                del ds[keyword]
        made = [Window(ranges, each) for ranges, each in zip(windows, counts)]
        notes = (
            *noted, *frames.notes, *orbit.notes, *said, *rate, *turns, *merged, *_gap_note(angles), *few,
            *posture_note(lying(ds)[0]),
        )  # fmt: skip
        return Projections(
            peak=made[peak],
            others=tuple(window for k, window in enumerate(made) if k != peak),
            angles=angles,
            radius_mm=radius,
            pixel_mm=pixel_mm,
            top_mm=top_mm,
            isotope=isotope,
            phase=phase,
            collimator=_collimator(ds),
            frame_ms=max(_durations(ds, frames.rotations), default=0.0),
            gates=frames.gates,
            path=path,
            header=ds,
            notes=notes,
        )


def _check_kind(ds: Dataset, path: Path) -> None:
    kind = UID(str(ds.get("SOPClassUID", "")))
    if kind != NM_IMAGE_STORAGE:
        found = uid_name(kind, "an unknown kind of object") if kind else "no SOP Class"
        raise NotApplicableError(f"{path}: expected NM projections (Nuclear Medicine Image Storage), found {found}.")
    if "WholeBodyTechnique" in ds:
        raise NotApplicableError(f"{path}: expected projections of the heart, found a whole-body scan (its technique).")
    image_type = [*map(str, ds.get("ImageType") or ()), "", "", "", ""]
    if image_type[2] not in TYPES:
        what = OTHER_TYPES.get(image_type[2], "another Image Type")
        hint = "; spectac correct takes those" if image_type[2] == "RECON TOMO" else ""
        raise NotApplicableError(f"{path}: expected projections (TOMO or GATED TOMO), found {what}{hint}.")
    if image_type[3] == "TRANSMISSION":
        raise NotApplicableError(f"{path}: expected projections of emission, found those of transmission.")


def _isotope(ds: Dataset, path: Path) -> str:
    found = foreign(ds)
    if found:
        raise NotApplicableError(f"{path}: expected projections of perfusion by {TECHNETIUM}, found {found}.")
    names = nuclide_names(ds)
    return THALLIUM if THALLIUM in names and TECHNETIUM not in names else TECHNETIUM


def _pixel(ds: Dataset, path: Path) -> float:
    spacing = [float(each) for each in ds.get("PixelSpacing") or ()]
    if len(spacing) != 2 or not all(0.5 <= mm <= 50 for mm in spacing):
        raise InputError(f"{path}: expected a Pixel Spacing of 0.5 to 50 mm, found {spacing or 'none'}.")
    if abs(spacing[0] / spacing[1] - 1) > _SAME_MM:
        raise InputError(f"{path}: expected square bins, found {spacing[0]:g} x {spacing[1]:g} mm.")
    rows, columns = int(ds.get("Rows") or 0), int(ds.get("Columns") or 0)
    if not (_SMALLEST <= columns <= _LARGEST and 1 <= rows <= _LARGEST):
        raise InputError(f"{path}: expected views of {_SMALLEST} to {_LARGEST} bins a side, found {rows} x {columns}.")
    return spacing[1]


def _counted(ds: Dataset, path: Path) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Counts [frames, rows, columns] of at least zero, 0 in padding."""
    counted = counts_of(ds, path)
    counts = counted.counts if counted.padding is None else np.where(np.isnan(counted.padding), counted.counts, 0)
    if not np.isfinite(counts).all():
        raise InputError(f"{path}: expected finite counts, found NaN or infinity.")
    if counts.min() < 0:
        raise InputError(f"{path}: expected counts of at least zero, found {counts.min():g}.")
    return np.ascontiguousarray(counts, np.float32), counted.notes


def _durations(ds: Dataset, rotations: int) -> list[float]:
    """Time at a view in each rotation, ms; () unless all tell."""
    items = list(ds.get("RotationInformationSequence") or ())[:rotations]
    found = [float(item.get("ActualFrameDuration") or 0) for item in items]
    return found if len(found) == rotations and min(found, default=0) > 0 else []


def _to_one_time(
    ds: Dataset, frames: Frames, counts: NDArray[np.float32]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Counts [windows, detectors, rotations, views, ...] as all rotations would have them in the longest one's time."""
    times = np.array(_durations(ds, frames.rotations) or [1.0])
    if np.ptp(times) == 0:
        return counts, ()
    scale = (times.max() / times).astype(np.float32)
    said = ", ".join(f"{each / 1000:g}" for each in times)
    return counts * scale[None, None, :, None, None, None], (
        f"its rotations took {said} s a view; their counts are scaled to {times.max() / 1000:g} s.",
    )


def _upright(
    ds: Dataset, counts: NDArray[np.float32], orbit: Orbit, pixel_mm: float
) -> tuple[NDArray[np.float32], float, tuple[str, ...]]:
    """The views with rows from head to feet and columns towards the left of a patient who faces the detector; the
    first row's place along the patient, mm; what was assumed.
    """
    rows, notes = counts.shape[-2], []
    top, homes = (rows - 1) / 2 * pixel_mm, list(ds.get("DetectorInformationSequence") or ())
    cosines = [_directions(item) for item in homes]
    if not cosines or cosines[0] is None:
        return counts, top, ("it does not tell which way its views lie; rows are taken from head to feet.",)
    down = cosines[0][1]
    place = _floats(homes[0].get("ImagePositionPatient"), 3)
    if abs(down[2]) < _ALONG:
        return counts, top, ("its rows do not run along the patient by its header; they are taken from head to feet.",)
    if place is not None:
        top = float(place[2]) + (rows - 1) * pixel_mm * (down[2] > 0)
    if down[2] > 0:
        counts = counts[..., ::-1, :]
        notes.append("its rows run from feet to head by its header; they are turned over.")
    for d, found in enumerate(cosines[: counts.shape[1]]):
        turn = np.radians(orbit.angles[d, 0, 0])
        along = float(found[0] @ (np.cos(turn), np.sin(turn), 0)) if found is not None else 0.0
        if along < -_ALONG:
            counts = counts.copy()
            counts[:, d] = counts[:, d, ..., ::-1]
            notes.append("its columns run towards the patient's right by its header; they are turned over.")
    return counts, top, tuple(dict.fromkeys(notes))


def _directions(item: Dataset) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Directions of rows and columns (LPS), None where an item tells none."""
    found = _floats(item.get("ImageOrientationPatient"), 6)
    if found is None or min(np.linalg.norm(found[:3]), np.linalg.norm(found[3:])) < 0.5:
        return None
    return found[:3] / np.linalg.norm(found[:3]), found[3:] / np.linalg.norm(found[3:])


def _floats(value: object, count: int) -> NDArray[np.float64] | None:
    numbers = [] if value is None or value == "" else [float(each) for each in np.atleast_1d(np.asarray(value, object))]
    return np.array(numbers) if len(numbers) == count and np.isfinite(numbers).all() else None


def _by_angle(
    counts: NDArray[np.float32], orbit: Orbit
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Counts [windows, views, rows, columns], angles and radii by ascending angle; where several views were taken from
    one angle, their mean.
    """
    angles, radius = orbit.angles.ravel(), orbit.radius_mm.ravel()
    flat = counts.reshape(counts.shape[0], -1, *counts.shape[-2:])
    order = np.argsort(angles, kind="stable")
    angles, radius, flat = angles[order], radius[order], flat[:, order]
    # The arc begins after the largest gap, wherever on the circle that is.
    first = int(np.argmax(gaps(angles))) + 1
    angles = np.concatenate([angles[first:], angles[:first] + 360.0])
    radius, flat = np.roll(radius, -first), np.roll(flat, -first, axis=1)
    starts = np.flatnonzero(np.diff(angles, prepend=-np.inf) > _SAME_ANGLE)
    if len(starts) == len(angles):
        return flat, _centred(angles), radius, ()
    shared = np.diff(starts, append=len(angles))
    mean = np.add.reduceat(flat, starts, axis=1) / shared[None, :, None, None].astype(np.float32)
    where = np.add.reduceat(radius, starts) / shared
    note = f"{len(angles)} views were taken from {len(starts)} angles; those of one angle are averaged."
    return mean, _centred(angles[starts]), where, (note,)


def _centred(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ascending angles turned by whole circles, so that their middle lies in -180 ... 180."""
    return angles - 360.0 * np.round(angles.mean() / 360.0)


def _check_arc(angles: NDArray[np.float64], path: Path) -> None:
    if len(angles) < _FEWEST_VIEWS:
        raise InputError(f"{path}: expected at least {_FEWEST_VIEWS} views, found {len(angles)}.")
    if covered(angles) < _ARC - _SHORT:
        raise InputError(
            f"{path}: expected views that cover {_ARC:g} degrees, found {len(angles)} that cover "
            f"{covered(angles):.0f} ({angles[0]:.0f} to {angles[-1]:.0f}, where 0 is in front and 90 at the left)."
        )


def _gap_note(angles: NDArray[np.float64]) -> tuple[str, ...]:
    between, step = np.diff(angles), step_of(angles)
    wide = np.flatnonzero(between > 1.5 * step)
    if not len(wide):
        return ()
    where = ", ".join(f"{angles[k]:.0f} to {angles[k + 1]:.0f}" for k in wide)
    return (f"there are no views from {where} degrees, where 0 is in front and 90 at the left.",)


def _check_counts(counts: NDArray[np.float32], angles: NDArray[np.float64], path: Path) -> tuple[str, ...]:
    """A sentence on views of few counts; InputError for views of none, and for a view that is the next one's copy."""
    totals = counts.sum((1, 2), dtype=np.float64)
    if not totals.all():
        raise InputError(f"{path}: expected counts in every view, found none at {_said(angles[totals == 0])}.")
    same = np.flatnonzero([np.array_equal(*counts[k : k + 2]) for k in range(len(counts) - 1)])
    if len(same):
        raise InputError(
            f"{path}: expected views of their own, found the same counts at {_said(angles[[same[0], same[0] + 1]])}."
        )
    few = totals < _FEW_COUNTS * np.median(totals)
    if not few.any():
        return ()
    return (f"it has hardly any counts at {_said(angles[few])}.",)


def _said(angles: NDArray[np.float64]) -> str:
    listed = ", ".join(f"{angle:.0f}" for angle in angles[:6])
    return f"{listed}{' and more' if len(angles) > 6 else ''} degrees (0 in front, 90 at the left)"


def _collimator(ds: Dataset) -> str:
    items = ds.get("DetectorInformationSequence") or ()
    return str(items[0].get("CollimatorGridName") or "").strip() if items else ""
