"""Solvers on an image-like Gaussian field whose posterior is known: the exact error of the samples' distribution.

32 x 32 pixels, a power-law posterior (amplitude of a mode 1 / (1 + radial frequency)^1.5, 0.1 rms per pixel) and exact
denoisers. Every solver is then linear, so the distance (Wasserstein-2 per pixel, x 1000; the posterior mean has 100) is
a number and not an estimate. The expected values were computed independently of this package, to the digits given.
"""

from __future__ import annotations

import numpy as np
import pytest
from gaussian_tables import follow, spread

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.solvers import solver_table

PRINTED = 0.051
BRIDGE = BrownianBridge()
PUBLISHED = {"solver": "ancestral", "spacing": "reference", "boot": False}


def field():
    """Amplitudes of the modes, each once, and their shares of the modes."""
    frequency = np.fft.fftfreq(32) * 32
    square, count = np.unique(np.add.outer(frequency**2, frequency**2), return_counts=True)
    amplitude, share = (1.0 + np.sqrt(square)) ** -1.5, count / count.sum()
    return 0.1 * amplitude / np.sqrt(share @ amplitude**2), share


def distance(bridge, *arguments, **options):
    """Exact Wasserstein-2 distance per pixel of a solver's samples from the field, x 1000."""
    tau, share = field()
    return 1e3 * np.sqrt(share @ (tau - spread(bridge, tau, *arguments, **options)) ** 2)


STEPS = (3, 4, 5, 6, 8, 10, 20, 50, 200)
FIELD = [
    (PUBLISHED, (79.4, 57.3, 50.2, 46.0, 40.9, 37.6, 30.0, 22.7, 16.3)),
    ({"order": 1, "spacing": "reference"}, (80.9, 53.1, 45.2, 40.5, 34.8, 31.3, 23.7, 17.6, 13.7)),
    ({"order": 2, "spacing": "reference"}, (80.9, 52.9, 22.3, 21.4, 20.8, 19.9, 16.5, 13.3, 12.1)),
    ({"order": 3, "spacing": "reference"}, (80.9, 52.9, 22.1, 32.2, 32.5, 26.6, 15.6, 12.2, 12.0)),
    ({"solver": "ancestral"}, (55.7, 51.7, 43.5, 37.5, 30.0, 25.7, 17.8, 14.7, 14.1)),
    ({"order": 1}, (50.8, 42.5, 33.4, 28.4, 23.3, 20.8, 16.9, 15.4, 14.9)),
    ({"order": 2}, (50.8, 29.7, 18.5, 15.6, 14.4, 14.2, 14.2, 14.2, 14.2)),
    ({"order": 2, "spacing": "karras"}, (65.0, 26.3, 17.0, 15.3, 14.2, 14.0, 14.1, 14.2, 14.2)),
    ({"order": 3}, (50.8, 29.7, 18.4, 17.2, 15.8, 15.0, 14.4, 14.3, 14.2)),
    ({"solver": "unipc"}, (50.8, 28.4, 17.1, 14.9, 14.0, 14.0, 14.2, 14.2, 14.2)),
    ({"solver": "sde"}, (55.7, 35.4, 19.5, 16.5, 15.4, 13.6, 12.1, 12.1, 12.1)),
]


@pytest.mark.parametrize(("options", "expected"), FIELD)
def test_error_on_the_field(options, expected):
    found = [distance(BRIDGE, steps, **options) for steps in STEPS]
    np.testing.assert_allclose(found, expected, rtol=0, atol=PRINTED)


def test_the_published_sampler_with_all_its_steps():
    assert distance(BRIDGE, 1000, **PUBLISHED) == pytest.approx(13.8, abs=PRINTED)
    assert distance(BrownianBridge(max_var=0.05), 200, **PUBLISHED) == pytest.approx(6.1, abs=PRINTED)


def test_without_noise_every_sample_is_the_mean():
    """The published eta = 0, and eta = 0 without booting noise, have no spread at all."""
    assert distance(BRIDGE, 20, **PUBLISHED, eta=0.0, eta_mode="bbdm") == pytest.approx(100.0, abs=1e-9)
    assert distance(BRIDGE, 20, order=1, boot=False) == pytest.approx(100.0, abs=1e-9)


def explicit(bridge, sigmas):
    """The list of steps nearest to some noise levels, T-1 first."""
    m = np.square(sigmas) / (2.0 * bridge.max_var + np.square(sigmas))
    nodes = np.rint(np.interp(m, bridge.m, np.arange(bridge.num_timesteps))).astype(int).tolist()
    for i in range(1, len(nodes)):
        nodes[i] = min(nodes[i], nodes[i - 1] - 1)
    return nodes


@pytest.mark.parametrize(
    ("max_var", "expected"),
    [(1.0, {2: 85.0, 3: 57.3, 4: 30.8, 5: 17.1, 6: 15.4, 8: 14.2, 10: 13.2}), (0.05, {8: 6.8, 10: 4.5})],
)
def test_explicit_lists_over_the_full_range(max_var, expected):
    bridge = BrownianBridge(max_var=max_var)
    for steps, value in expected.items():
        nodes = explicit(bridge, np.geomspace(bridge.sigma[-1], bridge.sigma[0], steps))
        assert distance(bridge, nodes) == pytest.approx(value, abs=PRINTED)


def test_explicit_lists_found_by_optimisation():
    for levels, value in (((29.2, 11.1, 1.9, 0.45), 16.0), ((29.2, 16.2, 3.2, 1.5, 0.45), 13.5)):
        nodes = [999, *explicit(BRIDGE, 0.1 * np.array(levels))]
        assert distance(BRIDGE, nodes) == pytest.approx(value, abs=PRINTED)


def test_spread_of_fine_texture():
    """Isotropic x0 of deviation 0.05: what the last noise level, which is denoised away, leaves of it."""
    tau = np.array([0.05])
    # Of the published sampler the expected value is an estimate from samples.
    for expected, tolerance, arguments, options in (
        (0.669, 2e-3, (200,), PUBLISHED),
        (0.700, 6e-4, (6,), {}),
        (0.726, 6e-4, (8,), {}),
        (0.745, 6e-4, (200,), {}),
    ):
        assert spread(BRIDGE, tau, *arguments, **options)[0] / 0.05 == pytest.approx(expected, abs=tolerance)


def flow_error(solver, order, steps):
    """Distance from the exact flow of a Gaussian posterior (deviation 0.5), between two noise levels."""
    bridge, tau = BrownianBridge(1_000_001), 0.5
    nodes = explicit(bridge, np.geomspace(3.0, 0.05, steps + 1))
    table = solver_table(bridge, nodes, solver=solver, order=order, boot=False)
    m, sigma = np.array(table.m), bridge.sigma[nodes]

    def denoise(i, x):
        return tau**2 / (tau**2 + sigma[i] ** 2) * x / (1.0 - m[i])

    states, _ = follow(table, denoise, np.array((1.0 - m[0]) * np.hypot(tau, sigma[0])))
    return abs(float(states[-1]) / (1.0 - m[-1]) - np.hypot(tau, sigma[-1]))


@pytest.mark.parametrize(
    ("solver", "order", "expected"),
    [
        ("dbim", 1, 1.0), ("dbim", 2, 2.0), ("dbim", 3, 2.0), ("unipc", 1, 2.0), ("unipc", 2, 3.0),
        ("unipc_bh2", 1, 2.0), ("unipc_bh2", 2, 3.0),
    ],
)  # fmt: skip
def test_order_of_convergence(solver, order, expected):
    coarse, fine = (flow_error(solver, order, steps) for steps in (64, 128))
    assert np.log2(coarse / fine) == pytest.approx(expected, abs=0.25)


def relative_spread_error(solver, steps):
    """Of samples of a Gaussian of deviation 0.5, on the levels that latent diffusion is trained at."""
    bridge, tau = BrownianBridge(1_000_001, m_min=1e-5, m_max=1 - 1e-5), 0.5
    nodes = explicit(bridge, np.geomspace(14.6, 0.03, steps))
    table = solver_table(bridge, nodes, solver=solver, order=2, boot=False)
    m, sigma = np.array(table.m), bridge.sigma[nodes]

    def denoise(i, x):
        return tau**2 / (tau**2 + sigma[i] ** 2) * x / (1.0 - m[i])

    _, d = follow(table, denoise, np.array((1.0 - m[0]) * np.hypot(tau, sigma[0])))
    return abs(float(d) - tau) / tau


def test_the_published_weights_of_unipc_are_better_at_few_large_steps():
    assert relative_spread_error("unipc", 6) == pytest.approx(0.103, abs=0.002)
    assert relative_spread_error("unipc_bh2", 6) == pytest.approx(0.040, abs=0.002)
    assert relative_spread_error("unipc_bh2", 8) < relative_spread_error("unipc", 8)
