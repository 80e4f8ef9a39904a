"""Folders of one's own pairs, small enough for tests."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from tiny_training import SIDE

SPACING = (4.0, 6.8, 6.8)


def stacks(rng, slices=5, side=SIDE, whole=False):
    """NC and AC counts, float32 or whole numbers of 16 bits."""
    nc = 400 * gaussian_filter(rng.random((slices, side, side)), (0, 2, 2))
    pair = nc, 2 * nc + 0.002 * gaussian_filter(nc, 2) ** 2
    return tuple(np.rint(stack).astype(np.uint16) if whole else stack.astype(np.float32) for stack in pair)


def put(folder, name, pair, save=np.save):
    for side, stack in zip(("NC", "AC"), pair, strict=True):
        (folder / side).mkdir(parents=True, exist_ok=True)
        save(folder / side / name, stack)


def png(path, counts):
    Image.fromarray(counts).save(path)


def tiff(path, stack):
    first, *others = [Image.fromarray(counts) for counts in stack]
    first.save(path, save_all=True, append_images=others)


def three_patients(made, rng):
    """Two planes of two phases, a plane of one phase, and a name that tells nothing: {name: (NC, AC)}."""
    kept = {}
    for name, slices in (
        ("p1_stress_VLA", 5),
        ("p1_stress_SA", 7),
        ("p1_REST_sa", 6),
        ("second_patient_rest_HLA", 4),
        ("third", 3),
    ):
        kept[name] = stacks(rng, slices)
        put(made, f"{name}.npy", kept[name])
    (made / "spacing.json").write_text(json.dumps({"pixel_mm": 6.8, "slice_mm": 4.0}))
    return kept
