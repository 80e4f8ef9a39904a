"""A small patient of whom everything is known: a body of water, a ventricle, and what a camera counts of them."""

from __future__ import annotations

import numpy as np
import pydicom
import torch
from fake_study import write_nc
from fake_tomo import write_tomo
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter

from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.camera import Collimator
from spectac_fast.reconstruct.grid import Grid, axes_at

GRID = Grid(40, 32, 6.8, 0.5)
ANGLES = -45 + 3.75 + 7.5 * np.arange(24)
AXES = axes_at(45, 25, np.array([20.0, -20.0, 0.0]))
WATER = 0.15


def places():
    return np.meshgrid(GRID.axis_z(), GRID.axis_y(), GRID.axis_x(), indexing="ij")


def body():
    """1 in a cylinder of 115 x 95 mm, soft-edged; float32 [z, y, x]."""
    _, y, x = places()
    return torch.from_numpy(np.clip(6 * (1 - np.hypot(x / 115, y / 95)) + 0.5, 0, 1).astype(np.float32))


def ventricle():
    """A wall of 10 mm, as long as wide patients' ones, in counts of 1; float32 [z, y, x]."""
    z, y, x = places()
    away = np.stack([x, y, z], -1) - AXES.centre
    along, across = away @ AXES.long, np.hypot(away @ AXES.up, away @ AXES.lateral)
    outer = np.clip(8 * (1 - np.hypot(across / 31, (along + 6) / 53)) + 0.5, 0, 1)
    inner = np.clip(8 * (1 - np.hypot(across / 21, (along + 6) / 43)) + 0.5, 0, 1)
    wall = (outer - inner) * (along > -24 - 0.34 * (away @ AXES.lateral))
    return torch.from_numpy(gaussian_filter(wall, 0.3).astype(np.float32))


def views_of(activity, mu, *, blurred=False):
    """Expected counts [views, bins, rows] of an activity in counts over all views, and its camera."""
    rows, bins = GRID.nz, GRID.n
    camera = Acquired(torch.zeros(len(ANGLES), bins, rows), tuple(ANGLES), (200.0,) * len(ANGLES), 6.8, Collimator())
    return camera.expected(activity, mu, blurred)


def acquired(counts):
    return Acquired(counts, tuple(ANGLES), (200.0,) * len(ANGLES), 6.8, Collimator())


def write_patient(path, rng, level=400.0, **others):
    """Projections of ventricle and body as an NM TOMO file."""
    activity = level * (ventricle() + 0.1 * body())
    expected = views_of(activity, WATER * body())
    counts = rng.poisson(expected.numpy().transpose(0, 2, 1)[None, :, ::-1]).astype(np.uint16)
    given = {"angles": ANGLES, "radius_mm": (200.0,), "top_mm": float(GRID.axis_z()[-1])}
    return write_tomo(path, counts, **(given | others))


def write_ct(folder, hu, *, spacing=(6.8, 3.4, 3.4), first=None, series="1.2.3", step=1, change=lambda ds: None):
    """A CT series of hu [slices, rows, columns], transaxial, centred on the axis of rotation, a file a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    if first is None:
        first = [-(n - 1) / 2 * mm for n, mm in zip(hu.shape[::-1], spacing[::-1])]
    for k in range(0, len(hu), step):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{series}.{k + 1}"
        ds.InstanceNumber = k + 1
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2", series, "1.2.9"
        ds.Modality, ds.PatientName = "CT", "SECRET"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = hu.shape[1:]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
        ds.PixelSpacing, ds.ImageOrientationPatient = list(spacing[1:]), [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [first[0], first[1], first[2] + k * spacing[0]]
        ds.PixelData = (np.rint(hu[k]) + 1024).astype("<i2").tobytes()
        change(ds)
        ds.save_as(folder / f"{series}-{len(hu) - k:03d}.dcm", enforce_file_format=True)
    return folder


def write_map(path, values, image_type="TRANSMISSION", **geometry):
    """An NM object of values [z, y, x], whole numbers, on the grid of the reconstruction."""
    given = {"orientation": (1, 0, 0, 0, 1, 0), "pixel_mm": 6.8, "slice_mm": 6.8}
    first = (GRID.axis_x()[0], GRID.axis_y()[0], GRID.axis_z()[0])
    write_nc(path, np.rint(values), **{**given, "position": first, **geometry})
    ds = pydicom.dcmread(path)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", image_type]
    ds.save_as(path)
    return path


def ct_of(mu):
    """Hounsfield units of a map [z, y, x] of WATER at most, in voxels of half the size across."""
    fine = np.repeat(np.repeat(mu.numpy(), 2, 1), 2, 2)
    return 1000 * (fine / WATER - 1)
