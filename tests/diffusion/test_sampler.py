"""Sampling with tables: the fused steps against the formulas written out, and what the noise may depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.sampler import sample_bridge
from spectac_fast.diffusion.solvers import COLUMNS, solver_table
from spectac_fast.ops import counter_normal


def denoiser(x, t, y):
    """A smooth stand-in for a network that depends on all of its arguments, slice by slice."""
    return 0.5 * torch.tanh(x) - 0.3 * y + 0.1 * torch.cos(t.float())[:, None, None, None] * x.roll(1, -1)


def written_out(y, table, noise):
    """The row formulas in float64, one after the other."""
    x = y.double()
    anchor, history, states, noise = x, [torch.zeros_like(x)] * 2, [], list(noise)
    for i, t in enumerate(table.t):
        row = dict(zip(COLUMNS, table.rows[i].tolist()))
        states.append(x)
        f = denoiser(x, torch.full((len(y),), t), y.double())
        d = row["px"] * x + row["pF"] * f + row["py"] * y
        if table.clip:
            d = d.clamp(*table.clip)
        if i == len(table) - 1:
            return d, states
        if table.corrector[i]:
            x = row["kc"] * anchor + row["v0"] * d + row["v1"] * history[0] + row["v2"] * history[1] + row["vy"] * y
        anchor = x
        eps = noise.pop(0) if i in table.noise_rows else 0.0
        x = row["ka"] * x + row["w0"] * d + row["w1"] * history[0] + row["w2"] * history[1] + row["cy"] * y
        x = x + row["wn"] * eps
        if not (i == 0 and table.boots):
            history = [d, history[0]]
    raise AssertionError


TABLES = {
    "dbim1": {"steps": 5, "order": 1, "eta": 0.4},
    "dbim2": {"steps": 6},
    "dbim3": {"steps": 7, "order": 3, "clip": (-1.0, 1.0)},
    "unipc": {"steps": 6, "solver": "unipc"},
    "unipc_bh2": {"steps": 7, "solver": "unipc_bh2", "order": 3},
    "unipc_unbooted": {"steps": [900, 400, 100, 20, 0], "solver": "unipc", "boot": False},
    "sde": {"steps": 6, "solver": "sde"},
    "ancestral": {"steps": 5, "solver": "ancestral", "spacing": "reference", "boot": False},
    "one": {"steps": 1},
    "two": {"steps": 2},
}


@pytest.mark.parametrize("objective", ["grad", "ysubx", "x0"])
@pytest.mark.parametrize("name", TABLES)
def test_rows_written_out(name, objective):
    table = solver_table(BrownianBridge(max_var=0.3, objective=objective), **TABLES[name])
    y = torch.randn(3, 2, 6, 5)
    noise = torch.randn(len(table.noise_rows), *y.shape)
    states, infos = [], []

    def keep(info):
        states.append(info["x"].clone())
        infos.append((info["i"], info["n"], info["t"], info["m"]))

    found = sample_bridge(denoiser, y, table, noise=noise, callback=keep)
    expected, expected_states = written_out(y, table, noise.double())
    assert float((found.double() - expected).abs().max()) < 1e-5
    assert float((torch.stack(states).double() - torch.stack(expected_states)).abs().max()) < 1e-5
    assert infos == [(i, len(table), t, m) for i, (t, m) in enumerate(zip(table.t, table.m))]


def test_seeds_draw_the_counter_normals():
    table = solver_table(BrownianBridge(), 5, solver="sde")
    y, seeds = torch.randn(2, 1, 7, 9), torch.tensor([7, -(2**60)])
    noise = torch.stack([counter_normal(seeds, y.shape[1:], step=i, sample=3) for i in table.noise_rows])
    by_noise = sample_bridge(denoiser, y, table, noise=noise)
    by_seeds = sample_bridge(denoiser, y, table, seeds=seeds, sample=3)
    assert float((by_noise - by_seeds).abs().max()) < 1e-5
    assert not torch.equal(by_seeds, sample_bridge(denoiser, y, table, seeds=seeds))


def test_default_seeds_are_the_indices():
    table, y = solver_table(BrownianBridge(), 3), torch.randn(3, 1, 4, 4)
    assert torch.equal(sample_bridge(denoiser, y, table), sample_bridge(denoiser, y, table, seeds=torch.arange(3)))


def test_a_slice_does_not_depend_on_its_batch():
    table = solver_table(BrownianBridge(max_var=0.1), 6)
    y, seeds = torch.randn(5, 1, 8, 8), torch.randint(2**62, (5,))
    together = sample_bridge(denoiser, y, table, seeds=seeds)
    order = torch.randperm(5)
    assert float((sample_bridge(denoiser, y[order], table, seeds=seeds[order]) - together[order]).abs().max()) < 1e-6
    for i in range(5):
        alone = sample_bridge(denoiser, y[i : i + 1], table, seeds=seeds[i : i + 1])
        assert float((alone - together[i : i + 1]).abs().max()) < 1e-6


def test_exact_denoiser_gives_the_posterior():
    """x0 | y ~ N(0.2, 0.3^2) per pixel: samples have that mean and deviation, one evaluation is the mean."""
    mean, deviation = 0.2, 0.3
    bridge = BrownianBridge(max_var=0.05, objective="x0")

    def exact(x, t, y):
        m = torch.from_numpy(bridge.m)[t][:, None, None, None]
        sigma2 = torch.from_numpy(bridge.sigma**2)[t][:, None, None, None]
        z = (x - m * y) / (1 - m)
        return ((deviation**2 * z + sigma2 * mean) / (deviation**2 + sigma2)).float()

    y = torch.rand(8, 1, 64, 64)
    samples = sample_bridge(exact, y, solver_table(bridge, 12))
    assert float(samples.mean()) == pytest.approx(mean, abs=0.01)
    assert float(samples.std()) == pytest.approx(deviation, rel=0.03)
    assert float(sample_bridge(exact, y, solver_table(bridge, 1)).std()) < 0.02


def test_without_booting_noise_the_spread_is_lost():
    """Why eta = 0 needs a booting row: from x = y the deterministic path carries no noise at all."""
    bridge = BrownianBridge()
    table = solver_table(bridge, [999, 500, 100, 0], boot=False)
    assert table.noise_rows == ()


def test_gradients_are_not_recorded():
    weight = torch.ones((), requires_grad=True)
    y = torch.randn(1, 1, 4, 4)
    found = sample_bridge(lambda x, t, y: weight * x, y, solver_table(BrownianBridge(), 3))
    assert not found.requires_grad


def test_condition_is_left_alone():
    y = torch.randn(2, 1, 4, 4)
    before = y.clone()
    sample_bridge(denoiser, y, solver_table(BrownianBridge(), 6, solver="unipc"))
    assert torch.equal(y, before)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"seeds": torch.zeros(3, dtype=torch.int64)}, "seeds"),
        ({"seeds": torch.zeros(2)}, "seeds"),
        ({"noise": torch.zeros(2, 2, 1, 4, 4)}, "noise"),
        ({"noise": torch.zeros(1, 2, 1, 4, 4), "seeds": torch.zeros(2, dtype=torch.int64)}, "not both"),
    ],
)
def test_arguments_that_do_not_fit(arguments, word):
    with pytest.raises(ValueError, match=word):
        sample_bridge(denoiser, torch.zeros(2, 1, 4, 4), solver_table(BrownianBridge(), 4), **arguments)


def test_condition_must_be_float32():
    with pytest.raises(ValueError, match="float32"):
        sample_bridge(denoiser, torch.zeros(2, 1, 4, 4).double(), solver_table(BrownianBridge(), 4))


@pytest.mark.parametrize("objective", ["grad", "noise", "ysubx", "x0"])
def test_forward_process_and_its_inverse(objective):
    bridge = BrownianBridge(500, max_var=0.4, objective=objective)
    x0, y, noise = torch.randn(3, 6, 1, 5, 5)
    t = torch.from_numpy(np.random.default_rng().integers(0, 400, size=6))
    x_t, target = bridge.noised(x0, y, t, noise=noise)
    torch.testing.assert_close(target, bridge.target(x0, y, t, noise), rtol=0, atol=1e-6)
    back = bridge.x0_from(target, x_t, y, t)
    assert float((back - x0).abs().max()) < 2e-5
    m = torch.from_numpy(bridge.m)[t]
    spread = (x_t.double() - (1 - m)[:, None, None, None] * x0 - m[:, None, None, None] * y).square().sum()
    expected = (2 * 0.4 * m * (1 - m))[:, None, None, None] * noise.square()
    assert float(spread) == pytest.approx(float(expected.sum()), rel=1e-4)
