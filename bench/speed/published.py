"""The published sampler's arithmetic in eager torch: what the engine and the fused steps are measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectac_fast.diffusion.bridge import BrownianBridge, reference_steps


class PublishedSampler:
    """BBDM's sampling loop (Li et al., CVPR 2023, eq. 8-10, eta 1) around a plain network.

    Called with the bridge's end [B, C, H, W] and the context or None, it returns the last prediction. As published,
    coefficients are gathered from buffers for every slice at every step, and a step is some thirty operations.
    steps: 1, or a number that the published step list knows (3 and more).
    """

    def __init__(self, network: nn.Module, process: BrownianBridge, steps: int, device: torch.device) -> None:
        self.network, self.process = network, process
        total = process.num_timesteps
        self.steps = [total - 1] if steps == 1 else reference_steps(total, steps)
        self.m, self.variance = (
            torch.tensor(values, dtype=torch.float32, device=device) for values in (process.m, process.variance)
        )

    @torch.no_grad()
    def __call__(self, y: Tensor, context: Tensor | None) -> Tensor:
        x = y
        for now, after in zip(self.steps, [*self.steps[1:], None]):
            t = torch.full((len(y),), now, dtype=torch.int64, device=y.device)
            x0 = self.process.x0_from(self.network(x, t, context=context), x, y, t)
            if after is None:
                break
            following = torch.full_like(t, after)
            m_t, m_n = self._at(self.m, t), self._at(self.m, following)
            var_t, var_n = self._at(self.variance, t), self._at(self.variance, following)
            sigma2 = (var_t - var_n * (1.0 - m_t) ** 2 / (1.0 - m_n) ** 2) * var_n / var_t
            noise = torch.randn_like(x)
            drift = ((var_n - sigma2) / var_t).sqrt() * (x - (1.0 - m_t) * x0 - m_t * y)
            x = (1.0 - m_n) * x0 + m_n * y + drift + sigma2.sqrt() * noise
        return x0

    def _at(self, values: Tensor, t: Tensor) -> Tensor:
        return values.gather(-1, t).reshape(-1, 1, 1, 1)
