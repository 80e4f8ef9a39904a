"""Variance-preserving diffusion from an image x0 (AC) to pure noise: DDPM, Ho et al., NeurIPS 2020 (arXiv 2006.11239).

    x_t = sqrt(a_t) x0 + sqrt(1 - a_t) eps,    a_t = (1 - beta_0) ... (1 - beta_t)

The level a_t falls from nearly 1 to nearly 0. The condition does not enter the process, only the network. Palette
(Saharia et al., SIGGRAPH 2022) trains at levels between those of the timesteps and samples with another schedule.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCHEDULES = ("linear", "scaled_linear", "sqrt", "cosine", "warmup10", "warmup50")
OBJECTIVES = ("noise", "velocity")
_SMALLEST_VARIANCE = 1e-20
# Of the cosine schedule: its offset, and the largest beta (Nichol & Dhariwal 2021).
_COSINE_OFFSET, _LARGEST_BETA = 8e-3, 0.999


@dataclass(frozen=True)
class VPProcess:
    """The process: noise schedule, forward noising and what a network's prediction says of x0.

    num_timesteps: T >= 2. schedule: "linear" (beta); "scaled_linear" (square root of beta; latent diffusion calls it
    "linear", Palette "quad"); "sqrt" (square of beta); "cosine" (Nichol, Dhariwal, ICML 2021, arXiv 2102.09672, which
    has no ends to choose); "warmup10" and "warmup50" (Palette's: linear over the first 10 or 50 % of the steps, then
    beta_end). beta_start, beta_end: first and last beta, of "sqrt" their squares, 0 < beta_start <= beta_end < 1.
    objective: what the network predicts, "noise" (eps) or "velocity" (sqrt(a) eps - sqrt(1 - a) x0; Salimans, Ho, ICLR
    2022, arXiv 2202.00512), from which x0 is not found by dividing through sqrt(a): near pure noise that division makes
    much of little errors.

    Raises ValueError for values outside these ranges.
    """

    num_timesteps: int = 1000
    schedule: str = "linear"
    beta_start: float = 1e-4
    beta_end: float = 2e-2
    objective: str = "noise"

    def __post_init__(self) -> None:
        if self.num_timesteps < 2:
            raise ValueError(f"num_timesteps must be at least 2, found {self.num_timesteps}.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, found {self.schedule!r}.")
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}, found {self.objective!r}.")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                f"beta_start, beta_end must satisfy 0 < beta_start <= beta_end < 1, "
                f"found {self.beta_start}, {self.beta_end}."
            )

    @cached_property
    def beta(self) -> NDArray[np.float64]:
        """beta_t for t = 0 ... T-1, float64 [T], never falling."""
        start, end, steps = self.beta_start, self.beta_end, self.num_timesteps
        if self.schedule == "scaled_linear":
            return np.linspace(start**0.5, end**0.5, steps) ** 2
        if self.schedule == "sqrt":
            return np.linspace(start, end, steps) ** 0.5
        if self.schedule == "cosine":
            angle = (np.arange(steps + 1) / steps + _COSINE_OFFSET) / (1.0 + _COSINE_OFFSET) * np.pi / 2.0
            level = np.cos(angle) ** 2
            return np.clip(1.0 - level[1:] / level[:-1], 0.0, _LARGEST_BETA)
        if self.schedule == "linear":
            return np.linspace(start, end, steps)
        rising = int(steps * int(self.schedule.removeprefix("warmup")) / 100)
        return np.append(np.linspace(start, end, rising), np.full(steps - rising, end))

    @cached_property
    def level(self) -> NDArray[np.float64]:
        """a_t (alpha-bar, Palette's gamma), float64 [T], decreasing."""
        return np.cumprod(1.0 - self.beta, dtype=np.float64)

    def levels(self, t: Tensor) -> Tensor:
        """a_t as float32 [B], for t int64 [B]."""
        return torch.as_tensor(self.level, dtype=torch.float32).to(t.device)[t]

    def levels_between(self, t: Tensor, share: Tensor) -> Tensor:
        """Palette's training levels: float32 [B], at `share` (float32 [B] in [0, 1)) of the way from a_{t-1} to a_t.

        t: int64 [B] in 1 ... T-1.
        """
        before, after = self.levels(t - 1), self.levels(t)
        return before + (after - before) * share

    @staticmethod
    def add_noise(x0: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """x_t of the forward process. x0, noise: float32 of one shape [B, ...]; level: float32 [B]."""
        level = level.view(-1, *(1,) * (x0.dim() - 1))
        return level.sqrt() * x0 + (1.0 - level).sqrt() * noise

    def target(self, x0: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """What the network must predict for an image and the noise in it; same shapes as `add_noise`."""
        if self.objective == "noise":
            return noise
        level = level.view(-1, *(1,) * (x0.dim() - 1))
        return level.sqrt() * noise - (1.0 - level).sqrt() * x0

    def x0_from(self, prediction: Tensor, x_t: Tensor, level: Tensor) -> Tensor:
        """The estimate of x0 that a prediction stands for; same shapes as `add_noise`."""
        level = level.view(-1, *(1,) * (x_t.dim() - 1))
        if self.objective == "noise":
            return (x_t - (1.0 - level).sqrt() * prediction) / level.sqrt()
        return level.sqrt() * x_t - (1.0 - level).sqrt() * prediction

    def estimate_row(self, level: float) -> tuple[float, float]:
        """(px, pF): `x0_from` as the sum of px times the state and pF times the prediction."""
        if self.objective == "noise":
            return 1.0 / math.sqrt(level), -math.sqrt(1.0 / level - 1.0)
        return math.sqrt(level), -math.sqrt(1.0 - level)

    def prediction_line(self, x_t: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b): the prediction a x0 + b that stands for an estimate x0, the inverse of `x0_from`."""
        level = level.view(-1, *(1,) * (x_t.dim() - 1))
        std = (1.0 - level).sqrt()
        if self.objective == "noise":
            return -level.sqrt() / std, x_t / std
        return -1.0 / std, level.sqrt() * x_t / std

    def buffers(self) -> dict[str, Tensor]:
        """The schedule buffers that Palette's checkpoints hold, float32 [T], under their names."""
        level, beta = self.level, self.beta
        before = np.append(1.0, level[:-1])
        variance = beta * (1.0 - before) / (1.0 - level)
        arrays = {
            "gammas": level,
            "sqrt_recip_gammas": np.sqrt(1.0 / level),
            "sqrt_recipm1_gammas": np.sqrt(1.0 / level - 1.0),
            "posterior_log_variance_clipped": np.log(np.maximum(variance, _SMALLEST_VARIANCE)),
            "posterior_mean_coef1": beta * np.sqrt(before) / (1.0 - level),
            "posterior_mean_coef2": (1.0 - before) * np.sqrt(1.0 - beta) / (1.0 - level),
        }
        return {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}


DDPM_PROCESS = VPProcess(1000, "linear", 1e-4, 2e-2)
LDM_PROCESS = VPProcess(1000, "scaled_linear", 1.5e-3, 2.05e-2)
PALETTE_TRAINING = VPProcess(2000, "linear", 1e-6, 1e-2)
PALETTE_SAMPLING = VPProcess(1000, "linear", 1e-4, 9e-2)
