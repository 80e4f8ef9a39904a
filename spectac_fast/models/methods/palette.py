"""Palette: conditional diffusion that knows the noise level (Saharia et al., SIGGRAPH 2022, arXiv 2111.05826)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.diffusion.solvers import StepTable
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.models.description import describe, reading
from spectac_fast.models.methods.ddpm import DDPMTranslator, sampling_defaults
from spectac_fast.models.networks.attenuation import Attenuation
from spectac_fast.models.networks.build import build_network, conditioned
from spectac_fast.models.translators.sampling import clip_of


class Palette(nn.Module):
    """A predictor of noise or velocity (`VPProcess`) under the published names, `denoise_fn.*`.

    forward(x [B, C, H, W], level float32 [B], y [B, C + 2 context, H, W]) -> the prediction, of the shape of x.
    level: a_t of the process (the published gamma). The condition comes first, then the state, then neighbours.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.denoise_fn = network

    @property
    def context_slices(self) -> int:
        """How many slices before a slice, and as many after it, the network also sees."""
        return conditioned(self.denoise_fn)[1]

    def forward(self, x: Tensor, level: Tensor, y: Tensor) -> Tensor:
        own, beside = y.tensor_split([x.shape[1]], dim=1)
        return self.denoise_fn(own, level, context=torch.cat([x, beside], dim=1))


class PaletteTranslator(DDPMTranslator):
    """A trained Palette as a `Translator`; it samples with a schedule of its own, not with the one of its training."""

    name = "palette"

    def denoiser(self, condition: Tensor, table: StepTable) -> Callable[[Tensor, Tensor], Tensor]:
        levels = self.process.levels(torch.arange(self.process.num_timesteps, device=condition.device))
        own, beside = condition.tensor_split([self.channels], dim=1)
        return lambda x, t: self.engine(own, levels[t], torch.cat([x, beside], dim=1))

    def predicted(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.model(x, self.process.levels(t), condition)


def model_of(config: Mapping[str, Any]) -> Palette:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none."""
    process = VPProcess(**config["training"])

    def line(own: Tensor, level: Tensor, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # The condition comes first here, and the state leads what is concatenated to it.
        return own, *process.prediction_line(rest[:, :1], level)

    return Palette(build_network(config["network"], Attenuation(config.get("gain", 1.0), line)))


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> PaletteTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        config = header["config"]
        model = model_of(config)
        training, sampling = VPProcess(**config["training"]), VPProcess(**config["sampling"])
        if training.objective != sampling.objective:
            raise ValueError(
                f"expected one objective, found {training.objective} in training, {sampling.objective} in sampling"
            )
        translator = PaletteTranslator(
            model,
            sampling,
            sampling_defaults(config),
            clip_of(config),
            describe(header, path),
            device,
        )
    fill(model, {name: value.float() for name, value in tensors.items()}, str(path))
    return translator
