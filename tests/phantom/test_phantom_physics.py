"""The phantom's camera and reconstruction against physics that has a closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectac_fast.reconstruct.camera import (
    Collimator,
    Projector,
    blur,
    gaussian_matrix,
    scatter_source,
    to_columns,
    to_volume,
    view_angles,
)
from spectac_fast.reconstruct.osem import butterworth, osem

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


@pytest.mark.parametrize("rebin", [1, 2])
@pytest.mark.parametrize("attenuated", [False, True])
def test_projector_and_back_projector_are_adjoint(rebin: int, attenuated: bool, angles: np.ndarray) -> None:
    rng = torch.Generator().manual_seed(int(np.random.default_rng().integers(2**31)))
    projector = Projector(32, 8, 6.8, angles[:3], collimator=Collimator(), rebin=rebin, radius=150.0)
    x = torch.rand(32 * 32, 2 * 8, generator=rng)
    mu = 0.2 * torch.rand(32 * 32, 8, generator=rng)
    for view in range(3):
        survival = projector.survival(mu, view) if attenuated else None
        image = projector.forward(x, view, survival)
        y = torch.rand(image.shape, generator=rng)
        forward = float((image.double() * y).sum())
        backward = float((x.double() * projector.backward(y, view, survival)).sum())
        assert forward == pytest.approx(backward, rel=1e-5)


def test_attenuation_of_a_uniform_cylinder_is_analytic(angles: np.ndarray) -> None:
    """A point on the axis of a water cylinder of radius R is seen through exactly R: exp(-mu R), whatever the view."""
    radius = 150.0
    projector = Projector(N, NZ, DX, angles[:: len(angles) // 4])
    mu = to_columns(MU_WATER * cylinder(radius))
    centre = torch.zeros(NZ, N, N)
    # The axis lies between four voxels, so their mean distance to the rim is the radius.
    centre[NZ // 2, N // 2 - 1 : N // 2 + 1, N // 2 - 1 : N // 2 + 1] = 0.25
    for view in range(len(projector.angles)):
        emitted = float(projector.forward(to_columns(centre), view).sum())
        detected = float(projector.forward(to_columns(centre), view, projector.survival(mu, view)).sum())
        assert detected / emitted == pytest.approx(math.exp(-MU_WATER * radius / 10), rel=0.02)


def test_projection_of_a_uniform_cylinder_follows_the_attenuated_chord(angles: np.ndarray) -> None:
    """Activity and attenuation uniform over a chord of length L project to (1 - exp(-mu L)) / mu."""
    radius = 140.0
    projector = Projector(N, NZ, DX, angles[20:21])
    disc = cylinder(radius)
    profile = projector.forward(to_columns(disc), 0, projector.survival(to_columns(MU_WATER * disc), 0))
    lateral = (np.arange(N) - N / 2 + 0.5) * DX
    for bin_, u in enumerate(lateral):
        if abs(u) > radius - 2 * DX:
            continue
        chord = 2 * math.sqrt(radius**2 - u**2) / 10
        expected = (1 - math.exp(-MU_WATER * chord)) / MU_WATER
        assert float(profile[bin_, NZ // 2]) * DX / 10 == pytest.approx(expected, rel=0.03)


def test_attenuation_correction_recovers_uniform_activity(angles: np.ndarray) -> None:
    radius, level = 130.0, 100.0
    fine = Projector(2 * N, 2 * NZ, DX / 2, angles, collimator=Collimator(), rebin=2)
    activity = cylinder(radius, 2 * N, DX / 2, 2 * NZ)
    mu = to_columns(MU_WATER * activity)
    columns = to_columns(level / 8 * activity)
    views = torch.stack([fine.forward(columns, v, fine.survival(mu, v)) for v in range(len(angles))])
    projector = Projector(N, NZ, DX, angles)
    water = to_columns(MU_WATER * cylinder(radius))
    inside = (cylinder(radius - 25.0) == 1)[2:-2]
    corrected = to_volume(osem(projector, views, mu=water, iterations=6), NZ)[0][2:-2][inside]
    uncorrected = to_volume(osem(projector, views, iterations=6), NZ)[0][2:-2][inside]
    assert float(corrected.mean()) == pytest.approx(level, rel=0.05)
    assert float(corrected.std()) < 0.05 * level
    assert float(uncorrected.mean()) < 0.4 * level


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
    assert np.allclose(gaussian_matrix(64, 2.5, rebin=2), matrix[0::2] + matrix[1::2], atol=1e-12)


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
    projector = Projector(N, NZ, DX, angles)
    truth = to_columns(100 * cylinder(90.0) + 300 * cylinder(25.0))
    views = torch.stack([projector.forward(truth, v) for v in range(len(angles))])
    estimate = osem(projector, views, iterations=8)
    again = torch.stack([projector.forward(estimate, v) for v in range(len(angles))])
    assert float(again.sum()) == pytest.approx(float(views.sum()), rel=1e-3)
    assert float((estimate - truth).norm() / truth.norm()) < 0.1


def test_osem_refuses_views_that_do_not_divide(angles: np.ndarray) -> None:
    with pytest.raises(ValueError, match="divide into 8 subsets"):
        osem(Projector(32, 4, DX, angles[:9]), torch.ones(9, 32, 4))


def test_butterworth_passes_the_mean_and_halves_the_power_at_the_cutoff() -> None:
    n, dx, cutoff = 64, 5.0, 0.25
    x = torch.arange(n) * dx / 10
    wave = 10 + torch.cos(2 * math.pi * cutoff * x)
    out = butterworth(wave.expand(8, 8, n).contiguous(), dx, cutoff=cutoff)
    assert float(out.mean()) == pytest.approx(10, rel=1e-5)
    assert float(out.max() - out.min()) / 2 == pytest.approx(1 / math.sqrt(2), rel=1e-3)
