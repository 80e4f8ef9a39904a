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
from spectac_fast.formats.dicom.tomo.acquired import check_acquired, corrections, counted_note
from spectac_fast.formats.dicom.tomo.frames import Frames, frames_of
from spectac_fast.formats.dicom.tomo.heads import number
from spectac_fast.formats.dicom.tomo.orbit import Orbit, check_scan_arc, orbit_of
from spectac_fast.formats.dicom.tomo.upright import upright
from spectac_fast.formats.dicom.tomo.views import arc_notes, check_arc, check_counts
from spectac_fast.formats.dicom.tomo.windows import Ranges, photopeak, windows_of
from spectac_fast.formats.dicom.values.counts import counts_of
from spectac_fast.formats.dicom.values.pixels import PIXEL_ELEMENTS
from spectac_fast.formats.evidence.header import emission_doubts
from spectac_fast.formats.names import posture_note
from spectac_fast.formats.projections import Projections, Window, gaps
from spectac_fast.formats.series import NOTHING, Told

TYPES = ("TOMO", "GATED TOMO")
# Views at one angle, degrees; squares and spacings, relative.
_SAME_ANGLE, _SAME_MM = 0.1, 0.01
_SMALLEST, _LARGEST = 16, 256


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
        orbit = orbit_of(frames, path)
        pixel_mm = _pixel(ds, path)
        before = check_acquired(ds, frames, pixel_mm, path)
        phase, said = stated_phase(ds, path, told)
        counted, noted = _counted(ds, path)
        ordered = frames.ordered(counted)
        sums = counted_note(ds, ordered)
        ordered, rate = _to_one_time(frames, ordered, path)
        turned, top_mm, turns = upright(ordered, frames.detector_items, orbit, pixel_mm, path)
        counts, angles, radius, merged = _by_angle(turned, orbit)
        windows = windows_of(frames.window_items)
        peak, chosen = photopeak(windows, isotope, path)
        check_arc(angles, path)
        check_scan_arc(frames, path)
        few = check_counts(counts[peak], angles, path)
        others, left_out = _beside_peak(windows, counts, peak)
        for keyword in PIXEL_ELEMENTS:
            if keyword in ds:
                del ds[keyword]
        notes = (
            *noted, *frames.notes, *orbit.notes, *said, *before, *sums, *rate, *turns, *merged, *chosen,
            *arc_notes(angles), *few, *left_out, *posture_note(lying(ds)[0]),
        )  # fmt: skip
        return Projections(
            peak=Window(windows[peak], counts[peak]),
            others=others,
            angles=angles,
            radius_mm=radius,
            pixel_mm=pixel_mm,
            top_mm=top_mm,
            isotope=isotope,
            phase=phase,
            collimator=_collimator(frames),
            frame_ms=float(np.nan_to_num(_durations(frames)).max()),
            gates=frames.gates,
            path=path,
            header=ds,
            notes=notes,
            scatter_corrected="SCAT" in corrections(ds),
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
    if doubts := emission_doubts(ds):
        raise NotApplicableError(f"{path}: expected projections of emission, found others: {'; '.join(doubts)}.")


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


def _durations(frames: Frames) -> NDArray[np.float64]:
    """Time at a view of each detector in each rotation, ms, [detectors, rotations]; NaN where it is not told."""
    told = [[number(item.get("ActualFrameDuration")) for item in items] for items in frames.rotation_items]
    return np.where(np.array(told) > 0, told, np.nan)


def _to_one_time(
    frames: Frames, counts: NDArray[np.float32], path: Path
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Counts [windows, detectors, rotations, views, ...] as all would have them in the longest time of one.

    Raises InputError where only some tell their time.
    """
    times = _durations(frames)
    if np.isnan(times).all() or np.ptp(times) == 0:
        return counts, ()
    if np.isnan(times).any():
        raise InputError(f"{path}: expected an Actual Frame Duration of every rotation, found some of none.")
    scale = (times.max() / times).astype(np.float32)
    said = ", ".join(f"{each / 1000:g}" for each in np.unique(times))
    return counts * scale[None, :, :, None, None, None], (
        f"its rotations took {said} s a view; their counts are scaled to {times.max() / 1000:g} s.",
    )


def _beside_peak(
    windows: list[Ranges], counts: NDArray[np.float32], peak: int
) -> tuple[tuple[Window, ...], tuple[str, ...]]:
    """The windows beside the photopeak, but those without counts in some view: a sentence each."""
    others, notes = [], []
    for k, (ranges, views) in enumerate(zip(windows, counts)):
        window = Window(ranges, views)
        if k != peak and views.any((1, 2)).all():
            others.append(window)
        elif k != peak:
            named = str(window) or "unknown energies"
            notes.append(f"its window of {named} has views without counts; it is left out.")
    return tuple(others), tuple(notes)


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
    mean = np.add.reduceat(flat, starts, axis=1)
    mean /= shared[None, :, None, None].astype(np.float32)
    where = np.add.reduceat(radius, starts) / shared
    note = f"{len(angles)} views were taken from {len(starts)} angles; those of one angle are averaged."
    return mean, _centred(angles[starts]), where, (note,)


def _centred(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ascending angles turned by whole circles, so that their middle lies in -180 ... 180."""
    return angles - 360.0 * np.round(angles.mean() / 360.0)


def _collimator(frames: Frames) -> str:
    return str(frames.detector_items[0].get("CollimatorGridName") or "").strip()
