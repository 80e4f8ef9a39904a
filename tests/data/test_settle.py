"""Planes that hold other counts where their headers place them say so."""

from dataclasses import replace

import numpy as np
import pytest
from fake_study import edit, write_planes

from spectac_fast import read_study
from spectac_fast.data.settle import settled


def notes_of(folder):
    return {series.plane: [note for note in series.notes if "on the same voxels" in note] for series in study(folder)}


def study(folder):
    return read_study(folder).series


def stretched(ds):
    ds.SpacingBetweenSlices = ds.SliceThickness = "4.8"


def other_counts(ds):
    stored = np.frombuffer(ds.PixelData, "<u2").reshape(29, 64, 64)
    ds.PixelData = np.ascontiguousarray(stored[:, ::-1]).tobytes()


def doubled(ds):
    ds.PixelData = (2 * np.frombuffer(ds.PixelData, "<u2")).astype("<u2").tobytes()


@pytest.mark.parametrize("change", [stretched, other_counts])
def test_a_plane_that_others_contradict_says_so(tmp_path, change):
    write_planes(tmp_path)
    edit(tmp_path / "stress_SA_NC.dcm", change)
    note = (
        "its counts are not those of HLA and VLA on the same voxels, as their headers place them; check its geometry."
    )
    assert notes_of(tmp_path) == {"SA": [note], "VLA": [], "HLA": []}


def test_planes_that_agree_or_share_no_voxel_say_nothing(tmp_path):
    write_planes(tmp_path)
    assert set(map(tuple, notes_of(tmp_path).values())) == {()}
    edit(tmp_path / "stress_VLA_NC.dcm", doubled)
    assert set(map(tuple, notes_of(tmp_path).values())) == {()}
    far = [replace(series, position=(1e4 * k, 0.0, 0.0)) for k, series in enumerate(study(tmp_path))]
    assert not [note for series in settled(far) for note in series.notes if "on the same voxels" in note]
