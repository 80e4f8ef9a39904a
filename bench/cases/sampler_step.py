"""sampler_step: one solver step between two network evaluations."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from bench.speed.case import COPY, Case, Goal
from spectac_fast.ops import sampler_step

SHAPES = ((256, 1, 64, 64), (64, 1, 256, 256))


def published_step(
    x: torch.Tensor, f: torch.Tensor, y: torch.Tensor, m: torch.Tensor, variance: torch.Tensor, t: int, n: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One reverse step as the published BBDM sampler computes it, operation by operation (Li et al., CVPR 2023).

    x, f, y: state, network output and condition [B, C, H, W]; m, variance: schedules [T]; t, n: this and the next step.
    """

    def at(schedule: torch.Tensor, step: int) -> torch.Tensor:
        steps = torch.full((x.shape[0],), step, device=x.device, dtype=torch.long)
        return schedule.gather(-1, steps).reshape(-1, 1, 1, 1)

    x0 = x - f
    m_t, m_n, var_t, var_n = at(m, t), at(m, n), at(variance, t), at(variance, n)
    sigma2 = (var_t - var_n * (1.0 - m_t) ** 2 / (1.0 - m_n) ** 2) * var_n / var_t
    noise = torch.randn_like(x)
    mean = (1.0 - m_n) * x0 + m_n * y + torch.sqrt((var_n - sigma2) / var_t) * (x - (1.0 - m_t) * x0 - m_t * y)
    return mean + torch.sqrt(sigma2) * noise, x0


def cases(device: torch.device) -> Iterator[Case]:
    for shape in SHAPES:
        x, f, y, x_next, x0 = (torch.randn(shape, device=device) for _ in range(5))
        m = torch.linspace(0.001, 0.999, 1000, device=device)
        variance = 2 * (m - m**2)
        m_t, m_n = float(m[500]), float(m[400])
        # The same step in closed form. The published weights of y add up to 0, but y is read on both sides.
        row = torch.zeros(14)
        row[:2] = torch.tensor([1.0, -1.0])
        row[3], row[4], row[8] = m_n / m_t, 1 - m_n / m_t, (2 * m_n * (1 - m_n / m_t)) ** 0.5
        quiet = row.clone()
        quiet[8] = 0
        row, quiet = row.to(device), quiet.to(device)
        seeds = torch.arange(shape[0], device=device)
        tensor = x.numel() * x.element_size()
        size = "x".join(map(str, shape))
        written = {"x_next": x_next, "x0": x0}
        # Bound as defaults: the calls outlive this turn of the loop.
        yield Case(
            op="sampler_step",
            size=size,
            ours=lambda a=(x, f, y, row), k=written | {"seeds": seeds}: sampler_step(*a, **k),
            rivals={"published arithmetic": lambda a=(x, f, y, m, variance): published_step(*a, 500, 400)},
            moved=5 * tensor,
            goals=(Goal("published arithmetic", 12), Goal(COPY, 0.9, threads=None)),
        )
        yield Case(
            op="sampler_step",
            size=f"{size} without noise",
            ours=lambda a=(x, f, y, quiet), k=written: sampler_step(*a, **k),
            rivals={},
            moved=5 * tensor,
            goals=(Goal(COPY, 0.8), Goal(COPY, 0.9, threads=None)),
        )
