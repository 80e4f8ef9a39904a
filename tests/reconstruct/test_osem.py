"""The camera and its reconstructions against physics that has a closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from spectac_fast.reconstruct.camera import Collimator, blur, gaussian_matrix, rebinned, scatter_source, view_angles
from spectac_fast.reconstruct.filters import butterworth, filtered_back_projection
from spectac_fast.reconstruct.osem import bit_reversed, osem
from spectac_fast.reconstruct.projector import Projector, to_columns, to_volume

N, NZ, DX = 64, 8, 6.8
MU_WATER = 0.15


@pytest.fixture(scope="module")
def angles() -> np.ndarray:
    return view_angles(64)


def cylinder(radius_mm: float, n: int = N, dx: float = DX, nz: int = NZ) -> torch.Tensor:
    """A disc in every slice, edges by 8 x 8 sub-samples."""
    sub = (np.arange(n * 8) - n * 4 + 0.5) * dx / 8
    inside = (sub[:, None] ** 2 + sub[None] ** 2 <= radius_mm**2).astype(np.float32)
    disc = inside.reshape(n, 8, n, 8).mean((1, 3))
    return torch.from_numpy(disc).expand(nz, n, n).contiguous()


def test_attenuation_of_a_uniform_cylinder_is_analytic(angles: np.ndarray) -> None:
    """A point on the axis of a water cylinder of radius R is seen through exactly R: exp(-mu R), whatever the view."""
    radius = 150.0
    projector = Projector(N, DX, angles[:: len(angles) // 4])
    centre = torch.zeros(1, N, N, NZ)
    # The axis lies between four voxels, so their mean distance to the rim is the radius.
    centre[0, N // 2 - 1 : N // 2 + 1, N // 2 - 1 : N // 2 + 1, NZ // 2] = 0.25
    emitted = projector.project(centre).sum((2, 3))
    detected = projector.project(centre, mu=to_columns(MU_WATER * cylinder(radius))).sum((2, 3))
    assert (detected / emitted).numpy() == pytest.approx(math.exp(-MU_WATER * radius / 10), rel=0.02)


def test_projection_of_a_uniform_cylinder_follows_the_attenuated_chord(angles: np.ndarray) -> None:
    """Activity and attenuation uniform over a chord of length L project to (1 - exp(-mu L)) / mu."""
    radius = 140.0
    disc = to_columns(cylinder(radius))
    profile = Projector(N, DX, angles[20:21]).project(disc, mu=MU_WATER * disc)[0, 0]
    lateral = (np.arange(N) - N / 2 + 0.5) * DX
    for bin_, u in enumerate(lateral):
        if abs(u) > radius - 2 * DX:
            continue
        chord = 2 * math.sqrt(radius**2 - u**2) / 10
        expected = (1 - math.exp(-MU_WATER * chord)) / MU_WATER
        assert float(profile[bin_, NZ // 2]) * DX / 10 == pytest.approx(expected, rel=0.03)


def test_attenuation_correction_recovers_uniform_activity(angles: np.ndarray) -> None:
    radius, level = 130.0, 100.0
    fine = Projector(2 * N, DX / 2, angles, collimator=Collimator())
    activity = to_columns(cylinder(radius, 2 * N, DX / 2, 2 * NZ))
    views = rebinned(fine.project(level / 8 * activity, mu=MU_WATER * activity), 2)
    projector = Projector(N, DX, angles)
    water = to_columns(MU_WATER * cylinder(radius))
    inside = (cylinder(radius - 25.0) == 1)[2:-2]
    corrected = to_volume(osem(projector, views, mu=water, iterations=6))[0][2:-2][inside]
    uncorrected = to_volume(osem(projector, views, iterations=6))[0][2:-2][inside]
    assert float(corrected.mean()) == pytest.approx(level, rel=0.05)
    assert float(corrected.std()) < 0.05 * level
    assert float(uncorrected.mean()) < 0.4 * level


def test_collimator_and_scatter_in_the_model_give_back_a_point_and_its_level(angles: np.ndarray) -> None:
    """Without noise, a small hot sphere in a warm cylinder comes back higher where the model knows the blur."""
    truth = 50 * cylinder(110.0) + 400 * cylinder(14.0)
    columns, water = to_columns(truth), to_columns(MU_WATER * cylinder(110.0))
    seen = Projector(N, DX, angles, collimator=Collimator())
    scatter = torch.full((1, 64, N, NZ), 30.0)
    views = seen.project(columns, mu=water) + scatter
    known = to_volume(osem(seen, views, mu=water, scatter=scatter, iterations=10))[0, NZ // 2]
    unknown = to_volume(osem(Projector(N, DX, angles), views, mu=water, scatter=scatter, iterations=10))[0, NZ // 2]
    middle, background = (slice(N // 2 - 1, N // 2 + 1),) * 2, (slice(20, 24), slice(30, 34))
    hot = float(truth[NZ // 2][middle].mean())
    assert known[middle].mean() > unknown[middle].mean() + 0.1 * hot
    # Edges overshoot and detail is lost, but none of the sphere's activity.
    around = (slice(27, 37),) * 2
    assert float(known[around].mean()) == pytest.approx(float(truth[NZ // 2][around].mean()), rel=0.06)
    assert float(known[background].mean()) == pytest.approx(50, rel=0.06)
    corrected, uncorrected = (float(osem(seen, views, mu=water, scatter=s).sum()) for s in (scatter, None))
    assert corrected == pytest.approx(float(truth.sum()), rel=0.03)
    assert uncorrected > 1.05 * corrected


def test_collimator_resolution_matches_low_energy_high_resolution_holes() -> None:
    fwhm = Collimator().sigma(np.array([100.0])) * math.sqrt(8 * math.log(2))
    assert fwhm[0] == pytest.approx(7.0, abs=0.1)


def test_gaussian_matrix_conserves_counts_and_width() -> None:
    matrix = gaussian_matrix(64, 2.5)
    column = matrix[:, 32]
    position = np.arange(64)
    assert column.sum() == pytest.approx(1, abs=1e-9)
    variance = (column * (position - 32) ** 2).sum()
    assert variance == pytest.approx(2.5**2 + 1 / 12, rel=1e-6)


def test_bins_of_several_pixels_keep_the_counts() -> None:
    views = torch.rand(2, 3, 8, 6)
    bins = rebinned(views, 2)
    assert bins.shape == (2, 3, 4, 3)
    assert torch.allclose(bins[1, 2, 1, 2], views[1, 2, 2:4, 4:6].sum())


def test_blur_conserves_counts_and_scatter_is_spread_by_density() -> None:
    volume = torch.zeros(32, 48, 48)
    volume[16, 24, 24] = 1.0
    assert float(blur(volume, 10.0, 6.8).sum()) == pytest.approx(1.0, abs=1e-5)
    mu = torch.zeros_like(volume)
    mu[:, :, 24:] = 0.15
    source = scatter_source(volume, mu, 6.8)
    assert float(source[:, :, :24].abs().max()) == 0.0
    assert float(source[:, :, 24:].sum()) > 0.2


def test_osem_reproduces_the_counts_it_was_given(angles: np.ndarray) -> None:
    """At the maximum of the likelihood the expected counts sum to the measured ones."""
    projector = Projector(N, DX, angles)
    truth = to_columns(100 * cylinder(90.0) + 300 * cylinder(25.0))
    views = projector.project(truth)
    estimate = osem(projector, views, iterations=8)
    assert float(projector.project(estimate).sum()) == pytest.approx(float(views.sum()), rel=1e-3)
    assert float((estimate - truth).norm() / truth.norm()) < 0.1


def test_every_iteration_of_mlem_is_likelier(angles: np.ndarray) -> None:
    """Shepp and Vardi's theorem, with Poisson counts, attenuation, collimator and scatter."""
    projector = Projector(32, 13.6, angles[::8], collimator=Collimator())
    truth = to_columns(30 * cylinder(120.0, 32, 13.6))
    water = MU_WATER / 30 * truth
    scatter = torch.full((1, 8, 32, NZ), 2.0)
    views = torch.poisson(projector.project(truth, mu=water) + scatter)

    def likelihood(iterations: int) -> float:
        estimate = osem(projector, views, mu=water, scatter=scatter, iterations=iterations, subsets=1)
        expected = (projector.project(estimate, mu=water) + scatter).double()
        return float((views * expected.log() - expected).sum())

    values = [likelihood(iterations) for iterations in range(6)]
    assert all(later > earlier for earlier, later in itertools.pairwise(values))


def test_studies_that_share_a_map_are_reconstructed_as_alone(angles: np.ndarray) -> None:
    projector = Projector(32, 13.6, angles[::4], collimator=Collimator())
    water = to_columns(MU_WATER * cylinder(120.0, 32, 13.6))
    views = torch.poisson(torch.tensor([20.0, 80.0])[:, None, None, None].expand(2, 16, 32, NZ))
    shared = osem(projector, views, mu=water, scatter=0.1 * views, subsets=4)
    for k, counts in enumerate(views.unsqueeze(1)):
        assert torch.equal(osem(projector, counts, mu=water, scatter=0.1 * counts, subsets=4)[0], shared[k])


def test_osem_says_how_far_it_is_and_what_does_not_fit(angles: np.ndarray) -> None:
    steps: list[int] = []
    projector, views = Projector(32, DX, angles[:9]), torch.ones(1, 9, 32, 4)
    osem(projector, views, subsets=3, iterations=2, progress=steps.append)
    assert sum(steps) == 6
    with pytest.raises(ValueError, match="divide into 8 subsets, but there are 9"):
        osem(projector, views)
    with pytest.raises(ValueError, match=r"views must be \[B, 9, 32, nz\], found \[1, 8, 32, 4\]"):
        osem(projector, views[:, 1:])
    with pytest.raises(ValueError, match=r"scatter must have the shape of the views, \[1, 9, 32, 4\], found \[9"):
        osem(projector, views, scatter=views[0], subsets=3)


def test_successive_subsets_are_far_apart() -> None:
    assert bit_reversed(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    assert sorted(bit_reversed(6)) == list(range(6))
    assert bit_reversed(1) == [0]


def test_filtered_back_projection_gives_back_a_cylinder(angles: np.ndarray) -> None:
    projector = Projector(N, DX, angles)
    truth = 100 * cylinder(120.0)
    found = to_volume(filtered_back_projection(projector, projector.project(to_columns(truth))))[0]
    # The ramp, sampled in frequency, has nothing of its lowest band, which lowers everything by some per cent.
    assert float(found[:, 20:44, 20:44].mean()) == pytest.approx(100, rel=0.05)
    assert abs(float(found[:, 5:9, 28:36].mean())) < 6
    with pytest.raises(ValueError, match="must have no collimator"):
        filtered_back_projection(Projector(N, DX, angles, collimator=Collimator()), torch.zeros(1, 64, N, 1))


def test_butterworth_passes_the_mean_and_halves_the_power_at_the_cutoff() -> None:
    n, dx, cutoff = 64, 5.0, 0.25
    x = torch.arange(n) * dx / 10
    wave = 10 + torch.cos(2 * math.pi * cutoff * x)
    out = butterworth(wave.expand(8, 8, n).contiguous(), dx, cutoff=cutoff)
    assert float(out.mean()) == pytest.approx(10, rel=1e-5)
    assert float(out.max() - out.min()) / 2 == pytest.approx(1 / math.sqrt(2), rel=1e-3)
