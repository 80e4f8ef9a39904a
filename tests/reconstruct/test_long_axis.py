"""The long axis of ventricles that are drawn where it is known."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from spectac_fast.reconstruct.grid import Grid, axes_at
from spectac_fast.reconstruct.long_axis import find_long_axis

GRID = Grid(48, 40, 6.8)


def drawn(rng, azimuth, elevation, centre, liver=0.5):
    """A noisy image of a wall of 10 mm, whose base ends nearer to the apex at the septum, above a liver."""
    fine = Grid(96, 80, 3.4)
    z, y, x = np.meshgrid(fine.axis_z(), fine.axis_y(), fine.axis_x(), indexing="ij")
    axes = axes_at(azimuth, elevation, centre)
    away = np.stack([x, y, z], -1) - centre
    along, up, lateral = away @ axes.long, away @ axes.up, away @ axes.lateral
    across = np.hypot(up, lateral)
    outer = np.hypot(across / 31, (along + 6) / 53) < 1
    inner = np.hypot(across / 21, (along + 6) / 43) < 1
    activity = 0.08 * (np.hypot(x / 150, y / 100) < 1) + (outer & ~inner & (along > -24 - 0.34 * lateral))
    activity += liver * (np.hypot(np.hypot((x + 60) / 80, (y + 10) / 70), (z + 85) / 45) < 1)
    blurred = gaussian_filter(activity, 13 / 2.355 / 3.4).reshape(40, 2, 48, 2, 48, 2).mean((1, 3, 5))
    return torch.from_numpy(rng.poisson(300 * blurred).astype(np.float32))


@pytest.mark.parametrize(("azimuth", "elevation"), [(32, 12), (47, 28), (62, 40)])
def test_it_is_found(fresh, azimuth, elevation):
    centre = np.array([40.0, -30.0, 10.0]) + fresh.uniform(-12, 12, 3)
    found = find_long_axis(drawn(fresh, azimuth, elevation, centre), GRID)
    true = axes_at(azimuth, elevation, centre)
    off = found.axes.centre - centre
    assert np.degrees(np.arccos(min(found.axes.long @ true.long, 1))) < 6
    assert np.linalg.norm(off - (off @ true.long) * true.long) < 3
    assert abs(off @ true.long) < 8
    assert found.axes.azimuth == pytest.approx(azimuth, abs=7)
    assert found.axes.elevation == pytest.approx(elevation, abs=7)
    assert found.doubts == ()
    for a, b in ((found.axes.long, found.axes.up), (found.axes.up, found.axes.lateral)):
        assert a @ b == pytest.approx(0, abs=1e-9)


def test_counts_of_another_unit_change_nothing(rng):
    volume = drawn(rng, 45, 25, np.array([40.0, -30.0, 0.0]))
    first, second = find_long_axis(volume, GRID), find_long_axis(37 * volume, GRID)
    np.testing.assert_allclose(first.axes.long, second.axes.long, atol=1e-6)


def test_a_mirrored_heart_is_doubted(rng):
    volume = drawn(rng, -45, 25, np.array([-40.0, -30.0, 0.0]), liver=0.0)
    assert find_long_axis(volume, GRID).doubts


def test_no_heart_is_doubted(rng):
    volume = torch.from_numpy(rng.poisson(20, (40, 48, 48)).astype(np.float32))
    assert any("little like a ventricle" in doubt for doubt in find_long_axis(volume, GRID).doubts)


@pytest.mark.parametrize("volume", [torch.zeros(40, 48, 48), torch.full((40, 48, 48), torch.nan)])
def test_nothing_to_find_it_in(volume):
    with pytest.raises(ValueError, match="finite counts"):
        find_long_axis(volume, GRID)
