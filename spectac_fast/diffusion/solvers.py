"""Every solver of the bridge as a table: one row of 14 float64 numbers per network evaluation (host only, no torch).

With x the state, F the network's output, d its prediction of x0, H1 and H2 the previous predictions, row i means

    d = clip(px x + pF F + py y);  a = kc a + v0 d + v1 H1 + v2 H2 + vy y (corrector rows; otherwise a = x)
    x = ka a + w0 d + w1 H1 + w2 H2 + cy y + wn eps

and the last row returns d. Notation: s is the node a step starts from, t the one it goes to, lambda = -log sigma,
h = lambda_t - lambda_s, c(m) = sqrt(2 max_var m (1 - m)).

Sources: BBDM (Li et al., CVPR 2023), DBIM (Zheng et al., ICLR 2025, eq. 11 and its multistep forms), SDE-DPM-Solver++
(Lu et al. 2022) for tau2 > 0, UniPC (Zhao et al., NeurIPS 2023) for the corrector, in exponential Adams-Moulton form or
with the published weights (unipc.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bridge import BrownianBridge
from .nodes import choose_nodes
from .unipc import bh2_weights

COLUMNS = ("px", "pF", "py", "ka", "w0", "w1", "w2", "cy", "wn", "kc", "v0", "v1", "v2", "vy")
SOLVERS = ("ancestral", "dbim", "unipc", "unipc_bh2", "sde")
_CORRECTED = {"unipc", "unipc_bh2"}
ETA_MODES = ("dbim", "bbdm")
# (lambdas counted from the start of a step, its length, 1 + tau2) -> weights of the predictions there.
Weigh = Callable[[NDArray[np.float64], float, float], NDArray[np.float64]]


@dataclass(frozen=True)
class RowUses:
    """What a row reads, so that nothing is read (or drawn) only to be multiplied by zero.

    corrector: the anchor. noise, condition: noise and y. first_before, second_before: the two previous predictions.
    """

    corrector: bool
    noise: bool
    condition: bool
    first_before: bool
    second_before: bool


@dataclass(frozen=True, eq=False)
class StepTable:
    """A solver for a process and a list of nodes, reduced to numbers.

    t: N timesteps, not increasing. m: N values of m_t (of a diffusion: its level). rows: float64 [N, 14] in the order
    of `COLUMNS`; in the last row only px, pF, py (and the corrector) count. corrector: N flags. boots: whether row 0 is
    a booting row, whose prediction no later row uses. clip: bounds of the predictions, or None. objective: what the
    network must predict. uses: what each row reads; numbers: the rows as plain numbers; both found from the rows.
    """

    t: tuple[int, ...]
    m: tuple[float, ...]
    rows: NDArray[np.float64]
    corrector: tuple[bool, ...]
    boots: bool
    clip: tuple[float, float] | None
    objective: str
    uses: tuple[RowUses, ...] = field(init=False, repr=False)
    numbers: tuple[tuple[float, ...], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # What was made of a table is kept with it: it must stay what it is.
        self.rows.setflags(write=False)
        # Here, because torch.compile and torch.export take an array for a tensor, of values that they do not know.
        object.__setattr__(self, "numbers", tuple(map(tuple, self.rows.tolist())))
        object.__setattr__(self, "uses", tuple(self._uses(i) for i in range(len(self.t))))

    def __reduce__(self) -> tuple[type[StepTable], tuple[Any, ...]]:
        # Made anew, because numpy's copies may be written to.
        return StepTable, tuple(getattr(self, one.name) for one in fields(self) if one.init)

    def _uses(self, i: int) -> RowUses:
        row, last = dict(zip(COLUMNS, self.rows[i].tolist())), i + 1 == len(self.t)
        # The last row returns its prediction; correcting the state behind it would change nothing.
        corrector = bool(self.corrector[i]) and not last
        return RowUses(
            corrector=corrector,
            noise=row["wn"] != 0.0 and not last,
            condition=any(row[name] for name in ("py", "cy") + ("vy",) * corrector),
            first_before=any(row[name] for name in ("w1",) + ("v1",) * corrector),
            second_before=any(row[name] for name in ("w2",) + ("v2",) * corrector),
        )

    def __len__(self) -> int:
        return len(self.t)

    @property
    def noise_rows(self) -> tuple[int, ...]:
        """The rows that draw noise, in order: one entry of a pre-drawn noise buffer each."""
        return tuple(i for i, uses in enumerate(self.uses) if uses.noise)


def solver_table(
    process: BrownianBridge,
    steps: int | Sequence[int],
    solver: str = "dbim",
    order: int = 2,
    eta: float = 0.0,
    eta_mode: str = "dbim",
    tau2: float | None = None,
    spacing: str = "lambda",
    sigma_hi: float = 3.0,
    boot: bool = True,
    clip: tuple[float, float] | None = None,
) -> StepTable:
    """Reduce a solver to its table.

    steps:     number of network evaluations, or the timesteps themselves (decreasing, the first is where x = y).
    solver:    "dbim" (order 1, or eta > 0: DBIM eq. 11; order 2, 3: multistep), "ancestral" (BBDM's sampler),
               "unipc" (multistep with corrector), "unipc_bh2" (the same with the published weights of UniPC-bh2), "sde"
               (multistep with tau2 = 1).
    order:     1, 2 or 3 for all but "ancestral"; the first steps use what history there is. A corrector is of one order
               more than the step it corrects, of 3 at most.
    eta:       noise of "dbim" steps of order 1 and of "ancestral" in eta_mode "bbdm", 0 ... 1.
    eta_mode:  "dbim" keeps the marginals at every eta; "bbdm" scales the ancestral noise by eta and nothing else, as
               the reference code does, which for eta < 1 shrinks the samples' spread.
    tau2:      noise of multistep rows, >= 0: 0 is the ODE, 1 the SDE; None means 1 for "sde" and 0 otherwise. Given for
               "dbim" it asks for multistep rows at any order.
    spacing:   "lambda", "karras", "reference" (the published list) or "strides" (the same, but where there are as many
               steps as timesteps); ignored for a list of steps.
    sigma_hi:  noise level of the first node after the start, for "lambda" and "karras".
    boot:      start with all fresh noise, so that the second evaluation sees the noise it was trained on; False gives
               the reference's first row.
    clip:      (lo, hi) bounds of every prediction, or None.

    Equal arguments give one and the same table, as long as it is among the last ones made. Raises ValueError for
    arguments outside these values.
    """
    steps = steps if isinstance(steps, (int, np.integer)) else tuple(int(t) for t in steps)
    bounds = None if clip is None else tuple(clip)
    return _made(process, steps, solver, order, eta, eta_mode, tau2, spacing, sigma_hi, boot, bounds)


# Typed, because 1 and True, which are equal, are not always both an answer.
@lru_cache(maxsize=256, typed=True)
def _made(
    process: BrownianBridge,
    steps: int | tuple[int, ...],
    solver: str,
    order: int,
    eta: float,
    eta_mode: str,
    tau2: float | None,
    spacing: str,
    sigma_hi: float,
    boot: bool,
    clip: tuple[float, float] | None,
) -> StepTable:
    _check(solver, order, eta, eta_mode, tau2, clip)
    t = choose_nodes(process, steps, spacing, sigma_hi)
    multistep = _is_multistep(solver, order, eta, eta_mode, tau2)
    if multistep and len(set(t)) < len(t):
        raise ValueError(
            f"a multistep solver cannot stand still, but the reference list of {len(t)} steps repeats one."
        )
    m = process.m[np.array(t)]
    rows = np.zeros((len(t), len(COLUMNS)))
    for i, node in enumerate(m):
        rows[i, :3] = prelude(process, float(node), math.sqrt(process.variance[t[i]]))
    # BBDM's own sampler is eta = 1; the eta of its code only scales the noise of that sampler.
    kappa_eta = 1.0 if solver == "ancestral" or eta_mode == "bbdm" else eta
    noise_factor = eta if eta_mode == "bbdm" else 1.0
    noise_rate = tau2 if tau2 is not None else float(solver == "sde")
    lam = -np.log(process.sigma[np.array(t)])
    first = 1 if boot else 0
    corrector = [False] * len(t)
    weigh = bh2_weights if solver == "unipc_bh2" else interpolation_weights
    for i in range(len(t) - 1):
        if i == 0 and boot:
            rows[0, 3:9] = booting_row(process, float(m[1]))
        elif multistep:
            history = min(order, i - first + 1)
            rows[i, 3:9] = multistep_row(
                process, m[i], m[i + 1], lam[i + 1 - history : i + 1][::-1], lam[i + 1], noise_rate, weigh
            )
        elif solver == "ancestral" and process.kept != "float32":
            rows[i, 3:9] = written_out_row(m[i : i + 2], process.variance[np.array(t[i : i + 2])], noise_factor)
        else:
            rows[i, 3:9] = eta_row(process, float(m[i]), float(m[i + 1]), kappa_eta, noise_factor)
    if solver in _CORRECTED:
        for i in range(first + 1, len(t)):
            known = min(order, 2, i - first)
            rows[i, 9:] = corrector_row(process, m[i - 1], m[i], lam[i - known : i][::-1], lam[i], weigh)
            corrector[i] = True
    return StepTable(tuple(t), tuple(m.tolist()), rows, tuple(corrector), boot and len(t) > 1, clip, process.objective)


def _is_multistep(solver: str, order: int, eta: float, eta_mode: str, tau2: float | None) -> bool:
    """Whether the rows interpolate several predictions; the eta family of DBIM is of first order."""
    if solver == "dbim":
        return tau2 is not None or (order > 1 and eta == 0.0 and eta_mode == "dbim")
    return solver == "sde" or solver in _CORRECTED


def prelude(process: BrownianBridge, m: float, std: float) -> tuple[float, float, float]:
    """(px, pF, py) that turn the network's output at m, where the noise has this spread, into its prediction of x0."""
    if process.objective == "noise":
        return 1.0 / (1.0 - m), -std / (1.0 - m), -m / (1.0 - m)
    return {"grad": (1.0, -1.0, 0.0), "ysubx": (0.0, -1.0, 1.0), "x0": (0.0, 1.0, 0.0)}[process.objective]


def booting_row(process: BrownianBridge, m_t: float) -> tuple[float, ...]:
    """(ka, w0, w1, w2, cy, wn) of the step from x = y: the forward process with the prediction in place of x0."""
    return 0.0, 1.0 - m_t, 0.0, 0.0, m_t, _std(process, m_t)


def eta_row(process: BrownianBridge, m_s: float, m_t: float, eta: float, noise_factor: float) -> tuple[float, ...]:
    """(ka, w0, w1, w2, cy, wn) of a first-order step (DBIM eq. 11); the noise is finally multiplied by noise_factor."""
    r = m_t / m_s
    omega = eta * math.sqrt(2.0 * process.max_var * m_t * max(0.0, 1.0 - r))
    # At eta = 1 the coefficient of y vanishes exactly; the general expression would leave rounding there.
    kappa = r if eta == 1.0 else math.sqrt(r * ((1.0 - m_t) - eta * eta * (1.0 - r)) / (1.0 - m_s))
    w0 = 1.0 - r if eta == 1.0 else (1.0 - m_t) - kappa * (1.0 - m_s)
    cy = 0.0 if eta == 1.0 else m_t - kappa * m_s
    return kappa, w0, 0.0, 0.0, cy, noise_factor * omega


def written_out_row(m: NDArray[np.float64], variance: NDArray[np.float64], noise_factor: float) -> tuple[float, ...]:
    """`eta_row` at eta = 1 as BBDM's code has it, from m and delta of both nodes, which need not belong together.

    Where they do, this is eta_row; where a file's schedule was rounded, it is what the published sampler computes.
    """
    (m_s, m_t), (v_s, v_t) = m.tolist(), variance.tolist()
    noise = max(0.0, (v_s - v_t * (1.0 - m_s) ** 2 / (1.0 - m_t) ** 2) * v_t / v_s)
    ka = math.sqrt((v_t - noise) / v_s)
    return ka, 1.0 - m_t - ka * (1.0 - m_s), 0.0, 0.0, m_t - ka * m_s, noise_factor * math.sqrt(noise)


def interpolation_weights(u: NDArray[np.float64], h: float, q: float) -> NDArray[np.float64]:
    """Weights w_j with sum_j w_j p(u_j) = q int_0^h exp(-q (h - v)) p(v) dv for polynomials p of degree < len(u)."""
    moments = [exponential_moment(k, h, q) for k in range(len(u))]
    return np.linalg.solve(np.vander(u / h, increasing=True).T, np.array(moments) / h ** np.arange(len(u)))


def exponential_moment(k: int, h: float, q: float) -> float:
    """q int_0^h exp(-q (h - v)) v^k dv, by recursion, or by its series where the recursion cancels (q h < 0.5)."""
    if q * h < 0.5:
        terms = ((-1.0) ** (i - 1) * (q * h) ** i * math.factorial(k) / math.factorial(k + i) for i in range(1, 20))
        return h**k * math.fsum(terms)
    moment = -math.expm1(-q * h)
    for power in range(1, k + 1):
        moment = h**power - power / q * moment
    return moment


def multistep_row(
    process: BrownianBridge,
    m_s: float,
    m_t: float,
    known: NDArray[np.float64],
    lam_t: float,
    tau2: float,
    weigh: Weigh = interpolation_weights,
) -> tuple[float, ...]:
    """(ka, w0, w1, w2, cy, wn) of a step that weighs the predictions at `known` (lambdas, newest first)."""
    h = float(lam_t - known[0])
    decay = math.exp(-tau2 * h)
    ka = _std(process, m_t) / _std(process, m_s) * decay
    cy = m_t - ka * m_s if tau2 != 1.0 else 0.0
    weights = weigh(known - known[0], h, 1.0 + tau2) * (1.0 - m_t)
    wn = _std(process, m_t) * math.sqrt(-math.expm1(-2.0 * tau2 * h))
    return ka, *np.pad(weights, (0, 3 - len(weights))).tolist(), cy, wn


def corrector_row(
    process: BrownianBridge,
    m_s: float,
    m_t: float,
    known: NDArray[np.float64],
    lam_t: float,
    weigh: Weigh = interpolation_weights,
) -> tuple[float, ...]:
    """(kc, v0, v1, v2, vy): the step s -> t again, with the prediction at t among the interpolated ones."""
    h = float(lam_t - known[0])
    kc = _std(process, m_t) / _std(process, m_s)
    nodes = np.concatenate([[h], known - known[0]])
    weights = weigh(nodes, h, 1.0) * (1.0 - m_t)
    return kc, *np.pad(weights, (0, 3 - len(weights))).tolist(), m_t - kc * m_s


def _std(process: BrownianBridge, m: float) -> float:
    return math.sqrt(2.0 * process.max_var * m * (1.0 - m))


def _check(
    solver: str, order: int, eta: float, eta_mode: str, tau2: float | None, clip: tuple[float, float] | None
) -> None:
    for name, value, allowed in (
        ("solver", solver, SOLVERS),
        ("order", order, (1, 2, 3)),
        ("eta_mode", eta_mode, ETA_MODES),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, found {value!r}.")
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta must be in 0 ... 1, found {eta}.")
    if tau2 is not None and not tau2 >= 0.0:
        raise ValueError(f"tau2 must be at least 0, found {tau2}.")
    if tau2 and (solver == "ancestral" or solver in _CORRECTED or eta > 0.0):
        raise ValueError(f"tau2 = {tau2} is noise of multistep rows and fits neither eta > 0 nor solver {solver!r}.")
    if clip is not None and not clip[0] < clip[1]:
        raise ValueError(f"clip must be (lo, hi) with lo < hi, found {clip}.")
