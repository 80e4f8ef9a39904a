"""The bridge as plain diffusion: Euler's method and a second-order multistep method, as k-diffusion writes them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from spectac_fast import BrownianBridge, KDiffusionBridge, sample_bridge, solver_table
from spectac_fast.diffusion.sampler import run_table

Y = torch.rand(2, 1, 6, 6, generator=torch.Generator().manual_seed(3)) * 2 - 1
OBJECTIVES = ("grad", "noise", "ysubx", "x0")


def denoiser(x, t, y):
    return 0.5 * torch.tanh(x) - 0.3 * y + 0.1 * torch.cos(t.float() / 100)[:, None, None, None]


def euler(view, z, sigmas):
    for s, t in pairwise(sigmas):
        denoised = view(z, s * z.new_ones(len(z)))
        z = z + (z - denoised) / s * (t - s)
    return z


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("spacing", ["lambda", "karras"])
def test_euler_is_dbim_of_order_1(objective, spacing):
    bridge = BrownianBridge(max_var=0.3, m_max=0.99, objective=objective)
    view, noise = KDiffusionBridge(denoiser, bridge, Y), torch.randn_like(Y)
    sigmas = view.sigmas(7, spacing=spacing, sigma_hi=2.0)
    assert len(sigmas) == 7
    assert sigmas[-1] == 0
    found = euler(view, view.start(sigmas[0], noise), sigmas)
    table = solver_table(bridge, 7, order=1, spacing=spacing, sigma_hi=2.0)
    expected = sample_bridge(denoiser, Y, table, noise=noise[None])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_network_sees_the_state_and_timestep_of_the_level(objective):
    bridge, seen = BrownianBridge(500, max_var=0.4, objective=objective, schedule="sin"), []

    def record(x, t, y):
        seen.append((x, t))
        return bridge.target(x0, y, t, eps)

    x0, eps = torch.randn(2, *Y.shape)
    t = torch.tensor([40, 480])
    m, std = bridge.coefficients(t)
    sigma = torch.from_numpy(bridge.sigma)[t].float()
    z = x0 + sigma[:, None, None, None] * eps
    found = KDiffusionBridge(record, bridge, Y)(z, sigma)
    assert torch.equal(seen[0][1], t)
    torch.testing.assert_close(seen[0][0], (1 - m) * x0 + m * Y + std * eps, rtol=0, atol=1e-5)
    torch.testing.assert_close(found, x0, rtol=0, atol=1e-4)


def test_levels_between_timesteps_go_to_the_nearest():
    bridge, seen = BrownianBridge(100), []
    view = KDiffusionBridge(lambda x, t, y: seen.append(t) or x, bridge, Y)
    sigma = torch.from_numpy(bridge.sigma)
    for level in (1.01 * sigma[30], 0.99 * sigma[30], 0.5 * sigma[0], 2.0 * sigma[-1]):
        view(Y, level)
    assert [t.tolist() for t in seen] == [[30, 30], [30, 30], [0, 0], [99, 99]]


def test_a_network_that_takes_any_level_is_told_it():
    bridge, seen = BrownianBridge(100), []
    view = KDiffusionBridge(lambda x, t, y: seen.append(t) or x, bridge, Y, quantize=False)
    sigma = torch.from_numpy(bridge.sigma)
    for level in (sigma[30], (sigma[30] * sigma[31]).sqrt(), 0.5 * sigma[0], 2.0 * sigma[-1]):
        view(Y, level)
    assert all(t.dtype == torch.float32 for t in seen)
    torch.testing.assert_close(torch.stack(seen)[:, 0], torch.tensor([30.0, 30.5, 0.0, 99.0]), rtol=1e-6, atol=1e-6)
    assert (view.sigma_min, view.sigma_max) == (float(sigma[0]), float(sigma[-1]))
    whole = KDiffusionBridge(denoiser, bridge, Y)
    told = KDiffusionBridge(denoiser, bridge, Y, quantize=False)
    torch.testing.assert_close(told(Y, sigma[40]), whole(Y, sigma[40]), rtol=0, atol=1e-6)


def test_extra_arguments_reach_the_network():
    seen = []

    def guided(x, t, y, *, scale, label=None):
        seen.append((scale, label))
        return denoiser(x, t, y)

    view = KDiffusionBridge(guided, BrownianBridge(objective="x0"), Y)
    view(Y, torch.tensor(0.7), scale=2.0)
    view.start(torch.tensor(0.7), torch.zeros_like(Y), scale=3.0, label="a")
    assert seen == [(2.0, None), (3.0, "a")]
    with pytest.raises(TypeError, match="scale"):
        view(Y, torch.tensor(0.7))


def test_a_schedule_needs_two_evaluations():
    with pytest.raises(ValueError, match="steps must be at least 2"):
        KDiffusionBridge(denoiser, BrownianBridge(), Y).sigmas(1)


def test_the_booted_state_is_that_of_the_table():
    """x of the table's second row is z of `start`, brought back to the bridge."""
    bridge, states = BrownianBridge(max_var=0.3, objective="x0"), []
    table, noise = solver_table(bridge, 4), torch.randn(1, *Y.shape)
    run_table(
        denoiser, Y, table, context=Y, seeds=torch.arange(2), noise=noise,
        callback=lambda info: states.append(info["x"].clone()),
    )  # fmt: skip
    view = KDiffusionBridge(denoiser, bridge, Y)
    z, m = view.start(view.sigmas(4)[0], noise[0]), table.m[1]
    torch.testing.assert_close((1 - m) * z + m * Y, states[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("quantize", [True, False])
@pytest.mark.parametrize("name", ["sample_euler", "sample_heun", "sample_dpm_2", "sample_lms", "sample_dpmpp_2m"])
def test_samplers_of_k_diffusion_run_unchanged(name, quantize):
    """A network that knows x0 leads every one of them there, from the levels and the bounds that the view gives."""
    sampling = pytest.importorskip("k_diffusion.sampling", reason="k-diffusion is not installed", exc_type=ImportError)
    bridge = BrownianBridge(max_var=0.05, objective="x0")
    view = KDiffusionBridge(lambda x, t, y, scale: scale * y, bridge, Y, quantize=quantize)
    options = {"extra_args": {"scale": 0.7}, "disable": True}
    sigmas = view.sigmas(6)
    z = view.start(sigmas[0], torch.randn_like(Y), scale=0.7)
    found = getattr(sampling, name)(view, z, sigmas, **options)
    torch.testing.assert_close(found, 0.7 * Y, rtol=0, atol=1e-6)
    found = sampling.sample_dpm_adaptive(view, z, view.sigma_min, float(sigmas[0]), **options)
    # It ends at the lowest level, whose noise stays.
    torch.testing.assert_close(found, 0.7 * Y, rtol=0, atol=6 * view.sigma_min)
