"""Volumes of one acquisition, on an object of which everything is known."""

import numpy as np
import pytest
import torch
from fake_patient import WATER, acquired, body, ventricle, views_of

from spectac_fast.reconstruct.acquired import chang, estimated_scatter, uniform_map, window_scatter
from spectac_fast.reconstruct.camera import scatter_source
from spectac_fast.reconstruct.settings import Reconstruction

HOW = Reconstruction(iterations=8, subsets=6)


@pytest.fixture(scope="module")
def uniform():
    """A body of uniform activity, seen through itself: (counts, inner part of it)."""
    return views_of(100 * body(), WATER * body()), body() > 0.99


def inner(volume, inside):
    """Means over the outer shell and the core of the body."""
    y, x = np.meshgrid(np.arange(40) - 19.5, np.arange(40) - 19.5, indexing="ij")
    core = torch.from_numpy(np.hypot(x, y) < 4)[None] & inside
    shell = inside & torch.from_numpy(np.hypot(x / 115, y / 95) * 6.8 > 0.7)[None]
    middle = slice(8, 24)
    return float(volume[middle][shell[middle]].mean()), float(volume[middle][core[middle]].mean())


def test_attenuation_darkens_the_core_and_is_corrected(uniform):
    counts, inside = uniform
    camera = acquired(counts)
    nc = camera.volume(HOW)
    exact = camera.volume(HOW, mu=WATER * body())
    first = chang(nc, camera, WATER * body())
    shell, core = inner(nc, inside)
    assert core < 0.7 * shell
    assert inner(exact, inside) == pytest.approx((100, 100), rel=0.05)
    shell, core = inner(first, inside)
    # Of first order: it is exact in the mean only.
    assert core == pytest.approx(shell, rel=0.25)
    assert core == pytest.approx(100, rel=0.3)


def test_nothing_is_corrected_without_attenuation():
    camera = acquired(views_of(100 * body(), 0 * body()))
    nc = camera.volume(HOW)
    torch.testing.assert_close(chang(nc, camera, torch.zeros_like(nc)), nc)
    assert inner(nc, body() > 0.99) == pytest.approx((100, 100), rel=0.05)


def test_filtered_back_projection_has_the_same_counts():
    camera = acquired(views_of(100 * body(), 0 * body()))
    volume = camera.volume(Reconstruction("FBP", 1, 1))
    assert inner(volume, body() > 0.99) == pytest.approx((100, 100), rel=0.05)
    with pytest.raises(ValueError, match="OSEM"):
        camera.volume(Reconstruction("FBP", 1, 1), mu=body())


def test_the_outline_is_the_body(uniform):
    nc = acquired(uniform[0]).volume(HOW)
    found, true = uniform_map(nc, 0.13) > 0, body() > 0.5
    assert float((found & true).sum() / (found | true).sum()) > 0.85
    assert set(np.round(uniform_map(nc, 0.13).unique().numpy(), 4)) == {0, np.float32(0.13)}


def test_dual_and_triple_energy_windows():
    """Of spectra that are flat, or straight lines, across the windows."""
    one = torch.full((24, 40, 32), 28.0)
    torch.testing.assert_close(window_scatter(28, (one, 28), None, 6.8), one / 2)
    low, up = 8 * torch.full_like(one, 3.0), 4 * torch.full_like(one, 1.0)
    torch.testing.assert_close(window_scatter(28, (low, 8), (up, 4), 6.8), torch.full_like(one, 56.0))


def test_the_estimated_scatter_is_that_of_its_own_model():
    mu, activity = WATER * body(), 400 * (ventricle() + 0.1 * body())
    primary = views_of(activity, mu)
    scatter = views_of(scatter_source(activity, mu, 6.8), mu)
    found = estimated_scatter(acquired(primary + scatter), HOW, mu, 28.1)
    assert float(found.sum()) == pytest.approx(float(scatter.sum()), rel=0.05)
    assert np.corrcoef(found.flatten(), scatter.flatten())[0, 1] > 0.98
    half = estimated_scatter(acquired(primary + scatter), HOW, mu, 14.05)
    assert float(half.sum()) < 0.7 * float(found.sum())
