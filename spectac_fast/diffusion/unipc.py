"""The weights of UniPC's second variant, B(h) = e^h - 1 ("bh2"): Zhao et al., NeurIPS 2023, for the prediction of x0.

With h the step in lambda, r_j = u_j / h for the nodes other than the one the step starts from, and B = e^-h - 1, a
step is that of first order plus (1 - m_t) B sum_j rho_j (d_0 - d_j) / r_j, where rho solves the Vandermonde system of
the r_j. The published code takes 1/2 for rho where only one node is there, in a corrector of order 1 as in a predictor
of order 2: what differs from the exact integral of `interpolation_weights` is of higher order in h, and at the few
large steps of practice it is often the better number.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def bh2_weights(u: NDArray[np.float64], h: float, q: float) -> NDArray[np.float64]:
    """Weights of the predictions at the lambdas u, counted from where the step starts, in a step of length h.

    A predictor's u is 0 and then earlier nodes; a corrector's begins with h, where the step has led, and goes on so. q,
    of `interpolation_weights`, is 1: there is no noise.
    """
    decay = math.expm1(-q * h)
    start = int(u[0] == h)
    others = np.delete(u, start) / h
    # The published order: the earlier nodes, then the new one.
    ratios = np.roll(others, -start)
    rho = np.array([0.5]) if len(ratios) == 1 else _solved(ratios, h, decay)
    shares = np.roll(-decay * rho / ratios, start)
    return np.insert(shares, start, -decay - shares.sum())


def _solved(ratios: NDArray[np.float64], h: float, decay: float) -> NDArray[np.float64]:
    phi, right = decay / -h - 1.0, []
    for i in range(1, len(ratios) + 1):
        right.append(phi * math.factorial(i) / decay)
        phi = phi / -h - 1.0 / math.factorial(i + 1)
    return np.linalg.solve(np.vander(ratios, increasing=True).T, np.array(right))
