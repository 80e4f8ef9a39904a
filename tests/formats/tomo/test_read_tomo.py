"""Projections come out the same whichever way a camera stores them."""

import copy

import numpy as np
import pytest
from fake_tomo import (
    ANGLES,
    PIXEL_MM,
    ROWS,
    VIEWS,
    backwards,
    counts,
    edited,
    frames,
    gated,
    keep,
    with_heads,
    write_tomo,
)

from spectac_fast.data import demo
from spectac_fast.formats.dicom.tomo.read import read_projections
from spectac_fast.formats.series import Told


@pytest.fixture
def made(fresh):
    return counts(fresh)


@pytest.fixture
def file(tmp_path, made):
    return write_tomo(tmp_path / "tomo.dcm", made)


def same(found, made, angles=ANGLES):
    np.testing.assert_array_equal(found.peak.counts, made[0])
    np.testing.assert_allclose(found.angles, angles, atol=0.01)


def test_as_it_is_written(file, made):
    found = read_projections(file)
    same(found, made)
    assert (found.isotope, found.phase, found.collimator, found.frame_ms) == ("Tc-99m", "stress", "LEHR", 25000)
    assert (found.pixel_mm, found.top_mm, found.gates, found.views, found.covered) == (6.8, 60, 1, VIEWS, 180)
    np.testing.assert_allclose(found.radius_mm, 250)
    assert found.notes == ()
    assert "PixelData" not in found.header


@pytest.mark.parametrize("heads", [2, 3])
@pytest.mark.parametrize("number_on", [False, True])
def test_several_heads_in_any_order(file, made, fresh, heads, number_on):
    found = read_projections(edited(file, with_heads(heads, fresh, number_on=number_on)))
    same(found, made)


def test_the_other_direction(file, made):
    same(read_projections(edited(file, backwards)), made)


@pytest.mark.parametrize("gates", [2, 8])
def test_gates_are_summed(file, made, fresh, gates):
    found = read_projections(edited(file, gated(gates, fresh)))
    same(found, made)
    assert found.gates == gates
    assert found.notes == (f"its {gates} gates are summed.",)


def test_gates_and_heads(file, made, fresh):
    edited(file, with_heads(2, fresh))
    same(read_projections(edited(file, gated(8, fresh))), made)


def test_the_photopeak_among_windows_in_any_order(tmp_path, fresh):
    made = counts(fresh, 3)
    path = write_tomo(tmp_path / "tomo.dcm", made)

    def turn(ds):
        keep(ds, fresh.permutation(3 * VIEWS), EnergyWindowVector=4 - np.array(ds.EnergyWindowVector))
        ds.EnergyWindowInformationSequence = list(ds.EnergyWindowInformationSequence)[::-1]

    found = read_projections(edited(path, turn))
    same(found, made)
    assert str(found.peak) == "126.45 to 154.55 keV"
    assert found.peak.width_kev == pytest.approx(28.1)
    assert [str(window) for window in found.others] == ["155 to 172 keV", "108 to 126 keV"]
    np.testing.assert_array_equal(found.others[1].counts, made[1])


def test_a_full_circle_begins_at_its_gap_or_anywhere(tmp_path, made):
    angles = 20 + 15.0 * np.arange(VIEWS)
    found = read_projections(write_tomo(tmp_path / "tomo.dcm", made, angles=angles))
    assert found.covered == pytest.approx(360)
    order = np.argsort((found.angles - 20) % 360)
    np.testing.assert_array_equal(found.peak.counts[order], made[0])


def test_angles_that_two_heads_see_are_averaged(tmp_path, made):
    """Opposite heads, a full circle each."""
    path = write_tomo(tmp_path / "tomo.dcm", made, angles=20 + 15.0 * np.arange(VIEWS))

    def twice(ds):
        whole = frames(ds)
        keep(ds, list(range(VIEWS)) * 2)
        ds.PixelData = np.concatenate([whole, 3 * np.roll(whole, -VIEWS // 2, axis=0)]).tobytes()
        ds.DetectorVector = [1] * VIEWS + [2] * VIEWS
        ds.NumberOfDetectors = 2
        heads = [copy.deepcopy(ds.DetectorInformationSequence[0]) for _ in range(2)]
        heads[0].StartAngle, heads[1].StartAngle = "160", "340"
        heads[1].ImageOrientationPatient = [-float(each) for each in heads[0].ImageOrientationPatient[:3]] + [0, 0, -1]
        ds.DetectorInformationSequence = heads

    found = read_projections(edited(path, twice))
    order = np.argsort((found.angles - 20 + 1e-6) % 360)
    np.testing.assert_allclose(found.peak.counts[order], 2 * made[0])
    assert any("taken from 24 angles" in note for note in found.notes)


def test_rotations_of_another_time_are_scaled(file, made):
    def halves(ds):
        half = VIEWS // 2
        of = np.arange(VIEWS)
        keep(ds, of, RotationVector=of // half + 1, AngularViewVector=of % half + 1)
        first = ds.RotationInformationSequence[0]
        ds.NumberOfRotations, first.NumberOfFramesInRotation = 2, half
        second = copy.deepcopy(first)
        second.StartAngle, second.ActualFrameDuration = f"{(180 - ANGLES[half]) % 360:g}", 12500
        ds.RotationInformationSequence = [first, second]

    found = read_projections(edited(file, halves))
    np.testing.assert_allclose(found.peak.counts[: VIEWS // 2], made[0, : VIEWS // 2])
    np.testing.assert_allclose(found.peak.counts[VIEWS // 2 :], 2.0 * made[0, VIEWS // 2 :])
    assert "scaled to 25 s" in " ".join(found.notes)


def test_a_contour_orbit(tmp_path, made, fresh):
    radius = np.round(fresh.uniform(150, 300, VIEWS), 1)
    path = write_tomo(tmp_path / "tomo.dcm", made, radius_mm=radius)
    np.testing.assert_allclose(read_projections(path).radius_mm, radius)
    np.testing.assert_allclose(read_projections(edited(path, backwards)).radius_mm, radius[::-1])


@pytest.mark.parametrize(("radius", "expected"), [(0, 245), (None, 245), (24.5, 245), ([200.0, 300.0], 250)])
def test_a_radius_that_is_not_told_is_assumed_and_said(file, radius, expected):
    def change(ds):
        ds.RotationInformationSequence[0].RadialPosition = radius

    found = read_projections(edited(file, change))
    np.testing.assert_allclose(found.radius_mm, expected)
    assert any("is assumed" in note for note in found.notes)


def test_views_that_lie_otherwise_are_turned(file, made):
    def change(ds):
        ds.PixelData = np.ascontiguousarray(frames(ds)[:, ::-1, ::-1]).tobytes()
        home = ds.DetectorInformationSequence[0]
        home.ImageOrientationPatient = [-float(each) for each in home.ImageOrientationPatient]
        home.ImagePositionPatient[2] = 60 - (ROWS - 1) * PIXEL_MM

    found = read_projections(edited(file, change))
    same(found, made)
    assert found.top_mm == pytest.approx(60)
    assert len(found.notes) == 2


def test_which_way_views_lie_is_assumed_and_said(file, made):
    def change(ds):
        del ds.DetectorInformationSequence[0].ImageOrientationPatient

    found = read_projections(edited(file, change))
    same(found, made)
    assert found.top_mm == pytest.approx((ROWS - 1) / 2 * PIXEL_MM)
    assert "does not tell which way" in found.notes[0]


def test_the_phase_is_as_told(file):
    assert read_projections(file, told=Told(phase="rest")).phase == "rest"


def test_without_numbers_of_views_their_order_counts(file, made):
    def change(ds):
        del ds.AngularViewVector

    found = read_projections(edited(file, change))
    same(found, made)
    assert "order" in found.notes[0]


def test_few_counts_and_gaps_are_said(tmp_path, made):
    made[0, 3] //= 20
    path = write_tomo(tmp_path / "tomo.dcm", made)
    assert any("hardly any counts at -19" in note for note in read_projections(path).notes)


def test_a_real_study(tmp_path):
    path = demo.unpack_patient(tmp_path)
    assert "Apache License 2.0" in (tmp_path / demo.NOTICE).read_text()
    found = read_projections(path)
    assert found.peak.counts.shape == (30, 64, 64)
    assert found.peak.counts.sum() == 3949221
    assert found.angles[[0, -1]] == pytest.approx([-45.44, 128.56])
    assert found.covered == pytest.approx(180)
    assert (found.phase, found.isotope, found.collimator) == ("stress", "Tc-99m", "LEHR")
    assert found.notes == ()


def test_a_rounded_step_is_that_of_its_arc(tmp_path, made):
    def change(ds):
        rotation = ds.RotationInformationSequence[0]
        rotation.StartAngle, rotation.AngularStep, rotation.ScanArc = "225", "7.8", "180"

    path = write_tomo(tmp_path / "tomo.dcm", made[:, :23], angles=ANGLES[:23])
    np.testing.assert_allclose(read_projections(edited(path, change)).angles, -45 + 180 / 23 * np.arange(23), atol=1e-6)
