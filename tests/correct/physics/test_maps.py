"""Attenuation maps: of CT and of NM objects, on the grid of a reconstruction, or a sentence."""

import numpy as np
import pytest
import torch
from fake_patient import ANGLES, GRID, WATER, body, ct_of, write_ct, write_map, write_patient

from spectac_fast.correct.physics.maps import check_overlap, load_map, on_grid
from spectac_fast.correct.physics.volumes import grid_of
from spectac_fast.errors import InputError, NoInputError
from spectac_fast.formats.dicom.tomo.read import read_projections


@pytest.fixture(scope="module")
def projections(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "tomo.dcm"
    return read_projections(write_patient(path, np.random.default_rng(1)))


@pytest.fixture
def ct(tmp_path):
    return write_ct(tmp_path / "ct", ct_of(WATER * body()))


def sentence(path, error=InputError):
    with pytest.raises(error) as caught:
        load_map(path)
    assert "SECRET" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return str(caught.value)


def test_the_grid_is_that_of_the_file(projections):
    grid = grid_of(projections)
    np.testing.assert_allclose(grid.axis_z(), GRID.axis_z(), atol=1e-3)
    assert len(ANGLES) == projections.views


def test_a_ct_becomes_attenuation_where_it_lies(ct, projections):
    found, digest = load_map(ct)
    mu, notes = on_grid(found, grid_of(projections), projections)
    # 0 HU is 0.154/cm.
    expected = 0.154 * body()
    inside, outside = body() > 0.999, body() < 1e-3
    assert float((mu - expected)[inside].abs().mean()) < 0.002
    assert float(mu[outside].mean()) < 0.005
    assert float((mu.sum() / expected.sum()) - 1) == pytest.approx(0, abs=0.02)
    assert len(digest) == 64
    assert len(found.sources) == GRID.nz
    assert "another frame of reference" in notes[-1]


def test_a_shifted_ct_is_shifted(tmp_path, projections):
    hu = ct_of(WATER * body())
    first = [-(n - 1) / 2 * mm for n, mm in zip(hu.shape[::-1], (3.4, 3.4, 6.8))]
    here, there = (
        on_grid(load_map(write_ct(tmp_path / f"{dx}", hu, first=(first[0] + dx, *first[1:])))[0], GRID, projections)[0]
        for dx in (0.0, 13.6)
    )
    torch.testing.assert_close(there[..., 4:-2], here[..., 2:-4], atol=1e-5, rtol=0)


def test_air_water_and_bone(tmp_path, projections):
    hu = np.full((32, 80, 80), -1000.0)
    hu[:, 20:60, 20:60], hu[:, 36:44, 36:44] = 0, 1500
    mu = on_grid(load_map(write_ct(tmp_path / "ct", hu))[0], GRID, projections)[0]
    assert float(mu[16, 2, 2]) == pytest.approx(0, abs=1e-4)
    assert float(mu[16, 14, 14]) == pytest.approx(0.154, abs=0.002)
    assert 0.26 < float(mu[16, 19, 19]) < 0.29


@pytest.mark.parametrize("power", [4, 3, 5])
def test_a_map_of_any_power_of_ten(tmp_path, projections, power):
    path = write_map(tmp_path / "SA.dcm", 10.0**power * WATER * body().numpy())
    found, _ = load_map(path)
    mu, notes = on_grid(found, GRID, projections)
    inside = body() > 0.999
    assert float((mu - WATER * body())[inside].abs().mean()) < 0.002
    assert f"times {10**power:g}" in notes[0]


def test_maps_of_wrong_units_and_of_none(tmp_path):
    assert "0.15/cm" in sentence(write_map(tmp_path / "SA.dcm", 500 * body().numpy()))
    assert "nothing says" in sentence(write_map(tmp_path / "b_SA.dcm", 1500 * body().numpy(), "EMISSION"))


def test_hounsfield_units_that_are_none(tmp_path):
    assert "Hounsfield" in sentence(write_ct(tmp_path / "ct", 0.15 * body().numpy().repeat(2, 1).repeat(2, 2)))


def test_two_series_and_none(ct):
    write_ct(ct, ct_of(WATER * body()), series="1.2.4")
    assert "found 2 CT series" in sentence(ct)
    empty = ct.parent / "empty"
    empty.mkdir()
    assert "no DICOM file" in sentence(empty, NoInputError)
    assert "no such file" in sentence(ct / "absent.dcm", NoInputError)


def test_gaps_and_single_slices(ct):
    files = sorted(ct.iterdir())
    files[9].unlink()
    assert "evenly spaced" in sentence(ct)
    for file in files[:9] + files[10:-1]:
        file.unlink()
    assert "found one" in sentence(ct)


def test_a_ct_without_a_scale(tmp_path):
    folder = write_ct(tmp_path / "ct", ct_of(WATER * body()), change=lambda ds: delattr(ds, "RescaleSlope"))
    assert "Rescale Slope" in sentence(folder)


def test_projections_are_no_map(tmp_path, rng):
    assert "attenuation map" in sentence(write_patient(tmp_path / "tomo.dcm", rng))


def test_a_map_that_does_not_overlap(ct, projections):
    found, _ = load_map(ct)
    mu, _ = on_grid(found, GRID, projections)
    check_overlap(mu, body() > 0.5, found, 0.0)
    with pytest.raises(InputError, match="about the heart at 300 mm"):
        check_overlap(mu, body() > 0.5, found, 300.0)
    with pytest.raises(InputError, match=r"covers \d+ %"):
        check_overlap(mu.roll(20, 2), body() > 0.5, found, 0.0)


def test_a_ct_as_other_scanners_write_it(tmp_path, projections):
    """A scout in the series, a prone patient, unsigned values of another slope a slice, a tilted gantry: one map."""
    hu = ct_of(WATER * body())
    hu[:, :, 20:30] += 80
    plain = write_ct(tmp_path / "plain", hu)
    expected = on_grid(load_map(plain)[0], GRID, projections)[0]

    def scout(ds):
        if ds.InstanceNumber == 1:
            ds.ImageType, ds.ImageOrientationPatient = ["ORIGINAL", "PRIMARY", "LOCALIZER"], [1, 0, 0, 0, 0, -1]

    def unsigned(ds):
        values = np.frombuffer(ds.PixelData, "<i2").astype(int) - 1024
        slope, intercept = (2, -1100) if ds.InstanceNumber % 2 else (1, -2000)
        ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept = 0, str(slope), str(intercept)
        ds.PixelData = ((values - intercept) // slope).astype("<u2").tobytes()

    def prone(ds):
        x, y, z = map(float, ds.ImagePositionPatient)
        down, right = map(float, ds.PixelSpacing)
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").reshape(ds.Rows, -1)[::-1, ::-1].tobytes()
        ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        ds.ImagePositionPatient = [x + (ds.Columns - 1) * right, y + (ds.Rows - 1) * down, z]

    extra = write_ct(tmp_path / "scout", hu, change=scout)
    first = [-(n - 1) / 2 * mm for n, mm in zip(hu.shape[::-1], (3.4, 3.4, 6.8))]
    write_ct(extra, hu[:1], first=first, change=lambda ds: setattr(ds, "SOPInstanceUID", "9.9"))
    for folder, atol in (
        (extra, 1e-6),
        (write_ct(tmp_path / "unsigned", hu, change=unsigned), 2e-4),
        (write_ct(tmp_path / "prone", hu, change=prone), 1e-6),
    ):
        found = on_grid(load_map(folder)[0], GRID, projections)[0]
        torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def test_slices_that_do_not_lie_straight_above_each_other(tmp_path, projections):
    """Each slice is a voxel further to the back, and so is what it shows."""
    hu = np.full((32, 160, 80), -1000.0)
    hu[:, 60:110, 20:60] = 0
    straight = on_grid(load_map(write_ct(tmp_path / "straight", hu))[0], GRID, projections)[0]
    aside = np.stack([np.roll(image, -(k - 16), 0) for k, image in enumerate(hu)])

    def change(ds):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, float(y) + 3.4 * (int(ds.InstanceNumber) - 1 - 16), z]

    there = on_grid(load_map(write_ct(tmp_path / "aside", aside, change=change))[0], GRID, projections)[0]
    torch.testing.assert_close(there, straight, atol=2e-3, rtol=0)
    bent = write_ct(tmp_path / "bent", hu, change=lambda ds: ds.InstanceNumber > 16 and change(ds))
    assert "evenly spaced" in sentence(bent)


def test_another_unit_and_another_patient(tmp_path, projections):
    hu = ct_of(WATER * body())
    assert "Rescale Type" in sentence(
        write_ct(tmp_path / "z", hu, change=lambda ds: setattr(ds, "RescaleType", "Z_EFF"))
    )
    other = write_ct(tmp_path / "other", hu, change=lambda ds: setattr(ds, "PatientID", "SOMEBODY"))
    assert "names another patient" in " ".join(on_grid(load_map(other)[0], GRID, projections)[1])
