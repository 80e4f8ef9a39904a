"""Solver tables: the worked tables of the literature's formulas, their invariants, nodes and wrong arguments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spectac_fast.diffusion.bridge import BrownianBridge, reference_steps
from spectac_fast.diffusion.solvers import (
    COLUMNS,
    exponential_moment,
    interpolation_weights,
    solver_table,
)

# Rows from the booting row on: (ka, w0, w1, w2, cy, wn) for max_var 1, T 1000; six printed digits.
BOOT_818 = (0, 0.181819, 0, 0, 0.818181, 0.545455)
DBIM2_6 = [
    BOOT_818,
    (1.240373, 0.419831, 0, 0, -0.660204, 0),
    (0.507626, 0.966473, -0.357009, 0, -0.117089, 0),
    (0.366667, 1.032247, -0.383830, 0, -0.015084, 0),
    (0.354953, 1.019302, -0.372418, 0, -0.001837, 0),
]
SDE_6 = [
    BOOT_818,
    (0.433456, 0.566544, 0, 0, 0, 0.633912),
    (0.177467, 1.368054, -0.545521, 0, 0, 0.321772),
    (0.126998, 1.458473, -0.585471, 0, 0, 0.118135),
    (0.125110, 1.444840, -0.569949, 0, 0, 0.041830),
]
DBIM3_8 = [
    BOOT_818,
    (1.294677, 0.239129, 0, 0, -0.533806, 0),
    (0.821022, 0.618282, -0.221665, 0, -0.217640, 0),
    (0.592352, 0.955960, -0.707753, 0.223140, -0.063699, 0),
    (0.516436, 1.026274, -0.767792, 0.241600, -0.016518, 0),
    (0.503084, 1.010988, -0.748324, 0.238297, -0.004045, 0),
    (0.500940, 1.010179, -0.739947, 0.229830, -0.001002, 0),
]
ANCESTRAL_5 = [
    (0.667000, 0.333000, 0, 0, 0, 0.666166),
    (0.500750, 0.499250, 0, 0, 0, 0.577205),
    (0.005991, 0.994009, 0, 0, 0, 0.063040),
    (0.500250, 0.499750, 0, 0, 0, 0.031615),
]
CORRECTOR_6 = [
    (1.240373, 0.246039, 0.173793, 0, -0.660204),
    (0.507626, 0.307283, 0.352028, -0.049848, -0.117089),
    (0.366667, 0.327172, 0.375001, -0.053756, -0.015084),
    (0.354953, 0.326149, 0.372384, -0.051648, -0.001837),
]
PRINTED = 6e-7


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"steps": 6}, DBIM2_6),
        ({"steps": 6, "solver": "sde"}, SDE_6),
        ({"steps": 8, "order": 3}, DBIM3_8),
        ({"steps": 6, "solver": "unipc"}, DBIM2_6),
        ({"steps": 5, "solver": "ancestral", "spacing": "reference", "boot": False}, ANCESTRAL_5),
    ],
)
def test_worked_tables(arguments, expected):
    table = solver_table(BrownianBridge(), **arguments)
    np.testing.assert_allclose(table.rows[:-1, 3:9], expected, rtol=0, atol=PRINTED)


def test_worked_corrector():
    table = solver_table(BrownianBridge(), 6, solver="unipc")
    assert table.corrector == (False, False, True, True, True, True)
    np.testing.assert_allclose(table.rows[2:, 9:], CORRECTOR_6, rtol=0, atol=PRINTED)


@pytest.mark.parametrize(
    ("total", "max_var", "steps", "expected"),
    [
        (1000, 1.0, 1, [999]),
        (1000, 1.0, 2, [999, 110]),
        (1000, 1.0, 3, [999, 418, 10]),
        (1000, 1.0, 10, [999, 818, 611, 354, 160, 62, 22, 7, 2, 0]),
        (1000, 1.0, 20, [999, 818, 738, 638, 525, 409, 302, 213, 145, 96, 62, 39, 25, 15, 9, 5, 3, 2, 1, 0]),
        (1000, 0.125, 5, [999, 973, 521, 31, 0]),
        (1000, 0.05, 3, [999, 935, 183]),
        (1000, 0.05, 6, [999, 989, 838, 230, 16, 0]),
        (500, 1.0, 9, [499, 409, 287, 144, 54, 17, 5, 1, 0]),
    ],
)
def test_nodes(total, max_var, steps, expected):
    assert list(solver_table(BrownianBridge(total, max_var=max_var), steps).t) == expected


def test_every_number_of_steps_gives_distinct_nodes():
    bridge = BrownianBridge(60, max_var=0.3)
    for spacing in ("lambda", "karras"):
        for steps in range(1, 61):
            t = solver_table(bridge, steps, spacing=spacing).t
            assert len(set(t)) == steps
            assert list(t) == sorted(t, reverse=True)
            assert t[0] == 59
            assert t[-1] >= 0


def random_bridge(schedule="linear"):
    rng = np.random.default_rng()
    max_var = float(rng.uniform(0.02, 2.0))
    return BrownianBridge(int(rng.integers(50, 2000)), max_var=max_var, schedule=schedule), rng


@pytest.mark.parametrize("solver", ["dbim", "ancestral", "unipc", "unipc_bh2", "sde"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("schedule", ["linear", "sin"])
def test_coefficients_keep_the_means(solver, order, schedule):
    """A prediction that is right gives x_t its mean: sums of DBIM eq. 11, for multistep rows and correctors too."""
    bridge, rng = random_bridge(schedule)
    eta = float(rng.uniform()) if solver == "dbim" and order == 1 else 0.0
    table = solver_table(bridge, int(rng.integers(3, 12)), solver=solver, order=order, eta=eta)
    m = np.array(table.m)
    for i in range(len(table) - 1):
        row = dict(zip(COLUMNS, table.rows[i]))
        weights = row["w0"] + row["w1"] + row["w2"]
        assert row["ka"] * (1 - m[i]) + weights == pytest.approx(1 - m[i + 1], abs=1e-12)
        assert row["ka"] * m[i] + row["cy"] == pytest.approx(m[i + 1], abs=1e-12)
        if table.corrector[i]:
            weights = row["v0"] + row["v1"] + row["v2"]
            assert row["kc"] * (1 - m[i - 1]) + weights == pytest.approx(1 - m[i], abs=1e-12)
            assert row["kc"] * m[i - 1] + row["vy"] == pytest.approx(m[i], abs=1e-12)


@pytest.mark.parametrize("eta", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("schedule", ["linear", "sin"])
def test_first_order_keeps_the_variance(eta, schedule):
    bridge, _ = random_bridge(schedule)
    table = solver_table(bridge, 9, order=1, eta=eta)
    variance = bridge.variance[list(table.t)]
    kappa, omega = table.rows[1:-1, 3], table.rows[1:-1, 8]
    np.testing.assert_allclose(kappa**2 * variance[1:-1] + omega**2, variance[2:], rtol=1e-12)


def test_eta_family_meets_its_neighbours():
    """eta = 1 is the ancestral sampler, and eta = 0 and 1 are the multistep rows of order 1 with tau2 = 0 and 1."""
    bridge, _ = random_bridge()
    for eta in (0.0, 1.0):
        family = solver_table(bridge, 8, order=1, eta=eta)
        np.testing.assert_allclose(family.rows, solver_table(bridge, 8, order=1, tau2=eta).rows, atol=1e-12)
    np.testing.assert_array_equal(
        solver_table(bridge, 8, order=1, eta=1.0).rows, solver_table(bridge, 8, solver="ancestral").rows
    )


def test_bbdm_eta_only_scales_the_noise():
    bridge = BrownianBridge(max_var=0.5)
    full, half = (solver_table(bridge, 9, solver="ancestral", eta=e, eta_mode="bbdm", boot=False) for e in (1.0, 0.5))
    np.testing.assert_allclose(half.rows[:, 8], 0.5 * full.rows[:, 8], rtol=1e-15)
    np.testing.assert_array_equal(np.delete(half.rows, 8, axis=1), np.delete(full.rows, 8, axis=1))
    assert solver_table(bridge, 9, solver="ancestral", eta=0.0, eta_mode="bbdm", boot=False).noise_rows == ()


def test_closed_form_of_the_published_posterior():
    """kappa and omega of the published long expression collapse to r and 2 s m_n (1 - r)."""
    bridge = BrownianBridge(max_var=0.7)
    table = solver_table(bridge, 25, solver="ancestral", eta=1.0, eta_mode="bbdm", spacing="reference", boot=False)
    m, delta = np.array(table.m), bridge.variance[list(table.t)]
    sigma2 = (delta[:-1] - delta[1:] * (1 - m[:-1]) ** 2 / (1 - m[1:]) ** 2) * delta[1:] / delta[:-1]
    np.testing.assert_allclose(table.rows[:-1, 8] ** 2, sigma2, rtol=1e-9)
    np.testing.assert_allclose(table.rows[:-1, 3], np.sqrt((delta[1:] - sigma2) / delta[:-1]), rtol=1e-9)


@pytest.mark.parametrize("objective", ["grad", "noise", "ysubx", "x0"])
def test_prelude_inverts_the_target(objective):
    bridge = BrownianBridge(200, max_var=0.2, objective=objective)
    x0, y, eps = np.random.default_rng().normal(size=3)
    table = solver_table(bridge, 7)
    for t, m, (px, pf, py) in zip(table.t, table.m, table.rows[:, :3]):
        std = math.sqrt(bridge.variance[t])
        x = (1 - m) * x0 + m * y + std * eps
        f = {"grad": x - x0, "noise": eps, "ysubx": y - x0, "x0": x0}[objective]
        assert px * x + pf * f + py * y == pytest.approx(x0, abs=1e-9)


@pytest.mark.parametrize("k", [0, 1, 2])
@pytest.mark.parametrize("h", [1e-3, 0.2, 0.499, 0.501, 3.0])
@pytest.mark.parametrize("q", [1.0, 2.0])
def test_moments_against_quadrature(k, h, q):
    nodes, weights = np.polynomial.legendre.leggauss(60)
    v = h * (nodes + 1) / 2
    expected = q * np.sum(weights * np.exp(-q * (h - v)) * v**k) * h / 2
    assert exponential_moment(k, h, q) == pytest.approx(expected, rel=1e-11)


def test_weights_integrate_polynomials():
    rng = np.random.default_rng()
    u = np.array([0.0, -0.4, -1.1]) * rng.uniform(0.5, 2)
    h, c = rng.uniform(0.1, 2), rng.normal(size=3)
    expected = sum(c[k] * exponential_moment(k, h, 1.0) for k in range(3))
    found = interpolation_weights(u, h, 1.0) @ np.polynomial.polynomial.polyval(u, c)
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 2000}, "steps"),
        ({"steps": []}, "steps"),
        ({"steps": [5, 5]}, "decrease"),
        ({"steps": [1000, 0]}, "999"),
        ({"steps": 4, "solver": "dpm"}, "solver"),
        ({"steps": 4, "order": 4}, "order"),
        ({"steps": 4, "eta": 1.5}, "eta"),
        ({"steps": 4, "eta": float("nan")}, "eta"),
        ({"steps": 4, "tau2": -1.0}, "tau2"),
        ({"steps": 4, "solver": "unipc", "tau2": 1.0}, "tau2"),
        ({"steps": 4, "spacing": "cosine"}, "spacing"),
        ({"steps": 4, "sigma_hi": 0.0}, "sigma_hi"),
        ({"steps": 4, "clip": (1.0, -1.0)}, "clip"),
        ({"steps": 2, "spacing": "reference"}, "3 <= steps"),
        ({"steps": 600, "spacing": "reference"}, "repeats"),
    ],
)
def test_impossible_arguments_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        solver_table(BrownianBridge(), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [{"num_timesteps": 1}, {"m_min": 0.0}, {"m_max": 1.0}, {"max_var": 0.0}, {"schedule": "cos"}, {"objective": "v"}],
)
def test_impossible_processes_are_named(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        BrownianBridge(**arguments)


def test_reference_list_follows_float32_rounding():
    assert reference_steps(1000, 200)[:4] == [999, 993, 988, 983]
    exact = {s: [999 * (s - 2 - i) // (s - 2) for i in range(s - 2)] + [1, 0] for s in range(4, 502)}
    assert [s for s in exact if reference_steps(1000, s) != exact[s]] == [155, 261, 372, 409]


def test_lambda_density_is_uniform_in_lambda():
    bridge = BrownianBridge(2000, max_var=float(np.random.default_rng().uniform(0.02, 2.0)))
    density = bridge.lambda_density()
    lam = -np.log(bridge.sigma)
    share = np.interp(np.linspace(lam[0], lam[-1], 6), lam[::-1], np.cumsum(density[::-1]))
    assert density.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.abs(np.diff(share))[1:-1], 0.2, atol=0.03)


def test_equal_arguments_give_one_table():
    process = BrownianBridge(max_var=0.05)
    table = solver_table(process, 6)
    assert solver_table(BrownianBridge(max_var=0.05), 6) is table
    assert solver_table(process, list(table.t)) is solver_table(process, np.array(table.t))
    assert solver_table(process, 6, clip=[-1.0, 1.0]).clip == (-1.0, 1.0)
    for other in (solver_table(BrownianBridge(max_var=0.06), 6), solver_table(process, 6, eta=1.0, order=1)):
        assert not np.array_equal(other.rows, table.rows)
    with pytest.raises(ValueError, match="assignment destination is read-only"):
        table.rows[0, 0] = 1.0
