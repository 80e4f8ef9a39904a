"""DDPM with the NC slice as a condition (Ho et al., NeurIPS 2020; conditioning by concatenation)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.diffusion.sampler import sample_diffusion
from spectac_fast.diffusion.solvers import StepTable
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.diffusion.vp_solvers import vp_table
from spectac_fast.models.description import Description, describe, reading
from spectac_fast.models.networks.attenuation import Attenuation
from spectac_fast.models.networks.build import build_network, conditioned
from spectac_fast.models.translators.noise import NoiseTranslator
from spectac_fast.models.translators.sampling import clip_of


class DDPM(nn.Module):
    """A predictor of noise or velocity and its process; parameters under `denoise_fn.`.

    forward(x [B, C, H, W], t int64 [B], y [B, C + 2 context, H, W]) -> the prediction, of the shape of x. y is the
    condition, followed by neighbouring slices where the network takes any; the state comes first.
    """

    def __init__(self, process: VPProcess, network: nn.Module) -> None:
        super().__init__()
        self.process = process
        self.denoise_fn = network

    @property
    def context_slices(self) -> int:
        """How many slices before a slice, and as many after it, the network also sees."""
        return conditioned(self.denoise_fn)[1]

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.denoise_fn(x, t, context=y)


class DDPMTranslator(NoiseTranslator):
    """A trained conditional diffusion as a `Translator`.

    defaults: of `translate`, see `sampling_defaults`. clip: bounds of every prediction, or None. A network that was
    trained on colour copies of grey images gets copies, and the mean of its channels is the answer.
    """

    name = "ddpm"

    def __init__(
        self,
        model: nn.Module,
        process: VPProcess,
        defaults: dict[str, Any],
        clip: tuple[float, float] | None,
        description: Description,
        device: torch.device,
    ) -> None:
        network = model.denoise_fn
        self.channels, context = conditioned(network)
        super().__init__(model, description, device, multiple=network.multiple, context_slices=context)
        self.process, self.defaults, self.clip = process, defaults, clip

    def table(self, steps: int | list[int] | None, solver: str | None, eta: float | None) -> StepTable:
        """See `NoiseTranslator.table`; solver: "ancestral" or "ddim" with its eta."""
        return vp_table(
            self.process,
            self.defaults["steps"] if steps is None else steps,
            solver=solver or self.defaults["solver"],
            eta=self.defaults["eta"] if eta is None else eta,
            spacing=self.defaults["spacing"],
            clip=self.clip,
        )

    def draw(self, images: Tensor, seeds: Tensor, table: StepTable, count: int) -> Iterator[Tensor]:
        copies = images[:, :1].expand(-1, self.channels, -1, -1)
        denoiser = self.denoiser(torch.cat([copies, images[:, 1:]], dim=1), table)
        for k in range(count):
            sample = sample_diffusion(denoiser, copies.shape[1:], table, seeds=seeds, sample=k)
            yield sample.mean(dim=1, keepdim=True)

    def denoiser(self, condition: Tensor, table: StepTable) -> Callable[..., Tensor]:
        """The network as a function of state and a timestep of the table, for some slices and their neighbours."""
        return self.engine.prepare(condition, table.t)

    def predicted(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The same in plain torch, with gradients."""
        return self.model(x, t, condition)


def model_of(config: Mapping[str, Any]) -> DDPM:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none."""
    process = VPProcess(**config["process"])

    def line(x: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return context[:, :1], *process.prediction_line(x, process.levels(t))

    return DDPM(process, build_network(config["network"], Attenuation(config["gain"], line)))


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> DDPMTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        config = header["config"]
        model = model_of(config)
        translator = DDPMTranslator(
            model, model.process, sampling_defaults(config), clip_of(config), describe(header, path), device
        )
    fill(model, {name: value.float() for name, value in tensors.items()}, str(path))
    return translator


def sampling_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """The defaults of `translate` in a configuration, and "spacing", where nodes lie (see `vp_table`), by default
    uniform; KeyError for another that is missing.
    """
    given = config["defaults"]
    known = {key: given[key] for key in ("steps", "samples", "solver", "eta")}
    return known | {"spacing": given.get("spacing", "uniform")}
