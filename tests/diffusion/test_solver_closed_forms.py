"""Every coefficient of the solver tables against the published closed forms, evaluated with 50 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from mpmath import mpf

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.solvers import solver_table

ABSOLUTE = 1e-12


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(50):
        yield


@pytest.fixture(params=["linear", "sin"])
def bridge(request):
    rng = np.random.default_rng()
    total, max_var = int(rng.integers(100, 2000)), float(rng.uniform(0.02, 2.0))
    return BrownianBridge(total, max_var=max_var, schedule=request.param)


class Exact:
    """m, deviation c and lambda of a table's nodes."""

    def __init__(self, bridge, table):
        self.s = mpf(bridge.max_var)
        self.m = [mpf(m) for m in table.m]
        self.c = [mpmath.sqrt(2 * self.s * m * (1 - m)) for m in self.m]
        self.lam = [mpmath.log((1 - m) / (2 * self.s * m)) / 2 for m in self.m]

    def h(self, i):
        return self.lam[i + 1] - self.lam[i]


def largest_difference(found, expected):
    return max(abs(float(a) - b) for a, b in zip(map(float, expected), found))


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_non_markovian_family(bridge, eta):
    """DBIM eq. 11, and the booting row."""
    table = solver_table(bridge, 12, order=1, eta=eta)
    exact = Exact(bridge, table)
    for i in range(len(table) - 1):
        m_s, m_t = exact.m[i], exact.m[i + 1]
        omega = eta * mpmath.sqrt(2 * exact.s * m_t * (1 - m_t / m_s)) if i else exact.c[1]
        kappa = mpmath.sqrt(exact.c[i + 1] ** 2 - omega**2) / exact.c[i]
        expected = (kappa, (1 - m_t) - kappa * (1 - m_s), 0, 0, m_t - kappa * m_s, omega)
        assert largest_difference(table.rows[i, 3:9], expected) < ABSOLUTE


@pytest.mark.parametrize("solver", ["dbim", "sde"])
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("steps", [5, 11, 40])
def test_multistep_rows(bridge, solver, order, steps):
    """The integral of the interpolated prediction: DBIM's forms of orders 2 and 3, and the SDE's of the same orders."""
    table = solver_table(bridge, steps, solver=solver, order=order, tau2=float(solver == "sde"))
    exact, q = Exact(bridge, table), 2 if solver == "sde" else 1
    for i in range(1, len(table) - 1):
        h, b = exact.h(i), 1 - exact.m[i + 1]
        # Integrals of q exp(-q (h - v)) v^k over 0 ... h.
        zeroth = 1 - mpmath.exp(-q * h)
        first = h - zeroth / q
        second = h**2 - 2 * first / q
        w1 = w2 = mpf(0)
        if order > 1 and i == 2:
            w1 = -b * first / exact.h(i - 1)
        if order == 2 and i > 2:
            w1 = -b * first / exact.h(i - 1)
        if order == 3 and i > 2:
            h1, h2 = exact.h(i - 1), exact.h(i - 2)
            w2 = b * (second + h1 * first) / (h2 * (h1 + h2))
            w1 = -b * (second + (h1 + h2) * first) / (h1 * h2)
        ka = exact.c[i + 1] / exact.c[i] * mpmath.exp(-(q - 1) * h)
        noise = exact.c[i + 1] * mpmath.sqrt(1 - mpmath.exp(-2 * (q - 1) * h))
        expected = (ka, b * zeroth - w1 - w2, w1, w2, exact.m[i + 1] - ka * exact.m[i], noise)
        assert largest_difference(table.rows[i, 3:9], expected) < ABSOLUTE


def test_corrector_rows(bridge):
    """Exponential Adams-Moulton weights of two and three nodes."""
    table = solver_table(bridge, 9, solver="unipc")
    exact = Exact(bridge, table)
    assert table.corrector == (False, False) + (True,) * 7
    for i in range(2, 9):
        h, b = exact.h(i - 1), 1 - exact.m[i]
        zeroth = 1 - mpmath.exp(-h)
        first = h - zeroth
        second = h**2 - 2 * first
        kc = exact.c[i] / exact.c[i - 1]
        if i == 2:
            weights = b * first / h, b * (zeroth - first / h), 0
        else:
            h1 = exact.h(i - 2)
            new, old = b * (second + h1 * first) / (h * (h + h1)), b * (second - h * first) / (h1 * (h + h1))
            weights = new, b * zeroth - new - old, old
        expected = (kc, *weights, exact.m[i] - kc * exact.m[i - 1])
        assert largest_difference(table.rows[i, 9:], expected) < ABSOLUTE


@pytest.mark.parametrize("objective", ["grad", "noise", "ysubx", "x0"])
def test_preludes(objective):
    table = solver_table(BrownianBridge(objective=objective), 20)
    for row, m in zip(table.rows, map(mpf, table.m)):
        expected = {
            "grad": (1, -1, 0),
            "noise": (1 / (1 - m), -mpmath.sqrt(2 * m / (1 - m)), -m / (1 - m)),
            "ysubx": (0, -1, 1),
            "x0": (0, 1, 0),
        }[objective]
        assert max(abs(float(e / (abs(e) or 1)) - f / float(abs(e) or 1)) for e, f in zip(expected, row)) < ABSOLUTE
