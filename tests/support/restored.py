"""DICOM stacks stored in other ways, their headers changed as the way demands, or not."""

import copy
import itertools

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from spectac_fast.formats.orientation import Turn

# Every way to order three axes and to turn each of them over.
WAYS = [
    Turn(axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def counts_of(ds):
    return np.frombuffer(ds.PixelData, "<u2").reshape(int(ds.NumberOfFrames), ds.Rows, ds.Columns)


def store(ds, counts):
    """Put counts [frames, rows, columns] into a data set, and what describes their number."""
    ds.NumberOfFrames, ds.Rows, ds.Columns = counts.shape
    ds.NumberOfSlices, ds.SliceVector = len(counts), list(range(1, len(counts) + 1))
    ds.PixelData = np.ascontiguousarray(counts).astype("<u2").tobytes()


def steps_of(ds):
    """First voxel and steps along frames, rows and columns, mm, by the header."""
    home = ds.DetectorInformationSequence[0]
    row, column = np.array(home.ImageOrientationPatient[:3], float), np.array(home.ImageOrientationPatient[3:], float)
    down, right = map(float, ds.PixelSpacing)
    steps = np.stack([float(ds.SpacingBetweenSlices) * np.cross(row, column), down * column, right * row])
    return np.array(home.ImagePositionPatient, float), steps


def place(ds, first, steps):
    """The header of a stack that lies so; rows and columns must be at right angles."""
    home = ds.DetectorInformationSequence[0]
    mm = np.linalg.norm(steps, axis=1)
    along, column, row = steps / mm[:, None]
    ds.PixelSpacing = [f"{mm[1]:.6g}", f"{mm[2]:.6g}"]
    ds.SpacingBetweenSlices = f"{np.copysign(mm[0], np.cross(row, column) @ along):.6g}"
    ds.SliceThickness = f"{mm[0]:.6g}"
    home.ImageOrientationPatient = [f"{value:.8f}" for value in (*row, *column)]
    home.ImagePositionPatient = [f"{value:.4f}" for value in first]


def restore(ds, way):
    """Store a stack in another order and say so in its header: the same voxels at the same places."""
    counts, (first, steps) = counts_of(ds), steps_of(ds)
    place(ds, *way.steps(first, steps, counts.shape))
    store(ds, way.apply(counts))


def reverse(ds, axis):
    """Turn the counts over along an axis, and leave the header as it is."""
    store(ds, np.flip(counts_of(ds), axis))


def change_sign(ds):
    ds.SpacingBetweenSlices = f"{-float(ds.SpacingBetweenSlices):g}"


def to_second_item(ds):
    first = copy.deepcopy(ds.DetectorInformationSequence[0])
    del first.ImageOrientationPatient, first.ImagePositionPatient
    ds.DetectorInformationSequence = [first, ds.DetectorInformationSequence[0]]


def to_top_level(ds):
    home = ds.DetectorInformationSequence[0]
    ds.ImageOrientationPatient, ds.ImagePositionPatient = home.ImageOrientationPatient, home.ImagePositionPatient
    del home.ImageOrientationPatient, home.ImagePositionPatient


def to_functional_groups(ds):
    home = ds.DetectorInformationSequence[0]
    orientation, position, group = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = home.ImageOrientationPatient
    position.ImagePositionPatient = home.ImagePositionPatient
    group.PlaneOrientationSequence, group.PlanePositionSequence = [orientation], [position]
    ds.SharedFunctionalGroupsSequence = [group]
    del home.ImageOrientationPatient, home.ImagePositionPatient


def without_orientation(ds):
    del ds.DetectorInformationSequence[0].ImageOrientationPatient


def with_camera_axes(ds):
    ds.DetectorInformationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def rewritten(source, target, change=lambda ds: None):
    """A copy of a DICOM file after `change(ds)`."""
    ds = pydicom.dcmread(source)
    change(ds)
    target.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(target)
    return target
