"""The published samplers, written out from the papers and their configuration files; noise is given from outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

Net = Callable[[Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]


def bridge(net: Net, p: Mapping[str, Any], y: Tensor, noise: Noise) -> Tensor:
    """BBDM's p_sample_loop without clipping. p: `model.BB.params`. noise: of the i-th step. Returns the last x0."""
    total, s = p["num_timesteps"], p["max_var"]
    m = np.linspace(0.001, 0.999, total)
    if p["mt_type"] == "sin":
        m = 1.0075 ** np.linspace(0, total, total) / 1.0075**total
        m[-1] = 0.999
    variance = 2 * (m - m**2) * s
    steps = list(range(total - 1, -1, -1))
    if p["skip_sample"]:
        stride = -((total - 1) / (p["sample_step"] - 2))
        steps = [*torch.arange(total - 1, 1, step=stride).long().tolist(), 1, 0]
    x = y
    for i, t in enumerate(steps):
        o = net(x, torch.full((len(y),), t))
        x0 = {
            "grad": lambda o=o, x=x: x - o,
            "ysubx": lambda o=o: y - o,
            "noise": lambda o=o, x=x, t=t: (x - m[t] * y - math.sqrt(variance[t]) * o) / (1 - m[t]),
        }[p["objective"]]()
        if t == 0:
            break
        n = steps[i + 1]
        sigma2 = (variance[t] - variance[n] * (1 - m[t]) ** 2 / (1 - m[n]) ** 2) * variance[n] / variance[t]
        kept = math.sqrt((variance[n] - sigma2) / variance[t]) * (x - (1 - m[t]) * x0 - m[t] * y)
        x = (1 - m[n]) * x0 + m[n] * y + kept + p["eta"] * math.sqrt(max(sigma2, 0.0)) * noise(i)
    return x0


def betas(kind: str, total: int, start: float, end: float) -> np.ndarray:
    """Palette's schedules, and under their own names those of latent diffusion."""
    if kind in ("quad", "ldm_linear"):
        return np.linspace(start**0.5, end**0.5, total) ** 2
    if kind == "ldm_sqrt":
        return np.linspace(start, end, total) ** 0.5
    if kind == "const":
        return np.full(total, end)
    if kind.startswith("warmup"):
        rising = int(total * int(kind[6:]) / 100)
        beta = np.full(total, end)
        beta[:rising] = np.linspace(start, end, rising)
        return beta
    if kind.endswith("cosine"):
        alpha = np.cos((np.arange(total + 1) / total + 8e-3) / 1.008 * np.pi / 2) ** 2
        return np.clip(1 - alpha[1:] / alpha[:-1], 0, 0.999)
    return np.linspace(start, end, total)


def palette(net: Net, beta: np.ndarray, start: Tensor, noise: Noise) -> Tensor:
    """Palette's restoration: ancestral, x0 clipped to [-1, 1]. net: of the state and the level."""
    level, x = np.cumprod(1 - beta), start
    for i, t in enumerate(range(len(beta) - 1, -1, -1)):
        a, before = level[t], level[t - 1] if t else 1.0
        eps = net(x, torch.full((len(x),), a, dtype=torch.float32))
        x0 = (math.sqrt(1 / a) * x - math.sqrt(1 / a - 1) * eps).clamp(-1, 1)
        mean = beta[t] * math.sqrt(before) / (1 - a) * x0 + (1 - before) * math.sqrt(1 - beta[t]) / (1 - a) * x
        x = mean if t == 0 else mean + math.sqrt(beta[t] * (1 - before) / (1 - a)) * noise(i)
    return x


def ddim(net: Net, beta: np.ndarray, steps: int, eta: float, start: Tensor, noise: Noise) -> Tensor:
    """Latent diffusion's DDIM on its own list of steps; the last step draws noise as well where eta is not 0."""
    level, x, total = np.cumprod(1 - beta), start, len(beta)
    times = [t + 1 for t in range(0, total, total // steps)]
    for i, k in enumerate(reversed(range(len(times)))):
        a, before = level[times[k]], level[times[k - 1]] if k else level[0]
        eps = net(x, torch.full((len(x),), times[k]))
        sigma = eta * math.sqrt((1 - before) / (1 - a) * (1 - a / before))
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        x = math.sqrt(before) * x0 + math.sqrt(1 - before - sigma**2) * eps
        x = x + sigma * noise(i) if sigma else x
    return x
