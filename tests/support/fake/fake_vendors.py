"""One acquisition as other cameras would have written it: changes of a file of one detector, rotation and window."""

from __future__ import annotations

import copy

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

VECTORS = ("EnergyWindowVector", "DetectorVector", "RotationVector", "AngularViewVector")


def pixels(ds):
    return np.frombuffer(ds.PixelData, "<u2").reshape(-1, ds.Rows, ds.Columns)


def rotation_of(ds):
    return ds.RotationInformationSequence[0]


def detector_of(ds):
    return ds.DetectorInformationSequence[0]


def starts(ds):
    """Start Angle of every view as DICOM counts, and the step with its sign."""
    first = rotation_of(ds)
    step = float(first.AngularStep) * (-1 if first.RotationDirection == "CW" else 1)
    return float(first.StartAngle) + step * np.arange(int(ds.NumberOfFrames)), step


def put(ds, counts, **vectors):
    """Store these frames with vectors; one that is not given is 1 of every frame."""
    counts = np.ascontiguousarray(counts, "<u2")
    ds.NumberOfFrames, ds.PixelData = len(counts), counts.tobytes()
    for name in {*VECTORS, *vectors}:
        setattr(ds, name, [int(each) for each in vectors.get(name, np.ones(len(counts)))])
    for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in ds:
            del ds[keyword]


def facing(start):
    """Image Orientation of a detector at a Start Angle."""
    turn = np.radians(180 - start)
    return [f"{v:.6f}" for v in (np.cos(turn), np.sin(turn), 0, 0, 0, -1)]


def head(ds, start, *, own=True):
    """The item of a detector that starts there."""
    item = copy.deepcopy(detector_of(ds))
    item.ImageOrientationPatient = facing(start)
    if own:
        item.StartAngle = f"{start % 360:g}"
    return item


def turn(ds, start, views, **others):
    """The item of a rotation that starts there."""
    item = copy.deepcopy(rotation_of(ds))
    item.StartAngle, item.NumberOfFramesInRotation = f"{start % 360:g}", views
    for keyword, value in others.items():
        setattr(item, keyword, value)
    return item


def heads(count, *, own="detector", numbers="each", arc=None, interleaved=False):
    """Detectors share the arc. own: where each one's Start Angle is, in its item ("detector"), in an item of
    Rotation Information for each ("rotation"), in both, or beside that of the first in the rotation ("beside").
    numbers: of views, of "each" or of "all". arc: what Scan Arc says. interleaved: frames in the order of time.
    """

    def change(ds):
        angle, counts = starts(ds)[0], pixels(ds)
        views = len(counts) // count
        of, view = np.arange(len(counts)) // views, np.arange(len(counts)) % views
        order = np.argsort(view, kind="stable") if interleaved else np.arange(len(counts))
        numbered = view if numbers == "each" else np.arange(len(counts))
        put(ds, counts[order], DetectorVector=of[order] + 1, AngularViewVector=numbered[order] + 1)
        begin = angle[::views]
        ds.NumberOfDetectors = count
        items = [head(ds, each, own=own in ("detector", "both", "beside")) for each in begin]
        ds.DetectorInformationSequence = Sequence(items)
        turns = [turn(ds, each, views) for each in (begin if own in ("rotation", "both") else begin[:1])]
        if own == "detector":
            del turns[0].StartAngle
        if arc is not None:
            for item in turns:
                item.ScanArc = str(arc)
        ds.RotationInformationSequence = Sequence(turns)

    return change


def rotations(*, back=False, own=False, seconds=(1, 1), **second):
    """The second half of the arc is a rotation of its own, back: from its end. own: the detector's item has the start
    of the first one too. seconds: how many times longer than usual each took.
    """

    def change(ds):
        (angle, _), counts = starts(ds), pixels(ds)
        half = len(counts) // 2
        of, view = np.arange(2 * half) // half, np.arange(2 * half) % half
        begin, direction = angle[half], rotation_of(ds).RotationDirection
        if back:
            view = np.where(of == 1, half - 1 - view, view)
            begin, direction = angle[-1], "CC" if direction == "CW" else "CW"
        counts = counts * np.array(seconds)[of][:, None, None]
        put(ds, counts, RotationVector=of + 1, AngularViewVector=view + 1)
        if own:
            detector_of(ds).StartAngle = f"{angle[0] % 360:g}"
        ms = int(rotation_of(ds).ActualFrameDuration)
        both = [
            turn(ds, angle[0], half, ActualFrameDuration=ms * seconds[0]),
            turn(ds, begin, half, RotationDirection=direction, ActualFrameDuration=ms * seconds[1], **second),
        ]
        ds.RotationInformationSequence, ds.NumberOfRotations = Sequence(both), 2

    return change


def there_and_back(ds):
    """The whole arc one way and then the other, half of the counts each, with the start of the first in the detector's
    item.
    """
    (angle, _), counts = starts(ds), pixels(ds)
    views, first = len(counts), counts // 2
    both = np.concatenate([first, (counts - first)[::-1]])
    put(ds, both, RotationVector=np.arange(2 * views) // views + 1, AngularViewVector=np.arange(2 * views) % views + 1)
    detector_of(ds).StartAngle = f"{angle[0] % 360:g}"
    back = "CC" if rotation_of(ds).RotationDirection == "CW" else "CW"
    both = [turn(ds, angle[0], views), turn(ds, angle[-1], views, RotationDirection=back)]
    ds.RotationInformationSequence, ds.NumberOfRotations = Sequence(both), 2


def gates(count, *, vectors=("TimeSlotVector",), intervals=1, kind="GATED TOMO"):
    """Counts shared out among gates, of which as many R-R intervals as said."""

    def change(ds):
        whole = pixels(ds).astype(np.int64)
        views, parts = len(whole), count * intervals
        shares = np.stack([(whole + k) // parts for k in range(parts)])
        gate = np.repeat(np.arange(parts), views)
        given = {"AngularViewVector": np.tile(np.arange(views), parts) + 1}
        if "TimeSlotVector" in vectors:
            given["TimeSlotVector"], ds.NumberOfTimeSlots = gate % count + 1, count
        if "RRIntervalVector" in vectors:
            given["RRIntervalVector"], ds.NumberOfRRIntervals = gate // count + 1, intervals
        put(ds, shares.reshape(-1, *whole.shape[1:]), **given)
        ds.ImageType = ["ORIGINAL", "PRIMARY", kind, "EMISSION"]

    return change


def window(low, high, name="Tc99m", more=()):
    item, item.EnergyWindowName = Dataset(), name
    ranges = []
    for first, last in ((low, high), *more):
        limits = Dataset()
        limits.EnergyWindowLowerLimit, limits.EnergyWindowUpperLimit = f"{first:g}", f"{last:g}"
        ranges.append(limits)
    item.EnergyWindowRangeSequence = Sequence(ranges)
    return item


def windows(*others, peak=0, promised=1, by_window=True):
    """Other windows (low, high, name) beside the photopeak, which is number `peak` of them; each holds other counts.

    promised: how many times the views Number of Frames in Rotation says.
    """

    def change(ds):
        counts, own = pixels(ds), ds.EnergyWindowInformationSequence[0]
        views, total = len(counts), len(others) + 1
        each = [(counts * (k + 2) // (k + 3))[::-1] for k in range(len(others))]
        items = [window(*other) for other in others]
        each.insert(peak, counts)
        items.insert(peak, own)
        of, view = np.repeat(np.arange(total), views), np.tile(np.arange(views), total)
        order = np.arange(len(of)) if by_window else np.argsort(view, kind="stable")
        flat = np.concatenate(each)
        put(ds, flat[order], EnergyWindowVector=of[order] + 1, AngularViewVector=view[order] + 1)
        ds.EnergyWindowInformationSequence, ds.NumberOfEnergyWindows = Sequence(items), total
        rotation_of(ds).NumberOfFramesInRotation = promised * views

    return change


def only_window(number, *items):
    """The file holds the frames of one window alone; its sequence still lists all."""

    def change(ds):
        own = ds.EnergyWindowInformationSequence[0]
        ds.EnergyWindowInformationSequence = Sequence([own if item is None else window(*item) for item in items])
        ds.EnergyWindowVector = [number] * int(ds.NumberOfFrames)

    return change


def set_in(where, **values):
    """Attributes of the data set (where: ""), its detector or its rotation; None deletes."""

    def change(ds):
        home = {"": lambda: ds, "detector": lambda: detector_of(ds), "rotation": lambda: rotation_of(ds)}[where]()
        for keyword, value in values.items():
            if value is None:
                if keyword in home:
                    del home[keyword]
            else:
                setattr(home, keyword, value)

    return change


def also(*changes):
    def change(ds):
        for each in changes:
            each(ds)

    return change


def radii(where, of=lambda views: 200 + np.arange(views)):
    """A list of radii in the item of the detector or of the rotation."""

    def change(ds):
        set_in("rotation", RadialPosition=None)(ds)
        set_in(where, RadialPosition=[f"{mm:g}" for mm in of(int(ds.NumberOfFrames))])(ds)

    return change


def reordered(rng):
    """Frames in any order; their vectors say which is which."""

    def change(ds):
        order = rng.permutation(int(ds.NumberOfFrames))
        names = {name for name in (*VECTORS, "TimeSlotVector", "RRIntervalVector") if name in ds}
        put(ds, pixels(ds)[order], **{name: np.array(ds.get(name))[order] for name in names})

    return change


def shuffled(rng):
    """Frames in an order that nothing in the file tells."""

    def change(ds):
        views = pixels(ds)
        ds.PixelData = np.ascontiguousarray(views[rng.permutation(len(views))]).tobytes()

    return change


def some_views(kept, *, promise):
    """Some of the views, a slice, with the numbers they had; promise: whether the header says how many there were."""

    def change(ds):
        views = int(ds.NumberOfFrames)
        put(ds, pixels(ds)[kept], AngularViewVector=np.arange(views)[kept] + 1)
        if not promise:
            del rotation_of(ds).NumberOfFramesInRotation

    return change


def without_starts(ds):
    """Detectors that differ in their orientation alone."""
    for item in ds.DetectorInformationSequence:
        del item.StartAngle


def numbered_by_detector(ds):
    """Every detector has a rotation and windows of its own number; their starts are in the rotations' items."""
    count, of = int(ds.NumberOfDetectors), np.array(ds.DetectorVector)
    ds.RotationVector, ds.NumberOfRotations = of.tolist(), count
    kinds = len(ds.EnergyWindowInformationSequence)
    ds.EnergyWindowVector = (np.array(ds.EnergyWindowVector) + kinds * (of - 1)).tolist()
    ds.EnergyWindowInformationSequence = Sequence(list(ds.EnergyWindowInformationSequence) * count)
    ds.NumberOfEnergyWindows = kinds * count


def stored(dtype, *, slope=1, intercept=0):
    """The same counts in other words."""

    def change(ds):
        kind = np.dtype(dtype)
        values = np.rint((pixels(ds).astype(np.float64) - intercept) / slope).astype(kind)
        ds.BitsAllocated = ds.BitsStored = 8 * kind.itemsize
        ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(kind.kind == "i")
        for keyword in ("SmallestImagePixelValue", "LargestImagePixelValue", "WindowCenter", "WindowWidth"):
            if keyword in ds:
                del ds[keyword]
        ds.PixelData = values.tobytes()
        if slope != 1 or intercept:
            ds.RescaleSlope, ds.RescaleIntercept = f"{slope:g}", f"{intercept:g}"

    return change


def heads_of_windows(count):
    """Detectors share the arc of a file of several windows, their starts in items of Rotation Information."""

    def change(ds):
        kinds = len(ds.EnergyWindowInformationSequence)
        views = int(ds.NumberOfFrames) // kinds
        first = rotation_of(ds)
        step = float(first.AngularStep) * (-1 if first.RotationDirection == "CW" else 1)
        begin = float(first.StartAngle) + step * np.arange(0, views, views // count)
        of = (np.array(ds.AngularViewVector) - 1) // (views // count)
        view = (np.array(ds.AngularViewVector) - 1) % (views // count)
        put(ds, pixels(ds), EnergyWindowVector=ds.EnergyWindowVector, DetectorVector=of + 1, AngularViewVector=view + 1)
        ds.NumberOfDetectors = count
        ds.DetectorInformationSequence = Sequence([head(ds, each, own=False) for each in begin])
        ds.RotationInformationSequence = Sequence([turn(ds, each, views // count) for each in begin])

    return change
