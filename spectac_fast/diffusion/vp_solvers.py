"""Samplers of the variance-preserving process as tables of the same rows that the bridge's solvers use (solvers.py).

With x the state, F the network's output and d the prediction of x0, a row from level a_s to level a_t means

    d = clip(px x + pF F),    x = ka x + w0 d + wn eps

and the last row returns d. Sources: DDPM (Ho et al. 2020, eq. 6, 7), DDIM (Song et al., ICLR 2021, eq. 12, 16),
DPM-Solver++ (Lu et al. 2022, algorithm 2 and its SDE variant, appendix F). The noise direction is taken from the
clipped d, so that a clipped step stays on the process. lambda_t = log(a_t / (1 - a_t)) / 2, h = lambda_t - lambda_s.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .nodes import checked_list, separated
from .solvers import COLUMNS, StepTable
from .vp import VPProcess

VP_SOLVERS = ("ddim", "ancestral", "dpmpp_2m")
VP_SPACINGS = ("uniform", "lambda", "ldm")
VARIANCES = ("small", "large")


def vp_table(
    process: VPProcess,
    steps: int | Sequence[int],
    solver: str = "ddim",
    eta: float = 0.0,
    variance: str = "small",
    spacing: str = "uniform",
    clip: tuple[float, float] | None = None,
) -> StepTable:
    """Reduce a sampler of the process to its table; its first state is pure noise (`sample_diffusion`).

    steps:     number of network evaluations (T gives the full list), or the timesteps themselves, decreasing.
    solver:    "ddim", "ancestral" (DDPM's own sampler, which is DDIM at eta = 1), or "dpmpp_2m" (DPM-Solver++ of order
               2 by midpoints; its first step is DDIM's, for there is no history yet).
    eta:       noise of "ddim" and "dpmpp_2m", 0 (ODE) ... 1 (SDE); "ancestral" ignores it.
    variance:  of "ancestral": "small" (of the posterior; Palette, latent diffusion) or "large" (beta).
    spacing:   "uniform" from T-1 to 0; "lambda", the same in lambda; or "ldm": latent diffusion's list, which holds
               more than `steps` timesteps where `steps` does not divide T, starts below T-1, and returns the state at
               timestep 0 in place of d. The noise of that step stands in its row, where no sampler draws it: whoever
               wants the published samples at eta > 0 adds it. Ignored for a list of steps.
    clip:      (lo, hi) bounds of every prediction, or None.

    Raises ValueError for arguments outside these values.
    """
    _check(solver, eta, variance, spacing, clip)
    counted = isinstance(steps, (int, np.integer))
    t = (
        _nodes(process, int(steps), spacing)
        if isinstance(steps, (int, np.integer))
        else checked_list([int(i) for i in steps], len(process.level) - 1)
    )
    level = [float(process.level[i]) for i in t]
    amount = 1.0 if solver == "ancestral" else eta
    rows = np.zeros((len(t), len(COLUMNS)))
    for i, a in enumerate(level):
        rows[i, :2] = process.estimate_row(a)
        if i + 1 < len(t):
            if solver == "dpmpp_2m":
                rows[i, (3, 4, 5, 8)] = midpoint_row(a, level[i + 1], level[i - 1] if i else None, eta)
            else:
                rows[i, (3, 4, 8)] = eta_row(a, level[i + 1], amount)
            if solver == "ancestral" and variance == "large":
                rows[i, 8] = math.sqrt(1.0 - a / level[i + 1])
    if counted and spacing == "ldm":
        # What the last row returns is its prediction: the step to timestep 0 becomes part of it.
        ka, w0, rows[-1, 8] = eta_row(level[-1], float(process.level[0]), amount)
        rows[-1, :2] = ka + w0 * rows[-1, 0], w0 * rows[-1, 1]
    rows.setflags(write=False)
    return StepTable(tuple(t), tuple(level), rows, (False,) * len(t), False, clip, process.objective)


def eta_row(a_s: float, a_t: float, eta: float) -> tuple[float, float, float]:
    """(ka, w0, wn) of a DDIM step from level a_s to a_t > a_s; eta = 1 is the posterior of DDPM."""
    wn = eta * math.sqrt((1.0 - a_t) / (1.0 - a_s) * (1.0 - a_s / a_t))
    # 1 - a_t - wn^2 as a sum of positive terms: at eta = 1 and tiny a_s the difference is all rounding.
    rest = (1.0 - eta * eta) * (1.0 - a_s) + eta * eta * a_s * (1.0 / a_t - 1.0)
    ka = math.sqrt((1.0 - a_t) * rest) / (1.0 - a_s)
    return ka, math.sqrt(a_t) - ka * math.sqrt(a_s), wn


def midpoint_row(a_s: float, a_t: float, a_u: float | None, eta: float) -> tuple[float, float, float, float]:
    """(ka, w0, w1, wn) of a step of DPM-Solver++(2M) from level a_s to a_t > a_s; a_u is the level before a_s.

    eta = 0 is the ODE, 1 the SDE, which the noise exp(-eta h) interpolates. Without a_u the step is of order 1.
    """
    lam_s, lam_t = half_log_snr(a_s), half_log_snr(a_t)
    h = lam_t - lam_s
    ka = math.sqrt((1.0 - a_t) / (1.0 - a_s)) * math.exp(-eta * h)
    full = -math.sqrt(a_t) * math.expm1(-(1.0 + eta) * h)
    w1 = 0.0 if a_u is None else -0.5 * full * h / (lam_s - half_log_snr(a_u))
    return ka, full - w1, w1, math.sqrt(-(1.0 - a_t) * math.expm1(-2.0 * eta * h))


def half_log_snr(level: float) -> float:
    """lambda of a level a in 0 < a < 1."""
    return 0.5 * (math.log(level) - math.log1p(-level))


def _nodes(process: VPProcess, steps: int, spacing: str) -> list[int]:
    total = process.num_timesteps
    if not 1 <= steps <= total:
        raise ValueError(f"steps must be in 1 ... {total}, found {steps}.")
    if spacing == "lambda":
        lam = np.array([half_log_snr(a) for a in process.level])
        between = np.interp(np.linspace(lam[-1], lam[0], steps), lam[::-1], np.arange(total)[::-1])
        return separated(between, total - 1)
    if spacing == "uniform":
        return np.rint(np.linspace(total - 1, 0, steps)).astype(int).tolist()
    nodes = [i + 1 for i in range(0, total, total // steps)][::-1]
    if nodes[0] >= total:
        raise ValueError(f"the list of latent diffusion has no {steps} steps: it would begin at t = {nodes[0]}.")
    return nodes


def _check(solver: str, eta: float, variance: str, spacing: str, clip: tuple[float, float] | None) -> None:
    for name, value, allowed in (
        ("solver", solver, VP_SOLVERS),
        ("variance", variance, VARIANCES),
        ("spacing", spacing, VP_SPACINGS),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(allowed)}, found {value!r}.")
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta must be in 0 ... 1, found {eta}.")
    if clip is not None and not clip[0] < clip[1]:
        raise ValueError(f"clip must be (lo, hi) with lo < hi, found {clip}.")
    if clip is not None and spacing == "ldm":
        raise ValueError("clip does not go with spacing 'ldm', whose last row returns a state.")
