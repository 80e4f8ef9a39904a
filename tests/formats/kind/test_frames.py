"""How many slices a file holds, and that it shows each once: gated, dynamic, miscounted."""

import numpy as np
import pytest
from fake_study import edit, heart, write_nc

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.dicom.kind.frames import beside, in_turn, repeats, shown_at_once


def beating(rng, gates=8, slices=29):
    """Gate after gate of one heart, the wall thinner or thicker, an eighth of the counts each."""
    walls = [heart(rng, (slices, 64, 64), peak=110 * (1 + 0.15 * np.cos(2 * np.pi * k / gates))) for k in range(gates)]
    return np.concatenate(walls)


@pytest.fixture
def file(tmp_path, rng):
    path = tmp_path / "SA.dcm"
    write_nc(path, heart(rng))
    return path


def refused(path, error=NotApplicableError, **options):
    with pytest.raises(error) as caught:
        read_series(path, **options)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert text.endswith(".")
    assert "\n" not in text
    assert "SECRET" not in text
    return text


def headed(**values):
    """A change of a data set: these attributes."""
    return lambda ds: [setattr(ds, keyword, value) for keyword, value in values.items()]


SEVERAL = {
    "232 frames of 8 gates": (headed(NumberOfTimeSlots=8), "gated"),
    "a time slot for every frame": (headed(TimeSlotVector=[k // 29 + 1 for k in range(232)]), "gated"),
    "a pointer to time slots": (
        headed(NumberOfTimeSlots=8, FrameIncrementPointer=[0x00540070, 0x00540080], NumberOfSlices=None),
        "gated",
    ),
    "intervals": (headed(RRIntervalVector=[k // 116 + 1 for k in range(232)]), "gated"),
    "phases": (headed(PhaseVector=[k // 29 + 1 for k in range(232)]), "dynamic"),
    "time slices": (headed(NumberOfTimeSlices=8), "dynamic"),
    "views": (headed(AngularViewVector=list(range(1, 233))), "projections"),
    "two energy windows": (headed(EnergyWindowVector=[k // 116 + 1 for k in range(232)]), "several energy windows"),
    "nothing, and as many slices as frames": (headed(NumberOfSlices=232), "8 stacks of 29 slices"),
    "nothing at all": (headed(NumberOfSlices=None, SliceVector=None), "8 stacks of 29 slices"),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_a_stack_in_time_is_refused(tmp_path, rng, name):
    change, word = SEVERAL[name]
    path = tmp_path / "SA.dcm"
    write_nc(path, beating(rng))
    edit(path, headed(NumberOfSlices=29))
    edit(path, change)
    assert word in refused(path)


@pytest.mark.parametrize("change", [headed(NumberOfFrames=15, SliceVector=None), headed(NumberOfSlices=28)])
def test_numbers_of_slices_that_contradict_each_other(file, change):
    edit(file, change)
    assert "as many frames as slices" in refused(file, InputError)


def test_no_number_of_frames(file):
    edit(file, lambda ds: delattr(ds, "NumberOfFrames"))
    assert "no number of frames of 29 slices" in refused(file, InputError)


def test_what_gating_left_behind_is_said(file):
    edit(file, headed(NumberOfTimeSlots=8))
    (note,) = read_series(file).notes
    assert "8 time slots" in note


@pytest.mark.parametrize("text", ["STRESS GATED SA", "STRESS SA 8 BINS", "GSPECT STRESS SA"])
def test_a_description_that_speaks_of_gates_is_said(file, text):
    edit(file, headed(SeriesDescription=text))
    (note,) = read_series(file).notes
    assert "gating" in note


@pytest.mark.parametrize("text", ["STRESS UNGATED SA", "STRESS SA NON-GATED", "STRESS GATED SUMMED SA", "STRESS SA G"])
def test_a_description_of_the_sum_is_not(file, text):
    edit(file, headed(SeriesDescription=text))
    assert read_series(file).notes == ()


@pytest.mark.parametrize("slices", [24, 28, 32, 48, 64])
@pytest.mark.parametrize("mm", [6.8, 3.4])
def test_one_heart_does_not_repeat(rng, slices, mm):
    z = (np.arange(slices) - (slices - 1) / 2)[:, None, None] * mm
    y, x = (np.mgrid[:64, :64] - 31.5) * 6.8
    body = 40.0 * ((y / 160) ** 2 + (x / 180) ** 2 < 1) * np.ones_like(z)
    shell = 400 * np.exp(-0.5 * ((np.sqrt(z**2 / 2 + y**2 + x**2) - 35) / 10) ** 2)
    counts = rng.poisson(body + shell)
    assert (repeats(counts), shown_at_once(counts), in_turn(counts), beside(counts)) == (0, 0, 0, 0)
    # Slices between slices, as interpolation makes them, are no gates.
    assert shown_at_once(np.repeat(counts, 2, axis=0)[:-1] + np.repeat(counts, 2, axis=0)[1:]) == 0


@pytest.mark.parametrize("gates", [4, 8, 16])
@pytest.mark.parametrize("slices", [16, 29])
def test_gates_behind_each_other_repeat(rng, gates, slices):
    assert repeats(beating(rng, gates, slices)) == slices


@pytest.mark.parametrize("gates", [8, 16])
@pytest.mark.parametrize("slices", [16, 29])
def test_gates_of_one_slice_after_another_are_found(tmp_path, rng, gates, slices):
    interleaved = beating(rng, gates, slices).reshape(gates, slices, 64, 64).swapaxes(0, 1).reshape(-1, 64, 64)
    assert shown_at_once(interleaved) == gates
    write_nc(tmp_path / "SA.dcm", interleaved)
    assert f"each slice {gates} times" in refused(tmp_path / "SA.dcm")


def test_a_whole_body_scan_is_refused(file):
    edit(file, headed(WholeBodyTechnique="1PS"))
    assert "whole-body" in refused(file)


@pytest.mark.parametrize(
    ("third", "word"), [("WHOLE BODY", "whole-body"), ("DYNAMIC", "dynamic"), ("STATIC", "planar"), ("GATED", "gated")]
)
def test_other_image_types_are_named(file, third, word):
    edit(file, headed(ImageType=["ORIGINAL", "PRIMARY", third, "EMISSION"]))
    assert word in refused(file)


@pytest.mark.parametrize("stacks", [2, 3])
def test_frames_of_several_stacks_in_turn_are_found(tmp_path, rng, stacks):
    shifted = [np.roll(heart(rng), 16 * k, axis=1) for k in range(stacks)]
    write_nc(tmp_path / "SA.dcm", np.stack(shifted, 1).reshape(-1, 64, 64))
    assert f"each goes on {stacks} frames later" in refused(tmp_path / "SA.dcm")


@pytest.mark.parametrize(("rows", "columns", "word"), [(32, 128, "beside"), (32, 64, "each goes on 2 frames later")])
def test_frames_of_other_sizes_than_the_header_says(file, rows, columns, word):
    def change(ds):
        ds.Rows, ds.Columns = rows, columns
        ds.NumberOfFrames = ds.NumberOfSlices = 29 * 64 * 64 // (rows * columns)
        ds.SliceVector = list(range(1, ds.NumberOfFrames + 1))

    edit(file, change)
    assert word in refused(file)
