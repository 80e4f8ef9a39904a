"""Volumes of one acquisition, on an object of which everything is known."""

import numpy as np
import pytest
import torch
from fake_patient import ANGLES, WATER, acquired, body, ventricle, views_of

from spectac_fast.reconstruct.acquired import Acquired, central, chang, estimated_scatter, uniform_map, window_scatter
from spectac_fast.reconstruct.camera import Collimator, scatter_source
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.regrid import interpolated
from spectac_fast.reconstruct.settings import Reconstruction, usual

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


def test_what_lies_beside_a_small_field_attenuates_too():
    """A field of 190 mm within a body of 230 mm."""
    mu = WATER * body()
    counts = views_of(100 * ventricle(), mu)
    small = Acquired(counts[:, 6:34].contiguous(), tuple(ANGLES), (200.0,) * 24, 6.8, Collimator())
    how = Reconstruction(iterations=8, subsets=6)
    true = 100 * ventricle()[:, 6:34, 6:34]
    wall = true > 50
    by_all, by_part = (small.volume(how, mu=m)[wall].mean() for m in (mu, central(mu, 28)))
    assert float(by_all) == pytest.approx(float(true[wall].mean()), rel=0.08)
    assert float(by_part) < 0.92 * float(by_all)
    seen, less = (small.seen(m)[wall].mean() for m in (central(mu, 28), mu))
    assert float(less) < 0.95 * float(seen)
    expected = small.expected(true, mu, False)
    assert float((expected - small.counts).abs().max()) < 0.05 * float(small.counts.max())


def test_linear_between_voxels_and_constant_beyond():
    source, target = Grid(8, 6, 10.0, 0.5, (3.0, -2.0)), Grid(32, 40, 4.0, 0.5, (3.0, -2.0))
    slope = (
        torch.tensor(source.axis_x(), dtype=torch.float32) + 2 * torch.tensor(source.axis_z()).float()[:, None, None]
    )
    found = interpolated(slope.expand(6, 8, 8), source, target)
    x, z = (torch.tensor(a).float() for a in (target.axis_x(), target.axis_z()))
    inside = (x.abs() < 34)[None, None] & (z.abs() < 24)[:, None, None] & torch.ones(40, 32, 32, dtype=torch.bool)
    wanted = (x + 2 * z[:, None, None]).expand(40, 32, 32)
    assert torch.allclose(found[inside], wanted[inside], atol=1e-3)
    assert float(found.max()) == pytest.approx(float(slope.max()))
    assert torch.allclose(interpolated(slope.expand(6, 8, 8), source, source), slope.expand(6, 8, 8))


def test_the_usual_reconstruction_fits_any_number_of_views():
    assert [(usual(v).subsets, usual(v).iterations) for v in (64, 30, 60, 61, 7, 2)] == [
        (8, 4), (6, 5), (6, 5), (1, 32), (1, 32), (1, 32),
    ]  # fmt: skip
    assert usual(60, 10).iterations == 3
