"""bridge_add_noise: the noisy state and the training target of one batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench.speed.case import COPY, Case, Goal
from spectac_fast.ops import bridge_add_noise

SHAPES = ((64, 1, 64, 64), (256, 1, 64, 64), (64, 1, 256, 256))


def published_pair(
    x0: torch.Tensor, y: torch.Tensor, t: torch.Tensor, m: torch.Tensor, variance: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """State and target as published BBDM training computes them, operation by operation (Li et al., CVPR 2023).

    x0, y: [B, C, H, W]; t: [B]; m, variance: schedules [T].
    """
    noise = torch.randn_like(x0)
    m_t = m.gather(-1, t).reshape(-1, 1, 1, 1)
    sigma_t = torch.sqrt(variance.gather(-1, t).reshape(-1, 1, 1, 1))
    target = m_t * (y - x0) + sigma_t * noise
    return (1.0 - m_t) * x0 + m_t * y + sigma_t * noise, target


def cases(device: torch.device) -> Iterator[Case]:
    m = torch.linspace(0.001, 0.999, 1000, device=device)
    variance = 2 * (m - m**2)
    schedule = torch.stack([m, variance.sqrt()], 1)
    for shape in SHAPES:
        x0, y, x_t, target = (torch.randn(shape, device=device) for _ in range(4))
        t = torch.randint(1000, shape[:1], device=device)
        seeds = torch.randint(2**62, shape[:1], device=device)
        # Bound as defaults: the call outlives this turn of the loop.
        yield Case(
            op="bridge_add_noise",
            size="x".join(map(str, shape)),
            ours=lambda a=(x0, y, t, schedule), k={"seeds": seeds, "x_t": x_t, "target": target}: bridge_add_noise(
                *a, **k
            ),
            rivals={"published arithmetic": lambda a=(x0, y, t, m, variance): published_pair(*a)},
            moved=4 * x0.numel() * x0.element_size(),
            goals=(Goal("published arithmetic", 6), Goal(COPY, 0.9, threads=None)),
        )
