"""Which way round a stack lies: every way to store one leads to the same slices, and back into the same file."""

import itertools

import numpy as np
import pydicom
import pytest
from fake_study import edit, write_nc
from pydicom.dataset import Dataset
from restored import WAYS, restore, rewritten
from scipy.spatial.transform import Rotation

from spectac_fast import read_study, write_corrected
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.orientation import AS_STORED, VIEWS, Turn, turn_to_view
from spectac_fast.terms import PLANES

GEOMETRY = (
    "DetectorInformationSequence",
    "SpacingBetweenSlices",
    "SliceThickness",
    "PixelSpacing",
    "SliceVector",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "FrameIncrementPointer",
    "FrameOfReferenceUID",
)


def hearts(rng, count):
    """Views of hearts that are turned by up to 30 degrees from the typical one about any axis."""
    for _ in range(count):
        axis = rng.standard_normal(3)
        turned = Rotation.from_rotvec(np.radians(rng.uniform(0, 30)) * axis / np.linalg.norm(axis)).as_matrix()
        yield {plane: view @ turned for plane, view in VIEWS.items()}


def test_a_turn_is_undone_and_followed_by_another(fresh):
    stack = fresh.random((3, 4, 5))
    for first, second in itertools.product(WAYS, WAYS):
        np.testing.assert_array_equal(first.undo(first.apply(stack)), stack)
        np.testing.assert_array_equal(first.then(second).apply(stack), second.apply(first.apply(stack)))
    assert Turn() == AS_STORED in WAYS
    assert len(set(WAYS)) == 48


def test_voxels_keep_their_places(fresh):
    stack, first, steps = fresh.random((3, 4, 5)), fresh.standard_normal(3), fresh.standard_normal((3, 3))
    places = first + np.moveaxis(np.indices(stack.shape), 0, -1) @ steps
    for way in WAYS:
        turned = way.apply(stack)
        begin, along = way.steps(first, steps, stack.shape)
        there = begin + np.moveaxis(np.indices(turned.shape), 0, -1) @ along
        for axis in range(3):
            np.testing.assert_allclose(there[..., axis], way.apply(places[..., axis]), atol=1e-12)


@pytest.mark.parametrize("plane", PLANES)
def test_hearts_of_any_direction_in_every_way_of_storing(fresh, plane):
    stack = np.arange(60).reshape(3, 4, 5)
    for heart in hearts(fresh, 40):
        mm = fresh.uniform(1, 9, 3)
        for way in WAYS:
            stored, (_, steps) = way.apply(stack), way.steps(np.zeros(3), heart[plane] * mm[:, None], stack.shape)
            for own_slices in (False, True):
                turn = turn_to_view(steps, plane, own_slices=own_slices)
                np.testing.assert_array_equal(turn.apply(stored), stack)


def test_slices_of_a_steep_heart_are_believed_to_be_those_of_their_plane():
    # At 50 degrees another order of the axes comes closer to a typical heart; in DICOM frames are slices of the plane.
    view = VIEWS["SA"] @ Rotation.from_rotvec(np.radians(50) * VIEWS["SA"][2]).as_matrix()
    assert turn_to_view(view, "SA").axes != (0, 1, 2)
    assert turn_to_view(view, "SA", own_slices=True) == AS_STORED


@pytest.mark.parametrize("way", WAYS[:3])
def test_axes_of_the_patient_are_no_hearts(way):
    _, axes = way.steps(np.zeros(3), np.eye(3) + 1e-3, (2, 2, 2))
    assert turn_to_view(axes, "SA") is None
    assert turn_to_view(np.full((3, 3), np.nan), "SA") is None


@pytest.mark.parametrize("plane", PLANES)
def test_a_file_stored_in_any_way_is_read_alike_and_written_back_as_it_was(tmp_path, fresh, plane):
    heart = next(hearts(fresh, 1))[plane]
    counts = fresh.integers(0, 60_000, (6, 7, 8)).astype(np.float32)
    position = tuple(fresh.uniform(-90, 90, 3).round(3))
    write_nc(
        tmp_path / "source.dcm",
        counts,
        plane=plane,
        orientation=(*heart[2], *heart[1]),
        position=position,
        pixel_mm=(6.4, 5.5),
        slice_mm=7.25,
    )
    for k, way in enumerate(WAYS):
        path = rewritten(tmp_path / "source.dcm", tmp_path / f"{k}.dcm", lambda ds, way=way: restore(ds, way))
        study = read_study(path)
        (series,) = study.series
        np.testing.assert_array_equal(series.counts, counts)
        np.testing.assert_allclose(series.position, position, atol=1e-3)
        np.testing.assert_allclose(series.directions, heart, atol=1e-6)
        assert (series.pixel_mm, series.slice_mm) == ((6.4, 5.5), 7.25)
        assert series.assumed == ()
        # Only frames that are no slices of the plane are worth a word.
        assert len(series.notes) == (way.axes[0] != 0)
        (written,) = write_corrected(study, [2 * series.counts], tmp_path / f"out-{k}")
        before, after = pydicom.dcmread(path), pydicom.dcmread(written)
        for keyword in GEOMETRY:
            assert after[keyword] == before[keyword], keyword
        slope = after.RealWorldValueMappingSequence[0].RealWorldValueSlope
        np.testing.assert_allclose(after.pixel_array * slope, 2.0 * before.pixel_array, atol=slope / 2)
        np.testing.assert_allclose(read_series(written).directions, heart, atol=1e-6)


def with_positions(ds, places):
    """A change of a data set: positions of its frames in functional groups, mm along their normal from the first."""
    item = ds.DetectorInformationSequence[0]
    orientation = np.array(item.ImageOrientationPatient, float)
    first = np.array(item.ImagePositionPatient, float)
    ds.PerFrameFunctionalGroupsSequence = []
    for place in places:
        plane, group = Dataset(), Dataset()
        position = first + place * np.cross(orientation[:3], orientation[3:])
        plane.ImagePositionPatient = [f"{mm:.4f}" for mm in position]
        group.PlanePositionSequence = [plane]
        ds.PerFrameFunctionalGroupsSequence.append(group)


def test_positions_of_frames_stand_above_the_spacing(tmp_path, fresh):
    counts = fresh.integers(0, 900, (6, 7, 8)).astype(np.float32)
    path = tmp_path / "SA.dcm"
    write_nc(path, counts, slice_mm=7.25)
    before = read_series(path)
    edit(path, lambda ds: with_positions(ds, 7.25 * np.arange(6)))
    same = read_series(path)
    np.testing.assert_array_equal(same.counts, counts)
    np.testing.assert_allclose(same.position, before.position, atol=1e-3)
    assert same.notes == before.notes
    edit(path, lambda ds: with_positions(ds, -7.25 * np.arange(6)))
    turned = read_series(path)
    np.testing.assert_array_equal(turned.counts, counts[::-1])
    assert any(
        "frames lie -7.25 mm apart by their positions, 7.25 mm by their spacing" in note for note in turned.notes
    )
    edit(path, lambda ds: with_positions(ds, [0, 7, 14, 28, 35, 42]))
    with pytest.raises(InputError, match="expected evenly spaced frames"):
        read_series(path)


@pytest.mark.parametrize(("coded", "taken", "why"), [("131186000", "SA", "by the directions"), ("103340004", "SA", "")])
def test_a_code_of_the_plane_that_the_name_contradicts(tmp_path, fresh, coded, taken, why):
    path = tmp_path / "x.dcm"
    write_nc(path, fresh.integers(0, 900, (6, 7, 8)).astype(np.float32))

    def change(ds):
        ds.DetectorInformationSequence[0].ViewCodeSequence[0].CodeValue = coded
        ds.SeriesDescription = "STRESS NC SA" if coded == "131186000" else "STRESS NC HLA"

    edit(path, change)
    series = read_series(path)
    assert series.plane == taken
    assert any("its view code says" in note and why in note for note in series.notes)
