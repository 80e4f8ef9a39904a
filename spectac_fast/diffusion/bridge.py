"""The Brownian bridge between a target x0 (AC) and a condition y (NC): BBDM, Li et al., CVPR 2023 (arXiv 2205.07680).

    x_t = (1 - m_t) x0 + m_t y + sqrt(delta_t) eps,    delta_t = 2 s m_t (1 - m_t),    s = max_var

Subtracting m_t y and dividing by 1 - m_t leaves ordinary diffusion, z = x0 + sigma eps, at the noise level
sigma_t = sqrt(2 s m_t / (1 - m_t)); lambda_t = -log sigma_t is the half log signal-to-noise ratio solvers count in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.ops import bridge_add_noise

SCHEDULES = ("linear", "sin")
OBJECTIVES = ("grad", "noise", "ysubx", "x0")
KEPT = ("float32", "float16")

# 1 - m_{T-1} of the exponential schedule is fixed by the reference so that the variance stays positive.
_SIN_BASE = 1.0075
_SIN_LAST = 0.999


@dataclass(frozen=True)
class BrownianBridge:
    """The process: schedule, forward noising and regression target.

    num_timesteps: T >= 2. m_min, m_max: first and last m of the linear schedule, 0 < m_min < m_max < 1.
    max_var: s > 0; the variance peaks at s/2. schedule: "linear", or "sin" (the reference's name for its exponential
    one, which ignores m_min and m_max). objective: what the network predicts; "grad" is x_t - x0, "noise" eps,
    "ysubx" y - x0, "x0" the target itself. kept: "float32", or "float16" for the schedule of a checkpoint that was
    rounded to half precision: the published sampler reads it from there, and its results move by 1e-4 and more.

    Raises ValueError for values outside these ranges.
    """

    num_timesteps: int = 1000
    m_min: float = 1e-3
    m_max: float = 0.999
    max_var: float = 1.0
    schedule: str = "linear"
    objective: str = "grad"
    kept: str = "float32"

    def __post_init__(self) -> None:
        if self.num_timesteps < 2:
            raise ValueError(f"num_timesteps must be at least 2, found {self.num_timesteps}.")
        if not 0 < self.m_min < self.m_max < 1:
            raise ValueError(f"m_min, m_max must satisfy 0 < m_min < m_max < 1, found {self.m_min}, {self.m_max}.")
        if not self.max_var > 0:
            raise ValueError(f"max_var must be positive, found {self.max_var}.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, found {self.schedule!r}.")
        for name, allowed in (("objective", OBJECTIVES), ("kept", KEPT)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, found {getattr(self, name)!r}.")

    @cached_property
    def m(self) -> NDArray[np.float64]:
        """m_t for t = 0 ... T-1, float64 [T], increasing."""
        return self._rounded(self._exact)

    @cached_property
    def _exact(self) -> NDArray[np.float64]:
        if self.schedule == "linear":
            return np.linspace(self.m_min, self.m_max, self.num_timesteps)
        m = _SIN_BASE ** (np.linspace(0, self.num_timesteps, self.num_timesteps) - self.num_timesteps)
        m[-1] = _SIN_LAST
        return m

    @cached_property
    def variance(self) -> NDArray[np.float64]:
        """delta_t = 2 s m_t (1 - m_t), float64 [T]."""
        return self._rounded(2.0 * self.max_var * self._exact * (1.0 - self._exact))

    def _rounded(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values if self.kept == "float32" else values.astype(np.float32).astype(self.kept).astype(np.float64)

    @cached_property
    def sigma(self) -> NDArray[np.float64]:
        """Noise level sqrt(2 s m_t / (1 - m_t)) of the equivalent plain diffusion, float64 [T], increasing."""
        return np.sqrt(2.0 * self.max_var * self.m / (1.0 - self.m))

    def buffers(self) -> dict[str, Tensor]:
        """The six schedule buffers that every published checkpoint holds, float32 [T], under their names."""
        m = self._exact
        var = 2.0 * self.max_var * m * (1.0 - m)
        m_before = np.append(0.0, m[:-1])
        var_before = np.append(0.0, var[:-1])
        transition = var - var_before * ((1.0 - m) / (1.0 - m_before)) ** 2
        arrays = {
            "m_t": m,
            "m_tminus": m_before,
            "variance_t": var,
            "variance_tminus": var_before,
            "variance_t_tminus": transition,
            "posterior_variance_t": transition * var_before / var,
        }
        return {name: torch.tensor(self._rounded(array), dtype=torch.float32) for name, array in arrays.items()}

    def coefficients(self, t: Tensor, ndim: int = 4) -> tuple[Tensor, Tensor]:
        """m_t and sqrt(delta_t) as float32 [B, 1, ...] with `ndim` axes, for t int64 [B]."""
        shape = (-1,) + (1,) * (ndim - 1)
        m, std = _schedule(self, t.device)[t].unbind(1)
        return m.view(shape), std.view(shape)

    def noised(
        self,
        x0: Tensor,
        y: Tensor,
        t: Tensor,
        *,
        seeds: Tensor | None = None,
        noise: Tensor | None = None,
        step: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """x_t of the forward process and what the network is trained to output for it, float32 of x0's shape.

        x0, y, t, seeds, noise, step: as `ops.bridge_add_noise` takes them, which makes both in one pass. No gradient.
        """
        objective = "grad" if self.objective == "x0" else self.objective
        schedule = _schedule(self, x0.device)
        x_t, target = bridge_add_noise(x0, y, t, schedule, objective=objective, seeds=seeds, noise=noise, step=step)
        return x_t, x0 if self.objective == "x0" else target

    def target(self, x0: Tensor, y: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """What the network is trained to output where the forward process meets this noise; shapes as `noised`."""
        if self.objective == "noise":
            return noise
        if self.objective == "ysubx":
            return y - x0
        if self.objective == "x0":
            return x0
        m, std = self.coefficients(t, x0.dim())
        return m * (y - x0) + std * noise

    def x0_from(self, prediction: Tensor, x_t: Tensor, y: Tensor, t: Tensor) -> Tensor:
        """The estimate of x0 that a network output stands for; same shapes as `noised`."""
        if self.objective == "noise":
            m, std = self.coefficients(t, x_t.dim())
            return (x_t - m * y - std * prediction) / (1.0 - m)
        if self.objective == "ysubx":
            return y - prediction
        if self.objective == "x0":
            return prediction
        return x_t - prediction

    def prediction_line(self, x_t: Tensor, y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, b): the network output a x0 + b that stands for an estimate x0, the inverse of `x0_from`."""
        if self.objective == "noise":
            m, std = self.coefficients(t, x_t.dim())
            return (m - 1.0) / std, (x_t - m * y) / std
        if self.objective == "x0":
            return x_t.new_ones(()), x_t.new_zeros(())
        return x_t.new_full((), -1.0), y if self.objective == "ysubx" else x_t

    def lambda_density(self) -> NDArray[np.float64]:
        """Probability of each t (float64 [T], sum 1) when lambda = -log sigma_t is drawn uniformly.

        Uniform t spends nearly every draw where the noise drowns the image; uniform lambda gives each factor of noise
        the same share, which is where few-step samplers evaluate.
        """
        width = np.abs(np.gradient(np.log(self.sigma)))
        return width / width.sum()


# Kept for good: recorded CUDA graphs read them where they lie, and they are small.
@cache
def _schedule(bridge: BrownianBridge, device: torch.device) -> Tensor:
    """m_t and sqrt(delta_t), float32 [T, 2]."""
    return torch.tensor(np.stack([bridge.m, np.sqrt(bridge.variance)], 1), dtype=torch.float32, device=device)


def reference_steps(num_timesteps: int, steps: int) -> list[int]:
    """The published step list: T-1 downwards in equal strides, then 1 and 0.

    The reference builds it with a float32 `arange`, whose rounding decides some entries; the same call is made here.
    steps: number of network evaluations, 3 ... T. `steps == T` stands for the full list T-1 ... 0.
    """
    if not 3 <= steps <= num_timesteps:
        raise ValueError(f"the reference step list needs 3 <= steps <= {num_timesteps}, found {steps}.")
    if steps == num_timesteps:
        return list(range(num_timesteps - 1, -1, -1))
    return strided_steps(num_timesteps, steps)


def strided_steps(num_timesteps: int, steps: int) -> list[int]:
    """`reference_steps`, but of equal strides where `steps` are all timesteps too: published as skip_sample."""
    if not 3 <= steps <= num_timesteps:
        raise ValueError(f"the reference step list needs 3 <= steps <= {num_timesteps}, found {steps}.")
    stride = -((num_timesteps - 1) / (steps - 2))
    return [*torch.arange(num_timesteps - 1, 1, step=stride).long().tolist(), 1, 0]
