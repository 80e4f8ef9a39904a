"""The bridge as plain diffusion, for samplers written for k-diffusion: (z, sigma) -> prediction of x0.

    z = (x - m y) / (1 - m) = x0 + sigma eps,    sigma = sqrt(2 s m / (1 - m)),    m = sigma^2 / (2 s + sigma^2)

(Karras et al., NeurIPS 2022, call such a function D(x; sigma).) Euler's method in sigma is DBIM of order 1 at eta = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .bridge import BrownianBridge
from .nodes import choose_nodes


class KDiffusionBridge:
    """A bridge's network as a denoiser of plain diffusion, for a batch of conditions.

    denoiser: (x, t, y) -> the network's output in the process's objective; x float32 [B, C, H, W], t int64 [B]. What
    samplers are given as `extra_args` goes to it by name.
    y: float32 [B, C, H, W], the condition.
    quantize: whether the network is told the timestep whose noise is nearest (in log sigma), int64; False tells it the
    level itself as float32 [B], between timesteps too, for networks that embed t as a number.

        view = KDiffusionBridge(network, process, y)
        sigmas = view.sigmas(6)
        z = view.start(sigmas[0], torch.randn_like(y))
        ac = k_diffusion.sampling.sample_dpmpp_2m(view, z, sigmas)
    """

    def __init__(
        self, denoiser: Callable[..., Tensor], process: BrownianBridge, y: Tensor, *, quantize: bool = True
    ) -> None:
        self.denoiser, self.process, self.y, self.quantize = denoiser, process, y, quantize
        self._log_sigma = torch.log(torch.from_numpy(process.sigma)).to(y.device)

    @property
    def sigma_min(self) -> float:
        """The lowest level that the network was trained on."""
        return float(self.process.sigma[0])

    @property
    def sigma_max(self) -> float:
        """The highest level, that of the bridge's end."""
        return float(self.process.sigma[-1])

    def __call__(self, z: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        """The prediction of x0 at state z [B, C, H, W] and noise level sigma > 0, float32 [B] or a scalar.

        The state is the one that belongs to sigma whatever the network is told; they agree at the levels that `sigmas`
        gives. extra_args: for the denoiser.
        """
        level = sigma.to(self._log_sigma).expand(len(z))
        t = self.sigma_to_t(level)
        shape = (-1, *(1,) * (z.dim() - 1))
        total = 2.0 * self.process.max_var + level**2
        m = (level**2 / total).float().view(shape)
        # 1 - m would cancel where the noise is large.
        rest = (2.0 * self.process.max_var / total).float().view(shape)
        x = rest * z + m * self.y
        prediction = self.denoiser(x, t, self.y, **extra_args)
        objective = self.process.objective
        if objective == "x0":
            return prediction
        if objective == "noise":
            return z - level.float().view(shape) * prediction
        return (x if objective == "grad" else self.y) - prediction

    def sigmas(self, steps: int, spacing: str = "lambda", sigma_hi: float = 3.0) -> Tensor:
        """Levels of a schedule of `steps` evaluations of which `start` makes the first: float32 [steps], then 0.

        steps: 2 ... T. spacing, sigma_hi: as in `solver_table`. The first level is where `start` goes to.
        """
        if steps < 2:
            raise ValueError(f"steps must be at least 2, one to start with and one to go on, found {steps}.")
        nodes = choose_nodes(self.process, steps, spacing, sigma_hi)[1:]
        levels = [*self.process.sigma[nodes].tolist(), 0.0]
        return torch.tensor(levels, dtype=torch.float32, device=self.y.device)

    def start(self, sigma: Tensor, noise: Tensor, **extra_args: Any) -> Tensor:
        """The state z at level sigma (scalar) from the bridge's end, where x = y: one evaluation, then fresh noise.

        noise: standard normal, float32 of y's shape. extra_args: for the denoiser.
        """
        last = self.process.num_timesteps - 1
        level = torch.tensor(self.process.sigma[last], dtype=torch.float32, device=self.y.device)
        # At x = y the state z is y itself, whatever m is.
        return self(self.y, level, **extra_args) + sigma * noise

    def sigma_to_t(self, sigma: Tensor) -> Tensor:
        """The timestep of each level: int64, or with `quantize=False` float32, held within the schedule's ends."""
        wanted = torch.log(sigma.to(self._log_sigma))
        after = torch.searchsorted(self._log_sigma, wanted).clamp(1, len(self._log_sigma) - 1)
        below, above = self._log_sigma[after - 1], self._log_sigma[after]
        if self.quantize:
            return after - (wanted - below < above - wanted).long()
        return (after - 1 + ((wanted - below) / (above - below)).clamp(0, 1)).float()
