"""Latent diffusion with the NC slice as a condition (Rombach et al., CVPR 2022, arXiv 2112.10752)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.diffusion.sampler import sample_diffusion
from spectac_fast.diffusion.solvers import COLUMNS, StepTable
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.diffusion.vp_solvers import vp_table
from spectac_fast.models.description import Description, describe, reading
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.build import build_network, check_latent_channels
from spectac_fast.models.networks.rescaler import SpatialRescaler
from spectac_fast.models.translators.noise import NoiseTranslator
from spectac_fast.ops import SAMPLING, counter_normal

# The sampler of the published code: DDIM on a step list of its own.
PUBLISHED = "published"
_DEFAULTS = ("steps", "samples", "solver", "eta")
# A conditioning stage that neither tensors nor anybody told.
_UNSAID = "unsaid"
_NOISE = COLUMNS.index("wn")


class LatentDiffusion(nn.Module):
    """Noise or velocity between latents, by `model.diffusion_model.*`, `first_stage_model.*`, `cond_stage_model.*`.

    cond_stage_model: makes the context from the NC slices and their neighbours; None where the first stage does,
    without neighbours. scale_factor: what the target's latents (not the condition's) are multiplied by; None for one
    that lies among the tensors, as where it was measured (published as scale_by_std).

    forward(z [B, C, h, w], t int64 [B], context [B, C', h, w]) -> the prediction, of z's shape; z comes first.
    The first stage is frozen.
    """

    def __init__(
        self,
        process: VPProcess,
        network: nn.Module,
        first_stage: VQGAN,
        cond_stage_model: nn.Module | None = None,
        scale_factor: float | None = None,
    ) -> None:
        super().__init__()
        self.process = process
        self.model = nn.ModuleDict({"diffusion_model": network})
        self.first_stage_model = first_stage.requires_grad_(False)
        self.cond_stage_model = cond_stage_model
        given = scale_factor is not None
        self.register_buffer("scale_factor", torch.tensor(scale_factor if given else 1.0), persistent=not given)

    @property
    def multiple(self) -> int:
        """What height and width of a slice must be divisible by."""
        return self.first_stage_model.multiple * self.model["diffusion_model"].multiple

    @property
    def context_slices(self) -> int:
        """How many slices before a slice, and as many after it, the conditioning stage also sees."""
        if self.cond_stage_model is None:
            return 0
        return self.cond_stage_model.context_slices(self.first_stage_model.in_channels)

    def forward(self, z: Tensor, t: Tensor, context: Tensor) -> Tensor:
        return self.model["diffusion_model"](z, t, context=context)

    def context(self, images: Tensor) -> Tensor:
        """What the network sees of slices and their neighbours, float32 [B, 1 + 2 context_slices, H, W]."""
        copies = self._as_channels(images[:, :1])
        if self.cond_stage_model is not None:
            return self.cond_stage_model(torch.cat([copies, images[:, 1:]], dim=1))
        return self.first_stage_model.encode(copies)

    @torch.no_grad()
    def encode(self, slices: Tensor) -> Tensor:
        """Latents [B, C, h, w] of target slices [B, 1, H, W], before quantisation."""
        return self.scale_factor * self.first_stage_model.encode(self._as_channels(slices))

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """Slices [B, 1, H, W] of latents, which are quantised first."""
        return self.first_stage_model.decode(z / self.scale_factor).mean(dim=1, keepdim=True)

    def painted(self, z: Tensor) -> Tensor:
        """`decode` without the code book, which has no gradient."""
        return self.first_stage_model.decode_codes(z / self.scale_factor).mean(dim=1, keepdim=True)

    def _as_channels(self, slices: Tensor) -> Tensor:
        return slices.repeat(1, self.first_stage_model.in_channels, 1, 1)


class LDMTranslator(NoiseTranslator):
    """A trained latent diffusion as a `Translator`.

    config: of the weight file; its "defaults" are {"steps", "samples", "solver", "eta"} of `translate`, its "clamp"
    says whether results are cut to [-1, 1], as the published scripts do.
    """

    name = "ldm"

    def __init__(
        self, model: LatentDiffusion, description: Description, device: torch.device, config: Mapping[str, Any]
    ) -> None:
        super().__init__(model, description, device, multiple=model.multiple, context_slices=model.context_slices)
        self.defaults = {key: config["defaults"][key] for key in _DEFAULTS}
        self.clamp = bool(config["clamp"])

    def table(self, steps: int | list[int] | None, solver: str | None, eta: float | None) -> StepTable:
        """See `NoiseTranslator.table`.

        solver: "ddim" with its eta, "ancestral", or "published" for DDIM on the published step list, which holds more
        than `steps` timesteps where they do not divide T.
        """
        solver = solver or self.defaults["solver"]
        return vp_table(
            self.model.process,
            self.defaults["steps"] if steps is None else steps,
            solver="ddim" if solver == PUBLISHED else solver,
            eta=self.defaults["eta"] if eta is None else eta,
            spacing="ldm" if solver == PUBLISHED else "uniform",
        )

    def draw(self, images: Tensor, seeds: Tensor, table: StepTable, count: int) -> Iterator[Tensor]:
        context, shape = self.model.context(images), self.latent_shape(images)
        denoiser = self.engine.prepare(context, table.t)
        for k in range(count):
            z = sample_diffusion(denoiser, shape, table, seeds=seeds, sample=k)
            if spread := float(table.rows[-1, _NOISE]):
                # The published sampler adds noise to what it is about to decode.
                last = counter_normal(seeds, shape, step=len(table) - 1, sample=k, purpose=SAMPLING)
                z = z + spread * last
            yield self._slices(z)

    def latent_shape(self, images: Tensor) -> tuple[int, ...]:
        """(C, h, w) of the latents of images [B, n, H, W]."""
        factor = self.model.first_stage_model.multiple
        return (self.model.model["diffusion_model"].out_channels, *(length // factor for length in images.shape[2:]))

    def _slices(self, z: Tensor) -> Tensor:
        slices = self.model.decode(z)
        return slices.clamp(-1.0, 1.0) if self.clamp else slices


def model_of(config: Mapping[str, Any]) -> LatentDiffusion:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none.

    config["rescaler"], optional config["context_slices"]: see `SpatialRescaler.of`; without a rescaler the first stage
    is the conditioning stage.
    """
    vqgan, network = VQGAN(**config["vqgan"]), build_network(config["network"])
    rescaler, width = SpatialRescaler.of(vqgan.multiple, config), config["vqgan"]["embed_dim"]
    check_latent_channels(network, width, rescaler.out_channels if rescaler else width)
    return LatentDiffusion(
        VPProcess(**config["process"]),
        network,
        vqgan,
        rescaler,
        config.get("scale_factor"),
    )


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> LDMTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        if header["config"]["rescaler"] == _UNSAID:
            raise ValueError("no tensor tells what the condition goes through; set rescaler, null for the first stage")
        translator = LDMTranslator(model_of(header["config"]), describe(header, path), device, header["config"])
    fill(translator.model, {name: value.float() for name, value in tensors.items()}, str(path))
    return translator
