"""The left ventricle found in short-axis stacks whose ventricle is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fake_ventricle import drawn, image

from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import find, interpolate


@pytest.mark.parametrize("case", ["plain", "cold", "hot", "both"])
@pytest.mark.parametrize("seed", range(3))
def test_the_ventricle_is_found(case, seed):
    rng = np.random.default_rng()
    known = drawn(rng)
    cold = (rng.choice([110, -100, 0]), rng.uniform(60, 110)) if case in ("cold", "both") else None
    found = find(image(known, cold=cold, hot=2.5 if case in ("hot", "both") else None, rng=rng), (6.8, 6.8, 6.8))
    # Along the axis length and position trade places; across it the ring shows both.
    assert np.abs(np.subtract(found.centre_mm, known.centre_mm)[1:]).max() < 5
    assert abs(found.radius_mm - known.radius_mm) < 4
    assert abs(found.apex_mm - known.apex_mm) < 7
    assert abs(found.base_limit_mm - known.base_limit_mm) < 9
    assert np.abs(np.subtract(found.tilt_deg, known.tilt_deg)).max() < 5


def test_segments_by_the_found_ventricle_are_those_by_the_known_one():
    rng = np.random.default_rng()
    known = drawn(rng)
    stack = image(known, cold=(110, 80), rng=rng)
    difference = segment_means(stack, find(stack, (6.8, 6.8, 6.8)), (6.8, 6.8, 6.8)) - segment_means(stack, known)
    assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("mm", [(3.4, 4.1, 4.1), (6.8, 3.9, 5.2), (9.6, 6.4, 6.4)])
def test_another_grid_gives_the_same_ventricle(mm):
    known = replace(drawn(np.random.default_rng()), tilt_deg=(1.0, -1.5))
    usual = find(image(known), (6.8, 6.8, 6.8))
    shape = tuple(round(n * 6.8 / d) for n, d in zip((29, 64, 64), mm))
    other = find(image(known, shape, mm), mm)
    assert np.subtract(other.centre_mm, usual.centre_mm) == pytest.approx(0, abs=2.5)
    assert other.apex_mm == pytest.approx(usual.apex_mm, abs=3)
    assert other.radius_mm == pytest.approx(usual.radius_mm, abs=1.5)


def test_counts_in_another_unit_give_the_same_ventricle():
    stack = image(drawn(np.random.default_rng()), cold=(0, 90))
    first, second = find(stack, (6.8, 6.8, 6.8)), find(1e4 * stack.astype(np.float64), (6.8, 6.8, 6.8))
    assert second.centre_mm == pytest.approx(first.centre_mm, abs=1e-3)
    assert second.radius_mm == pytest.approx(first.radius_mm, abs=1e-3)


def test_a_stack_cut_off_centre_is_followed():
    stack = image(replace(drawn(np.random.default_rng()), centre_mm=(-5.0, 0.0, 0.0)))
    moved = np.roll(stack, (2, -4, 3), axis=(0, 1, 2))
    first, second = find(stack, (6.8, 6.8, 6.8)), find(moved, (6.8, 6.8, 6.8))
    shift = np.subtract(second.centre_mm, first.centre_mm)
    assert shift == pytest.approx([-2 * 6.8, 4 * 6.8, 3 * 6.8], abs=3)


def test_rays_start_on_a_tilted_surface_and_run_along_its_normals():
    known = replace(drawn(np.random.default_rng()), tilt_deg=(8.0, -6.0))
    theta, phi = known.levels(24), np.arange(0, 2 * np.pi, 0.3)
    inner, middle, outer = np.moveaxis(known.rays(theta, phi, np.array([-3.0, 0.0, 3.0])), 1, 0)
    np.testing.assert_allclose(np.linalg.norm(outer - inner, axis=0), 6)
    np.testing.assert_allclose(known.axes @ known.axes.T, np.eye(3), atol=1e-12)
    assert np.degrees(np.arctan2(*known.axes[0, [1, 0]])) == pytest.approx(8)
    local = np.tensordot(known.axes, middle - np.array(known.centre_mm)[:, None, None], axes=1)
    across = np.hypot(*local[1:])
    np.testing.assert_allclose((local[0] / known.length_mm) ** 2 + (across / known.radius_mm) ** 2, 1)
    # The gradient of the ellipsoid is its normal.
    gradient = np.stack([local[0] / known.length_mm**2, *(local[1:] / known.radius_mm**2)])
    turned = np.tensordot(known.axes, outer - inner, axes=1)
    np.testing.assert_allclose(np.cross(gradient, turned, axis=0), 0, atol=1e-9)
    stack = image(known)
    upright = replace(known, tilt_deg=(0.0, 0.0)).rays(theta, phi, np.zeros(1))
    on_wall = [interpolate(stack, (6.8, 6.8, 6.8), p).mean() for p in (middle, upright)]
    assert on_wall[0] > on_wall[1]


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_stacks_without_a_heart_are_refused(bad):
    with pytest.raises(ValueError, match="finite counts"):
        find(np.full((9, 20, 20), bad), (6.8, 6.8, 6.8))
