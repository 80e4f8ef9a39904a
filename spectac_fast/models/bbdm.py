"""BBDM: a Brownian bridge with a network that predicts along it (Li et al., CVPR 2023)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.sampler import sample_bridge
from spectac_fast.diffusion.solvers import solver_table

from .description import Description, describe, reading
from .network_translator import NetworkTranslator
from .networks import build_network


class BBDM(nn.Module):
    """A bridge and its denoiser under the published names: `denoise_fn.*` and the six schedule buffers.

    forward(x [B, C, H, W], t int64 [B], y [B, C', H, W]) -> network output of the shape of x, in the units of the
    bridge's objective. y is the bridge's end, followed by neighbouring slices where the network takes any.
    """

    def __init__(self, bridge: BrownianBridge, network: nn.Module) -> None:
        super().__init__()
        self.bridge = bridge
        self.denoise_fn = network
        for name, buffer in bridge.buffers().items():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.denoise_fn(x, t, context=y)


class BBDMTranslator(NetworkTranslator):
    """A trained pixel-space bridge as a `Translator`.

    defaults: {"steps", "samples", "sample_steps", "solver", "order", "eta"} of `translate`.
    """

    name = "bbdm"

    def __init__(self, model: BBDM, defaults: dict[str, Any], description: Description, device: torch.device) -> None:
        network = model.denoise_fn
        super().__init__(model, description, device, multiple=network.multiple, context_slices=network.context_slices)
        self.defaults = defaults

    def translate(
        self,
        nc: Tensor,
        seeds: Tensor | None = None,
        *,
        neighbours: Tensor | None = None,
        steps: int | list[int] | None = None,
        samples: int | None = None,
        solver: str | None = None,
        order: int | None = None,
        eta: float | None = None,
    ) -> Tensor:
        """NC -> AC (see `Translator.translate`); the mean of `samples` samples of `steps` network evaluations each.

        steps=1 is the regression estimate E[ac | nc] and draws nothing. Without steps and samples the defaults of the
        weights hold; samples alone means samples of the weights' "sample_steps" evaluations.
        """
        count = self.defaults["samples"] if samples is None else samples
        if count < 1:
            raise ValueError(f"samples must be at least 1, found {count}.")
        table = solver_table(
            self.model.bridge,
            steps if steps is not None else self.defaults["steps" if samples is None else "sample_steps"],
            solver=solver or self.defaults["solver"],
            order=order or self.defaults["order"],
            eta=self.defaults["eta"] if eta is None else eta,
        )
        # One evaluation draws nothing: all its samples are the same.
        count = count if table.noise_rows else 1

        def mean_of_samples(condition: Tensor, part_seeds: Tensor) -> Tensor:
            def denoiser(x: Tensor, t: Tensor, end: Tensor) -> Tensor:
                return self.model(x, t, condition)

            image = condition[:, :1].contiguous()
            return sum(sample_bridge(denoiser, image, table, seeds=part_seeds, sample=k) for k in range(count)) / count

        return self.run(mean_of_samples, nc, seeds, neighbours)


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> BBDMTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        config = header["config"]
        model = BBDM(BrownianBridge(**config["bridge"]), build_network(config["network"]))
        defaults = {key: config["defaults"][key] for key in _DEFAULTS}
        description = describe(header, path)
    fill(model.denoise_fn, {name.removeprefix(_PREFIX): value.float() for name, value in tensors.items()}, str(path))
    return BBDMTranslator(model, defaults, description, device)


_DEFAULTS = ("steps", "samples", "sample_steps", "solver", "order", "eta")
_PREFIX = "denoise_fn."
