"""Where voxels lie, and what one stack holds at the voxels of another."""

from pathlib import Path

import numpy as np
import pytest

from spectac_fast.data.geometry.lattice import RAMP, Lattice, overlap
from spectac_fast.data.geometry.resample import InPlane
from spectac_fast.formats.series import Series

EPS = np.finfo(np.float32).eps
PLACE = np.array([100.0, -50.0, 20.0])


def points(lattice):
    return lattice.first + np.moveaxis(np.indices(lattice.shape), 0, -1) @ lattice.steps


def rotation(fresh):
    q, r = np.linalg.qr(fresh.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def close(fresh, turned=False):
    """Two lattices about nearly the same point: right angles and any signs, or turned by any rotation if `turned`."""
    basis = rotation(fresh)
    other = (rotation(fresh) if turned else np.eye(3)[fresh.permutation(3)] * fresh.choice([-1, 1], (3, 1))) @ basis
    make = []
    for axes in (basis, other):
        shape = tuple(int(n) for n in fresh.integers(16, 40, 3))
        steps = axes * fresh.uniform(4, 8, (3, 1))
        make.append(Lattice.about(PLACE + fresh.uniform(-2, 2, 3), steps, shape))
    return make


@pytest.mark.parametrize("turned", [False, True])
def test_a_linear_field_is_met_to_rounding(fresh, turned):
    for _ in range(5):
        own, other = close(fresh, turned)
        slope, level = fresh.normal(size=3), fresh.normal()
        values = ((points(other) - PLACE) @ slope + level).astype(np.float32)
        wanted = (points(own) - PLACE) @ slope + level
        common = overlap(own, other)
        inside = common.weight > 0
        assert inside.sum() > 100
        # The sum of three terms, grid_sample's own two steps and the rounding of eight weights, each half an ulp.
        bound = 8 * EPS * (max(other.shape) * np.abs(other.steps @ slope).max() + np.abs(values).max())
        assert np.abs(common.of(values) - wanted[common.part])[inside].max() <= bound


@pytest.mark.parametrize("turned", [False, True])
def test_weight_tells_what_lies_within(fresh, turned):
    own, other = close(fresh, turned)
    common = overlap(own, other)
    weight = np.zeros(own.shape)
    weight[common.part] = common.weight
    number = (points(own) - other.first) @ np.linalg.inv(other.steps)
    edge = np.minimum(number, np.array(other.shape) - 1 - number)
    np.testing.assert_allclose(weight, (edge / RAMP).clip(0, 1).prod(-1), atol=64 * EPS)
    assert weight.max() > 0.9
    # Which of them lies within the other is left to chance; grid numbers are good to a few ulp of their length.
    assert not weight[edge.min(-1) < -64 * EPS * max(other.shape)].any()


def test_every_second_voxel_is_every_second_voxel(fresh):
    own, other = close(fresh)
    whole, sparse = overlap(own, other), overlap(own, other, 2)
    values = fresh.normal(size=other.shape).astype(np.float32)
    np.testing.assert_array_equal(sparse.weight, whole.weight[::2, ::2, ::2])
    np.testing.assert_array_equal(sparse.of(values), whole.of(values)[::2, ::2, ::2])


def test_lattices_apart_have_nothing_in_common(fresh):
    own, other = close(fresh)
    far = Lattice(other.shape, other.first + 5000, other.steps)
    common = overlap(own, far)
    assert not common.weight.any()
    assert common.of(np.ones(far.shape, np.float32)).shape == common.weight.shape


def test_one_slice_has_no_inside(fresh):
    own, other = close(fresh)
    flat = Lattice((1, *other.shape[1:]), other.first, other.steps)
    assert not overlap(own, flat).weight.any()
    values = fresh.normal(size=flat.shape).astype(np.float32)
    assert np.isfinite(overlap(own, flat).of(values)).all()


@pytest.mark.parametrize("pixel_mm", [(6.8, 6.8), (9.1, 7.5), (4.8, 5.5), (6.8, 9.3)])
@pytest.mark.parametrize("slice_mm", [6.8, -4.0])
def test_a_series_lies_where_its_header_says_at_the_models_pixels_too(fresh, pixel_mm, slice_mm):
    row, column, _ = rotation(fresh)
    position, slope = fresh.uniform(-200, 200, 3), fresh.normal(size=3)
    shape = (5, 40, 33)
    k, i, j = np.indices(shape)[..., None]
    mm = position + k * slice_mm * np.cross(row, column) + i * pixel_mm[0] * column + j * pixel_mm[1] * row
    counts = (mm @ slope).astype(np.float32)
    series = Series(counts, "SA", "stress", pixel_mm, slice_mm, (*row, *column), tuple(position), False, Path("x"))
    grid = InPlane(shape[1:], pixel_mm, 6.8)
    seen = grid.to_model(counts)
    lattice = Lattice.of_series(series, grid, seen.shape[1:])
    # The field ends at the outermost centres of the source, and an average over pixels and shares of them is off its
    # centre by up to 0.06 pixels of the model; an error in the geometry would be half a pixel or more.
    inside = (slice(None), slice(2, -2), slice(2, -2))
    error = np.abs(seen - points(lattice) @ slope)[inside].max()
    averaged = sum(abs(slope @ axis) for axis, mm in zip((column, row), pixel_mm) if mm < 6.8)
    assert error < 0.07 * 6.8 * averaged + 16 * EPS * np.abs(counts).max()
    assert lattice.near()


def test_absurd_places_are_not_near():
    for first, step in ((1e300, 6.8), (0.0, 1e300), (0.0, 1e-300), (np.inf, 1.0), (np.nan, 1.0)):
        assert not Lattice((3, 3, 3), np.array([first, 0, 0]), np.diag([step, 6.8, 6.8])).near()
