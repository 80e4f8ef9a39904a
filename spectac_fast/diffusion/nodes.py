"""Where a solver evaluates the network: lists of integer timesteps, decreasing from T-1."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .bridge import BrownianBridge, reference_steps, strided_steps

SPACINGS = ("lambda", "karras", "reference", "strides")
_KARRAS_RHO = 7.0
# With so few evaluations a geometric grid wastes its first node; these levels were found on Gaussian image fields.
_SECOND_OF_TWO = 0.5
_SECOND_OF_THREE, _THIRD_OF_THREE = 1.2, 0.15


def choose_nodes(process: BrownianBridge, steps: int | Sequence[int], spacing: str, sigma_hi: float) -> list[int]:
    """The timesteps of a solver; ValueError for a number or a list that is not possible.

    steps: their number N >= 1, or the list itself. sigma_hi > 0: noise level of the second node.
    """
    last = process.num_timesteps - 1
    if not isinstance(steps, (int, np.integer)):
        return checked_list([int(t) for t in steps], last)
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {', '.join(SPACINGS)}, found {spacing!r}.")
    if not 1 <= steps <= process.num_timesteps:
        raise ValueError(f"steps must be in 1 ... {process.num_timesteps}, found {steps}.")
    if spacing == "reference":
        return reference_steps(process.num_timesteps, int(steps))
    if spacing == "strides":
        return strided_steps(process.num_timesteps, int(steps))
    if not sigma_hi > 0:
        raise ValueError(f"sigma_hi must be positive, found {sigma_hi}.")
    if steps == 1:
        return [last]
    return [last, *_timesteps(process, _levels(float(process.sigma[0]), int(steps) - 1, spacing, sigma_hi))]


def _levels(sigma_lo: float, count: int, spacing: str, sigma_hi: float) -> NDArray[np.float64]:
    """Noise levels of the nodes after the start."""
    if spacing == "karras":
        ramp = np.linspace(0.0, 1.0, count) if count > 1 else np.zeros(1)
        hi, lo = sigma_hi ** (1 / _KARRAS_RHO), sigma_lo ** (1 / _KARRAS_RHO)
        return (hi + ramp * (lo - hi)) ** _KARRAS_RHO
    if count == 1:
        return np.array([min(sigma_hi, _SECOND_OF_TWO)])
    if count == 2:
        return np.array([min(sigma_hi, _SECOND_OF_THREE), _THIRD_OF_THREE])
    return np.geomspace(sigma_hi, sigma_lo, count)


def _timesteps(process: BrownianBridge, sigmas: NDArray[np.float64]) -> list[int]:
    """Distinct timesteps in 0 ... T-2 near some decreasing noise levels."""
    m = sigmas**2 / (2.0 * process.max_var + sigmas**2)
    return separated(np.interp(m, process.m, np.arange(process.num_timesteps)), process.num_timesteps - 2)


def separated(positions: NDArray[np.float64], last: int) -> list[int]:
    """The timesteps nearest to decreasing positions, made strictly decreasing and kept in 0 ... last.

    There are at most last + 1 positions.
    """
    nodes = np.clip(np.rint(positions), 0, last).astype(int).tolist()
    for i in range(len(nodes)):
        if i:
            nodes[i] = min(nodes[i], nodes[i - 1] - 1)
        nodes[i] = max(nodes[i], len(nodes) - 1 - i)
    return nodes


def checked_list(steps: list[int], last: int) -> list[int]:
    """The list itself; ValueError unless it decreases within 0 ... last."""
    if not steps:
        raise ValueError("the list of steps must hold at least one timestep, found none.")
    if max(steps) > last or min(steps) < 0:
        raise ValueError(f"every step must be in 0 ... {last}, found {steps}.")
    if any(a <= b for a, b in pairwise(steps)):
        raise ValueError(f"the steps must decrease, found {steps}.")
    return steps
