"""Tables fitted to a long path: what they keep, what they gain, what cannot be fitted."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from spectac_fast import BrownianBridge, sample_bridge, solver_table
from spectac_fast.diffusion.fitted import fit_table, long_path, stored, table_from

BRIDGE = BrownianBridge(max_var=0.05)


def posterior(x, t, y):
    """The exact network of a Gaussian target whose variance rises along the rows, with mean y / 2 + 1 / 4."""
    m, std = BRIDGE.coefficients(t)
    variance = 0.2 * torch.linspace(0.01, 1.0, y.shape[2])[:, None] ** 2
    mean = 0.5 * y + 0.25
    gain = (1.0 - m) * variance / ((1.0 - m) ** 2 * variance + std**2)
    return x - (mean + gain * (x - (1.0 - m) * mean - m * y))


@pytest.fixture(params=[0, 1, 2])
def slices(request):
    generator = torch.Generator().manual_seed(request.param)
    y = torch.randn(8, 1, 12, 12, generator=generator)
    return y, torch.randint(2**62, (8,), generator=generator)


@pytest.mark.parametrize("steps", [2, 3, 4, 6])
def test_fitted_tables_come_nearer_to_the_long_path_on_other_slices(slices, steps):
    y, seeds = slices
    table = solver_table(BRIDGE, steps)
    fitted = fit_table(posterior, y, table, long_path(posterior, BRIDGE, y, table.t, seeds=seeds))
    others, keys = torch.randn(8, 1, 12, 12), torch.randint(2**62, (8,))
    goal = long_path(posterior, BRIDGE, others, table.t, seeds=keys).image
    errors = [(sample_bridge(posterior, others, one, seeds=keys) - goal).square().mean() for one in (table, fitted)]
    assert errors[1] < 0.7 * errors[0]
    assert fitted.t == table.t
    assert np.array_equal(fitted.rows[0], table.rows[0])


def test_rows_keep_constants(slices):
    y, seeds = slices
    table = solver_table(BRIDGE, 5)
    rows = fit_table(posterior, y, table, long_path(posterior, BRIDGE, y, table.t, seeds=seeds)).rows
    assert np.allclose(rows[1:-1, 3:8].sum(axis=1), 1.0, rtol=0, atol=1e-12)
    assert np.allclose(rows[:, 0] + rows[:, 2], 1.0, rtol=0, atol=1e-12)


def test_what_is_exact_already_stays(slices):
    y, seeds = slices
    table = solver_table(BRIDGE, 6)
    path = long_path(posterior, BRIDGE, y, table.t, seeds=seeds, steps=1)
    fitted = fit_table(posterior, y, table, path)
    assert np.allclose(fitted.rows[:, :9], table.rows[:, :9], rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    "options", [{"solver": "unipc"}, {"solver": "sde"}, {"boot": False}, {"clip": (-1.0, 1.0)}, {"steps": 1}]
)
def test_tables_that_cannot_be_fitted(slices, options):
    y, seeds = slices
    table = solver_table(BRIDGE, **{"steps": 5} | options)
    path = long_path(posterior, BRIDGE, y, solver_table(BRIDGE, 5).t, seeds=seeds, steps=1)
    with pytest.raises(ValueError, match="only a table that boots"):
        fit_table(posterior, y, table, path)


@pytest.fixture(scope="module")
def stored_table():
    y, seeds = torch.randn(4, 1, 12, 12), torch.arange(4)
    table = solver_table(BRIDGE, 4)
    return fit_table(posterior, y, table, long_path(posterior, BRIDGE, y, table.t, seeds=seeds, steps=20))


def test_a_stored_table_comes_back_bit_for_bit(stored_table):
    found = table_from(BRIDGE, json.loads(json.dumps(stored(stored_table))))
    assert np.array_equal(found.rows, stored_table.rows)
    assert (found.t, found.m, found.boots, found.noise_rows) == (stored_table.t, stored_table.m, True, (0,))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data.pop("rows"), "exactly"),
        (lambda data: data.update(solver="dbim"), "exactly"),
        (lambda data: data.update(timesteps="999"), "whole numbers"),
        (lambda data: data.update(timesteps=[999]), "whole numbers"),
        (lambda data: data["timesteps"].__setitem__(1, True), "whole numbers"),
        (lambda data: data["timesteps"].__setitem__(0, 998), "start at timestep 999"),
        (lambda data: data["timesteps"].reverse(), "start at timestep 999"),
        (lambda data: data["timesteps"].__setitem__(3, data["timesteps"][2]), "decrease"),
        (lambda data: data["rows"].pop(), "finite numbers"),
        (lambda data: data["rows"][1].pop(), "finite numbers"),
        (lambda data: data["rows"][1].__setitem__(3, float("nan")), "finite numbers"),
        (lambda data: data["rows"][1].__setitem__(3, float("inf")), "finite numbers"),
        (lambda data: data["rows"][1].__setitem__(3, "1"), "finite numbers"),
        (lambda data: data["rows"][1].__setitem__(3, data["rows"][1][3] + 1e-6), "another bridge"),
        (lambda data: data["rows"][0].__setitem__(8, data["rows"][0][8] * 1.01), "another bridge"),
        (lambda data: data["rows"][2].__setitem__(8, 0.1), "another bridge"),
        (lambda data: data["rows"][3].__setitem__(2, 0.5), "another bridge"),
    ],
)
def test_what_no_fit_gives_is_refused(stored_table, spoil, message):
    data = stored(stored_table)
    spoil(data)
    with pytest.raises(ValueError, match=message):
        table_from(BRIDGE, data)


def test_a_table_of_another_bridge_is_refused(stored_table):
    with pytest.raises(ValueError, match="another bridge"):
        table_from(BrownianBridge(max_var=0.06), stored(stored_table))
