"""The variance-preserving process and its tables: known numbers, marginals, and samplers on a known distribution."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from gaussian_tables import follow

from spectac_fast.diffusion.sampler import sample_diffusion
from spectac_fast.diffusion.vp import (
    DDPM_PROCESS,
    LDM_PROCESS,
    OBJECTIVES,
    PALETTE_SAMPLING,
    PALETTE_TRAINING,
    VPProcess,
)
from spectac_fast.diffusion.vp_solvers import eta_row, midpoint_row, vp_table

PX, PF, KA, W0, WN = 0, 1, 3, 4, 8


@pytest.mark.parametrize(
    ("process", "last"),
    [(DDPM_PROCESS, 4.0e-5), (PALETTE_TRAINING, 4.4e-5), (PALETTE_SAMPLING, 6.6e-21), (LDM_PROCESS, 9.7e-5)],
)
def test_last_level_of_the_published_schedules(process, last):
    assert process.level[-1] == pytest.approx(last, rel=0.02)
    assert process.level[0] == pytest.approx(1.0 - process.beta_start)
    assert np.all(np.diff(process.level) < 0)


def test_noising_and_prediction_are_inverse():
    x0, noise, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0, 500, 900])
    level = DDPM_PROCESS.levels(t)
    x_t = DDPM_PROCESS.add_noise(x0, level, noise)
    assert torch.allclose(DDPM_PROCESS.x0_from(noise, x_t, level), x0, atol=1e-5)
    expected = level.sqrt()[1] * x0[1] + (1 - level).sqrt()[1] * noise[1]
    assert torch.allclose(x_t[1], expected)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_trained_for_says_what_the_image_is(objective):
    process = VPProcess(objective=objective)
    x0, noise, t = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.tensor([0, 500, 900])
    level = process.levels(t)
    x_t, target = process.add_noise(x0, level, noise), process.target(x0, level, noise)
    found = process.x0_from(target, x_t, level)
    for i, a in enumerate(level.tolist()):
        state, prediction = process.estimate_row(a)
        parts = state * x_t[i], prediction * target[i]
        # Near pure noise two large parts nearly cancel: each was rounded a few times, and that stays.
        bound = 8 * torch.finfo(torch.float32).eps * (parts[0].abs() + parts[1].abs())
        assert ((parts[0] + parts[1] - x0[i]).abs() <= bound).all()
        assert ((found[i] - x0[i]).abs() <= bound).all()


def test_the_same_estimate_of_the_image_gives_the_same_sample_by_noise_and_by_velocity():
    samples = {}
    for objective in OBJECTIVES:
        process = VPProcess(objective=objective)

        def denoiser(x, t, process=process):
            level = process.levels(t).view(-1, 1, 1, 1)
            x0 = torch.tanh(x) * level  # any estimate
            return process.target(x0, level.view(-1), (x - level.sqrt() * x0) / (1 - level).sqrt())

        table = vp_table(process, 10, eta=0.5, clip=(-0.5, 0.4))
        samples[objective] = sample_diffusion(denoiser, (1, 8, 8), table, seeds=torch.arange(3))
    assert torch.allclose(*samples.values(), atol=1e-4)


def test_training_levels_lie_between_neighbours():
    t = torch.tensor([1, 7, 1999])
    for share, other in ((0.0, t - 1), (1.0, t)):
        found = PALETTE_TRAINING.levels_between(t, torch.full((3,), share))
        assert torch.allclose(found, PALETTE_TRAINING.levels(other))
    middle = PALETTE_TRAINING.levels_between(t, torch.full((3,), 0.5))
    assert bool(((middle < PALETTE_TRAINING.levels(t - 1)) & (middle > PALETTE_TRAINING.levels(t))).all())


def test_ancestral_rows_are_the_published_posterior():
    process = PALETTE_SAMPLING
    table, buffers = vp_table(process, 1000, solver="ancestral"), process.buffers()
    assert table.t == tuple(range(999, -1, -1))
    for i in (0, 1, 500, 900, 998):
        t = table.t[i]
        row = table.rows[i]
        assert row[PX] == pytest.approx(float(buffers["sqrt_recip_gammas"][t]), rel=1e-6)
        assert -row[PF] == pytest.approx(float(buffers["sqrt_recipm1_gammas"][t]), rel=1e-5)
        assert row[W0] == pytest.approx(float(buffers["posterior_mean_coef1"][t]), rel=1e-5)
        assert row[KA] == pytest.approx(float(buffers["posterior_mean_coef2"][t]), rel=1e-5)
        assert row[WN] == pytest.approx(math.exp(0.5 * float(buffers["posterior_log_variance_clipped"][t])), rel=1e-5)
    large = vp_table(process, 1000, solver="ancestral", variance="large").rows
    assert np.allclose(large[:-1, WN] ** 2, process.beta[:0:-1], rtol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_rows_keep_the_marginals(eta):
    """A step maps mean sqrt(a_s) x0 to sqrt(a_t) x0, and variance 1 - a_s to 1 - a_t."""
    for a_s, a_t in ((1e-20, 1e-3), (0.1, 0.4), (0.99, 0.9999)):
        ka, w0, wn = eta_row(a_s, a_t, eta)
        assert ka * math.sqrt(a_s) + w0 == pytest.approx(math.sqrt(a_t), rel=1e-12)
        assert ka * ka * (1 - a_s) + wn * wn == pytest.approx(1 - a_t, rel=1e-9)


@pytest.mark.parametrize("options", [{"eta": 0.0}, {"eta": 0.5}, {"solver": "ancestral"}])
def test_samples_of_a_known_distribution(options):
    """x0 ~ N(0.3, 0.2^2): the exact noise predictor is linear, and the samples' mean and spread come out."""
    mean, spread, process = 0.3, 0.2, DDPM_PROCESS

    def denoiser(x, t):
        a = process.levels(t).view(-1, 1, 1, 1)
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * spread**2 + 1 - a)

    table = vp_table(process, 1000, **options)
    found = sample_diffusion(denoiser, (1, 32, 32), table, seeds=torch.arange(8))
    assert float(found.mean()) == pytest.approx(mean, abs=0.01)
    assert float(found.std()) == pytest.approx(spread, rel=0.05)


def test_the_list_of_latent_diffusion():
    """Its published form: alphas of the list, and the level at timestep 0 behind the last."""
    table = vp_table(LDM_PROCESS, 200, spacing="ldm")
    assert table.t == tuple(range(996, 0, -5))
    assert len(vp_table(LDM_PROCESS, 150, spacing="ldm")) == 167
    with pytest.raises(ValueError, match="begin at t = 1000"):
        vp_table(LDM_PROCESS, 1000, spacing="ldm")
    a, end = LDM_PROCESS.level[1], LDM_PROCESS.level[0]
    x, noise = 0.7, -0.4
    x0 = (x - math.sqrt(1 - a) * noise) / math.sqrt(a)
    expected = math.sqrt(end) * x0 + math.sqrt(1 - end) * noise
    assert table.rows[-1, PX] * x + table.rows[-1, PF] * noise == pytest.approx(expected, rel=1e-12)


def k_diffusion_2m(denoise, x, sigmas, eta, noises):
    """sample_dpmpp_2m_sde as k-diffusion writes it, for its state x / sqrt(a); eta = 0 is sample_dpmpp_2m."""
    old, h_last = None, None
    for i, (s, t) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, s)
        h = math.log(s / t)
        x = t / s * math.exp(-eta * h) * x - math.expm1(-h - eta * h) * denoised
        if old is not None:
            x += 0.5 * -math.expm1(-h - eta * h) * h / h_last * (denoised - old)
        x += noises[i] * t * math.sqrt(-math.expm1(-2 * eta * h))
        old, h_last = denoised, h
    return denoise(x, sigmas[-1])


@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("process", [DDPM_PROCESS, LDM_PROCESS, PALETTE_TRAINING])
@pytest.mark.parametrize("spacing", ["uniform", "lambda"])
def test_midpoint_rows_are_those_of_k_diffusion(eta, process, spacing):
    table = vp_table(process, 9, solver="dpmpp_2m", eta=eta, spacing=spacing)
    level = np.array(table.m)
    sigmas = np.sqrt((1 - level) / level)
    noises = np.random.default_rng().normal(size=8)
    by_level = {s: i for i, s in enumerate(sigmas)}

    def denoise(z, sigma):
        return 0.3 + 0.5 * math.tanh(z / math.hypot(1, sigma)) + 0.01 * by_level[sigma]

    def from_state(i, x):
        return denoise(x / math.sqrt(level[i]), sigmas[i])

    expected = k_diffusion_2m(denoise, 0.8 / math.sqrt(level[0]), sigmas, eta, noises)
    _, found = follow(table, from_state, 0.8, noises if eta else ())
    assert found == pytest.approx(expected, abs=1e-12)


def test_first_order_rows_of_both_families_agree():
    """Without history DPM-Solver++ is DDIM at eta = 0, and DDPM's posterior at eta = 1."""
    for a_s, a_t in ((1e-4, 0.03), (0.2, 0.5), (0.99, 0.9999)):
        for eta in (0.0, 1.0):
            ka, w0, w1, wn = midpoint_row(a_s, a_t, None, eta)
            assert w1 == 0
            assert (ka, w0, wn) == pytest.approx(eta_row(a_s, a_t, eta), abs=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
def test_midpoint_rows_keep_the_marginals(eta):
    for a_u, a_s, a_t in ((1e-4, 0.02, 0.3), (0.2, 0.5, 0.9), (0.9, 0.99, 0.9999)):
        ka, w0, w1, wn = midpoint_row(a_s, a_t, a_u, eta)
        assert ka * math.sqrt(a_s) + w0 + w1 == pytest.approx(math.sqrt(a_t), abs=1e-12)
        assert wn**2 == pytest.approx((1 - a_t) - ka**2 * (1 - a_s), abs=1e-12)


@pytest.mark.parametrize(("solver", "expected"), [("ddim", 1.0), ("dpmpp_2m", 2.0)])
def test_order_of_convergence(solver, expected):
    """Distance from the exact flow for x0 ~ N(0, 0.5^2), between two levels of a process of many steps."""
    process, tau = VPProcess(1_000_000, "linear", 1e-7, 2e-5), 0.5
    lam = 0.5 * (np.log(process.level) - np.log1p(-process.level))

    def error(steps):
        t = np.rint(np.interp(np.linspace(-1.0, 3.0, steps + 1), lam[::-1], np.arange(len(lam))[::-1])).astype(int)
        table = vp_table(process, t.tolist(), solver=solver)
        level = np.array(table.m)
        std = np.sqrt(level * tau**2 + 1 - level)
        states, _ = follow(table, lambda i, x: np.sqrt(level[i]) * tau**2 / std[i] ** 2 * x, std[0])
        return abs(states[-1] - std[-1])

    assert math.log2(error(32) / error(64)) == pytest.approx(expected, abs=0.25)


def test_nodes_uniform_in_lambda():
    for process in (DDPM_PROCESS, PALETTE_SAMPLING):
        for steps in (1, 2, 7, 300):
            t = vp_table(process, steps, spacing="lambda").t
            assert t[0] == process.num_timesteps - 1
            assert len(t) == steps
            assert t[-1] == 0 or steps == 1
    level = np.array(vp_table(DDPM_PROCESS, 6, spacing="lambda").m)
    steps = np.diff(np.log(level / (1 - level)))
    np.testing.assert_allclose(steps, steps.mean(), rtol=0.15)


def test_starts_do_not_depend_on_the_batch_or_the_table():
    def denoiser(x, t):
        return torch.zeros_like(x)

    def starts(seeds, steps):
        seen = []
        sample_diffusion(
            denoiser, (1, 4, 4), vp_table(DDPM_PROCESS, steps), seeds=torch.tensor(seeds),
            callback=lambda info: seen.append(info["x"].clone()),
        )  # fmt: skip
        return seen[0]

    assert torch.equal(starts([3, 4], 2)[1], starts([4], 5)[0])
    assert not torch.equal(starts([3], 2), starts([4], 2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be in 1"),
        ({"steps": 1001}, "steps must be in 1"),
        ({"steps": [5, 7]}, "must decrease"),
        ({"steps": [1000, 7]}, "every step must be in 0"),
        ({"steps": 5, "solver": "dbim"}, "solver must be one of"),
        ({"steps": 5, "spacing": "karras"}, "spacing must be one of"),
        ({"steps": 5, "variance": "huge"}, "variance must be one of"),
        ({"steps": 5, "eta": 2.0}, "eta must be in"),
        ({"steps": 5, "clip": (1.0, -1.0)}, "clip must be"),
        ({"steps": 5, "clip": (-1.0, 1.0), "spacing": "ldm"}, "clip does not go"),
    ],
)
def test_wrong_tables_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        vp_table(DDPM_PROCESS, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1,), "num_timesteps"),
        ((10, "jsd"), "schedule must be"),
        ((10, "linear", 0.1, 0.01), "beta_start, beta_end"),
        ((10, "linear", 0.1, 1.0), "beta_start, beta_end"),
    ],
)
def test_wrong_processes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        VPProcess(*arguments)
