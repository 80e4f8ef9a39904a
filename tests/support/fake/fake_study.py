"""NC studies small enough for tests, and translators whose answer is known."""

import numpy as np
import pydicom
import torch

from spectac_fast.formats.dicom import write_series

# A heart whose long axis, base to apex, points to the left, forward and down (LPS).
_LONG = np.array([0.6, -0.64, -0.48])
_UP = np.array([0.6, -0.64, 0.0]) * 0.48 / np.hypot(0.6, 0.64) + np.array([0, 0, np.hypot(0.6, 0.64)])
_LATERAL = np.cross(_UP, _LONG)
ORIENTATIONS = {"SA": (*_LATERAL, *-_UP), "VLA": (*_LONG, *-_UP), "HLA": (*_LATERAL, *-_LONG)}


def heart(rng, shape=(29, 64, 64), peak=900):
    """Counts of a hollow shell in a warm, noisy background: whole numbers, float32."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    shell = np.exp(-0.5 * ((np.sqrt((z / 1.4) ** 2 + y**2 + x**2) - 5) / 1.5) ** 2)
    return rng.poisson(peak * shell * rng.uniform(0.6, 1.0) + 0.05 * peak).astype(np.float32)


def write_nc(path, counts, *, plane="SA", phase="stress", corrected=False, study_key="study-1", **geometry):
    """Write one synthetic series; any argument of `write_series` can be given."""
    defaults = {
        "pixel_mm": 6.8,
        "slice_mm": 6.8,
        "orientation": ORIENTATIONS[plane],
        "position": (-190.0, -80.5, 60.25),
    }
    identity = {"patient_id": "SECRET-ID", "sex": "F", "study_key": study_key}
    write_series(path, counts, plane=plane, phase=phase, corrected=corrected, **{**defaults, **identity, **geometry})


def write_study(folder, rng, planes=("SA", "VLA", "HLA"), phases=("stress", "rest"), **geometry):
    """Write one NC study below `folder` and return {file name: counts}."""
    written = {}
    for phase in phases:
        for plane in planes:
            counts = heart(rng)
            name = f"{phase}_{plane}_NC.dcm"
            write_nc(folder / name, counts, plane=plane, phase=phase, **geometry)
            written[name] = counts
    return written


def edit(path, change):
    """Apply `change(ds)` to the DICOM file at `path` in place."""
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)


def without_codes(ds):
    """Leave plane and phase to names: drop the codes and the texts that tell them."""
    del ds.DetectorInformationSequence[0].ViewCodeSequence
    del ds.AcquisitionContextSequence
    ds.SeriesDescription, ds.ImageID = "", ""


class Times:
    """A translator that multiplies counts by `factor`, of which `gain` is applied by the pipeline."""

    name, card, weights_sha256, device, context_mm = "times", {}, "", torch.device("cpu"), ()

    def __init__(self, factor=1.0, gain=1.0, pixel_mm=6.8):
        self.factor, self.gain, self.pixel_mm = factor, gain, pixel_mm
        self.calls = []

    def translate(self, nc, seeds=None, neighbours=None, **options):
        assert nc.dtype == torch.float32
        assert nc.ndim == 4
        assert nc.shape[1] == 1
        assert seeds.dtype == torch.int64
        assert seeds.shape == nc.shape[:1]
        self.calls.append((nc.shape, seeds.clone(), options))
        return (nc + 1) * (self.factor / self.gain) - 1


CENTRE = np.array([30.0, -40.0, 12.5])


def ventricle(mm):
    """Counts of a smooth, hollow, lopsided shell about CENTRE at points [..., 3], so that planes can share it."""
    at = np.asarray(mm) - CENTRE
    radius = np.linalg.norm(at * [1, 1.2, 0.9], axis=-1)
    side = 1 + 0.3 * np.tanh(at[..., 0] / 30) - 0.2 * np.tanh(at[..., 2] / 40)
    return 800 * side * np.exp(-0.5 * ((radius - 38) / 10) ** 2) + 40 * np.exp(-((radius / 90) ** 2))


def write_planes(folder, planes=("SA", "VLA", "HLA"), *, phase="stress", volume=ventricle, of_plane=None, **common):
    """Write planes that all show `volume`, each centred on CENTRE; of_plane: {plane: arguments of its own}.

    Arguments are those of `write_nc`, and "shape": slices, rows, columns.
    """
    for plane in planes:
        own = {"shape": (29, 64, 64), "pixel_mm": 6.8, "slice_mm": 6.8, "orientation": ORIENTATIONS[plane]}
        own |= common | (of_plane or {}).get(plane, {})
        shape, (dy, dx) = own.pop("shape"), np.broadcast_to(own["pixel_mm"], 2)
        row, column = np.array(own["orientation"][:3]), np.array(own["orientation"][3:])
        steps = np.stack([own["slice_mm"] * np.cross(row, column), dy * column, dx * row])
        first = own.pop("position", CENTRE - (np.array(shape) - 1) / 2 @ steps)
        points = first + np.moveaxis(np.indices(shape), 0, -1) @ steps
        name = folder / f"{phase}_{plane}_NC.dcm"
        write_nc(name, np.rint(volume(points)), plane=plane, phase=phase, position=first, **own)
