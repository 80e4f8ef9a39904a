"""Resampling by millimetres: exact where nothing changes, field and values kept where something does."""

import numpy as np
import pytest
import torch
from fake_study import heart
from hypothesis import given, settings
from hypothesis import strategies as st

from spectac_fast.data.geometry.resample import InPlane, check_geometry
from spectac_fast.errors import InputError
from spectac_fast.formats.series import Series

MODEL_MM = 6.8
sizes = st.integers(4, 80)
pixels = st.floats(0.5, 2.0).map(lambda ratio: ratio * MODEL_MM)


def positions(n, mm):
    return (np.arange(n) - (n - 1) / 2) * mm


@settings(deadline=None)
@given(sizes, sizes, st.integers(0, 2**32 - 1))
def test_equal_pixels_change_nothing(rows, columns, seed):
    stack = np.random.default_rng(seed).normal(size=(3, rows, columns)).astype(np.float32)
    grid = InPlane((rows, columns), (MODEL_MM, MODEL_MM * 1.009), MODEL_MM)
    assert grid.unchanged
    assert grid.pixel_mm == (MODEL_MM, MODEL_MM * 1.009)
    assert grid.to_model(stack) is stack
    assert grid.to_source(stack) is stack
    np.testing.assert_array_equal(grid.carry_back(stack, stack, 2 * stack, scale=1.0, gain=3.0), 2 * stack)


@settings(deadline=None)
@given(sizes, sizes, pixels, pixels)
def test_a_uniform_field_stays_uniform_and_covered(rows, columns, row_mm, column_mm):
    grid = InPlane((rows, columns), (row_mm, column_mm), MODEL_MM)
    model = grid.to_model(np.ones((2, rows, columns), np.float32))
    np.testing.assert_allclose(model, 1, rtol=1e-6)
    np.testing.assert_allclose(grid.to_source(model), 1, rtol=1e-6)
    assert grid.to_source(model).shape == (2, rows, columns)
    for n, mm, m, out in zip((rows, columns), (row_mm, column_mm), model.shape[1:], grid.pixel_mm):
        assert n * mm - 0.002 * out <= m * out < n * mm + out


@settings(deadline=None)
@given(st.integers(20, 80), pixels)
def test_a_ramp_keeps_its_place(n, mm):
    ramp = positions(n, mm).astype(np.float32)[None, :, None] * np.ones((1, 1, 4), np.float32)
    grid = InPlane((n, 4), (mm, MODEL_MM), MODEL_MM)
    model = grid.to_model(ramp)[0, :, 0]
    expected = positions(len(model), grid.pixel_mm[0])
    inner = np.abs(expected) < n * mm / 2 - 2 * max(mm, MODEL_MM)
    # Growing pixels sample the triangle unevenly, which may shift a point by a small part of a pixel.
    np.testing.assert_allclose(model[inner], expected[inner], atol=0.15 * MODEL_MM if mm < MODEL_MM else 1e-3)


@settings(deadline=None, max_examples=25)
@given(pixels, st.integers(0, 2**32 - 1))
def test_total_counts_and_their_centre_are_kept(mm, seed):
    rng = np.random.default_rng(seed)
    n = round(440 / mm)
    centre, width = rng.uniform(-60, 60, 2), rng.uniform(15, 30)
    y, x = np.meshgrid(positions(n, mm), positions(n, mm), indexing="ij")
    blob = np.exp(-0.5 * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / width**2).astype(np.float32)
    grid = InPlane((n, n), (mm, mm), MODEL_MM)
    model = grid.to_model(blob[None])[0]
    out = grid.pixel_mm[0]
    # Samples of a linear interpolation beat with its grid: at 1.125 pixels and the narrowest blob 0.7 % an axis.
    assert model.sum() * out**2 == pytest.approx(blob.sum() * mm**2, rel=0.02)
    found = [(model.sum(1 - axis) @ positions(len(model), out)) / model.sum() for axis in (0, 1)]
    np.testing.assert_allclose(found, centre, atol=0.5)


@pytest.mark.parametrize("n", [19, 24, 32])
def test_shrinking_equals_antialiased_linear_interpolation(n):
    m = 16
    mm = m * MODEL_MM / n
    stack = np.random.default_rng(3).normal(size=(2, n, n)).astype(np.float32)
    torch_way = torch.nn.functional.interpolate(
        torch.from_numpy(stack)[None], size=(m, m), mode="bilinear", antialias=True, align_corners=False
    )[0]
    ours = InPlane((n, n), (mm, mm), MODEL_MM).to_model(stack)
    np.testing.assert_allclose(ours[:, 1:-1, 1:-1], torch_way[:, 1:-1, 1:-1], atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(sizes, sizes, pixels, pixels, st.floats(0.3, 5.0), st.integers(0, 2**32 - 1))
def test_a_constant_factor_comes_back_exactly(rows, columns, row_mm, column_mm, gain, seed):
    nc = np.random.default_rng(seed).poisson(30, (2, rows, columns)).astype(np.float32)
    grid = InPlane((rows, columns), (row_mm, column_mm), MODEL_MM)
    model = grid.to_model(nc)
    back = grid.carry_back(nc, model, np.float32(gain) * model, scale=40.0, gain=gain)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, gain * nc, rtol=1e-4, atol=1e-3)


def test_detail_finer_than_the_model_survives():
    rng = np.random.default_rng(5)
    nc = heart(rng, (9, 128, 128))
    y, x = np.meshgrid(positions(128, 3.4), positions(128, 3.4), indexing="ij")
    smooth = (1.5 + 0.5 * np.sin(y / 50) * np.cos(x / 60)).astype(np.float32)
    grid = InPlane((128, 128), (3.4, 3.4), MODEL_MM)
    nc_model, ac_model = grid.to_model(nc), grid.to_model(nc * smooth)
    carried = grid.carry_back(nc, nc_model, ac_model, scale=900.0, gain=1.5)
    interpolated = grid.to_source(ac_model)
    error = [np.sqrt(np.mean((image - nc * smooth) ** 2)) for image in (carried, interpolated)]
    assert error[0] < 0.1 * error[1]


@settings(deadline=None)
@given(st.floats(0.0, 3.0), st.integers(0, 2**32 - 1))
def test_corrected_counts_are_finite_and_not_negative(factor, seed):
    rng = np.random.default_rng(seed)
    nc = rng.poisson(2, (2, 30, 30)).astype(np.float32) * rng.integers(0, 2, (2, 30, 30))
    grid = InPlane((30, 30), (4.0, 9.0), MODEL_MM)
    model = grid.to_model(nc)
    ac = grid.carry_back(nc, model, factor * rng.random(model.shape, np.float32), scale=4.0, gain=1.3)
    assert np.isfinite(ac).all()
    assert ac.min() >= 0


def series(shape=(29, 64, 64), pixel_mm=(6.8, 6.8), slice_mm=6.8):
    return Series(np.ones(shape, np.float32), "SA", "rest", pixel_mm, slice_mm, (), (), False, "study/SA.dcm")


@pytest.mark.parametrize(
    "change",
    [
        {"pixel_mm": (1.9, 1.9)},
        {"pixel_mm": (6.8, 10.2)},
        {"shape": (29, 300, 300)},
        {"shape": (90, 64, 64), "slice_mm": -12.0},
    ],
)
def test_geometry_far_from_training_is_refused(change):
    with pytest.raises(InputError, match=r"study/SA\.dcm"):
        check_geometry(series(**change), MODEL_MM)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"pixel_mm": (4.0, 4.0)}, "pixels of 6.8 mm, found pixels of 4 x 4"),
        ({"pixel_mm": (8.4, 6.8)}, "pixels of 6.8 mm"),
        ({"slice_mm": -14.0}, "found 14 mm"),
        ({"shape": (5, 64, 64)}, "found 5"),
        ({"shape": (120, 64, 64)}, "found 120"),
        ({"shape": (29, 16, 64)}, "field"),
    ],
)
def test_unusual_geometry_is_flagged(change, word):
    (warning,) = check_geometry(series(**change), MODEL_MM)
    assert word in warning
    assert "study/SA.dcm" in warning


def test_usual_geometry_passes_silently():
    for mm in (5.0, 6.4, 6.8, 8.0):
        assert check_geometry(series(pixel_mm=(mm, mm), slice_mm=-mm), MODEL_MM) == []
