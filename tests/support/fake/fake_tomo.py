"""Projections of nothing in particular, in every way that cameras store them."""

import copy

import numpy as np
import pydicom

from spectac_fast.formats.dicom.tomo.synthetic import write_projections

VIEWS, ROWS, COLUMNS, PIXEL_MM = 24, 20, 32, 6.8
ANGLES = -45 + 3.75 + 7.5 * np.arange(VIEWS)
WINDOWS = ((126.45, 154.55), (108.0, 126.0), (155.0, 172.0))


def counts(rng, windows=1):
    """Counts [windows, views, rows, columns] of which no two views are alike."""
    return rng.poisson(40, (windows, VIEWS, ROWS, COLUMNS)).astype(np.uint16)


def write_tomo(path, made, *, angles=ANGLES, radius_mm=(250.0,), **others):
    given = {
        "phase": "stress",
        "patient_id": "SECRET",
        "sex": "F",
        "study_key": "tomo",
        "pixel_mm": PIXEL_MM,
        "top_mm": 60.0,
        "windows_kev": WINDOWS[: len(made)],
    }
    write_projections(path, made, angles=angles, radius_mm=radius_mm, **(given | others))
    return path


def edited(path, change):
    """The same file after `change(ds)`."""
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return path


def frames(ds):
    return np.frombuffer(ds.PixelData, "<u2").reshape(-1, ds.Rows, ds.Columns)


def keep(ds, order, **vectors):
    """Store these frames of the file, in this order, with vectors given in the old order."""
    pixels = frames(ds)[list(order)]
    ds.NumberOfFrames, ds.PixelData = len(pixels), np.ascontiguousarray(pixels).tobytes()
    names = ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector")
    for name in {*names, *vectors}:
        values = np.asarray(vectors.get(name, ds.get(name)))
        setattr(ds, name, [int(each) for each in values[list(order)]])


def with_heads(heads, rng, *, number_on=False):
    """A change: each of `heads` detectors takes a part of the arc, all begin at once, frames lie in any order."""

    def change(ds):
        each = VIEWS // heads
        of = np.arange(int(ds.NumberOfFrames)) % VIEWS
        keep(
            ds,
            rng.permutation(len(of)),
            DetectorVector=of // each + 1,
            AngularViewVector=(of if number_on else of % each) + 1,
        )
        first = ds.DetectorInformationSequence[0]
        ds.NumberOfDetectors, items = heads, []
        for head in range(heads):
            item = copy.deepcopy(first)
            item.StartAngle = f"{(180 - ANGLES[head * each]) % 360:g}"
            turn = np.radians(ANGLES[head * each])
            item.ImageOrientationPatient = [f"{v:.6f}" for v in (np.cos(turn), np.sin(turn), 0, 0, 0, -1)]
            items.append(item)
        ds.DetectorInformationSequence = items
        rotation = ds.RotationInformationSequence[0]
        rotation.NumberOfFramesInRotation = each
        del rotation.StartAngle

    return change


def backwards(ds):
    """The detector turns the other way: the last view is taken first."""
    keep(ds, range(int(ds.NumberOfFrames)), AngularViewVector=VIEWS + 1 - np.array(ds.AngularViewVector))
    rotation = ds.RotationInformationSequence[0]
    rotation.StartAngle = f"{(180 - ANGLES[-1]) % 360:g}"
    rotation.RotationDirection = "CC"
    turn = np.radians(ANGLES[-1])
    ds.DetectorInformationSequence[0].ImageOrientationPatient = [
        f"{v:.6f}" for v in (np.cos(turn), np.sin(turn), 0, 0, 0, -1)
    ]


def gated(gates, rng):
    """A change: every frame's counts are shared out among gates; frames lie in any order."""

    def change(ds):
        whole = frames(ds)
        parts = np.stack([rng.binomial(whole, 1 / gates) for _ in range(gates - 1)])
        parts = np.minimum(parts, whole // gates)
        parts = np.concatenate([parts, (whole - parts.sum(0))[None]]).astype("<u2")
        names = ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector")
        for name in names:
            setattr(ds, name, [int(each) for each in np.tile(ds.get(name), gates)])
        ds.PixelData, ds.NumberOfFrames = parts.tobytes(), gates * len(whole)
        slots = np.repeat(np.arange(gates) + 1, len(whole))
        keep(ds, rng.permutation(len(slots)), TimeSlotVector=slots, RRIntervalVector=np.ones(len(slots)))
        ds.ImageType = ["ORIGINAL", "PRIMARY", "GATED TOMO", "EMISSION"]
        ds.NumberOfTimeSlots, ds.NumberOfRRIntervals = gates, 1

    return change
