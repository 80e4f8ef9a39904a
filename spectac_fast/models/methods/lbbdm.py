"""Latent BBDM: the Brownian bridge between the latents of a frozen VQGAN (Li et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.names import STATISTICS
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.models.engine.first_stage import run_stage
from spectac_fast.models.methods.bbdm import BBDM
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.build import build_network, check_latent_channels
from spectac_fast.models.networks.rescaler import SpatialRescaler
from spectac_fast.models.translators.bridge import BridgeTranslator, load_bridge

# Statistics of the training set's latents, under the names the published checkpoints keep them by: "ori" of the target,
# "cond" of the condition.


class LatentBBDM(BBDM):
    """A bridge between latents; `denoise_fn.*`, `vqgan.*`, the six schedule buffers, `cond_stage_model.*`.

    cond_stage_model: makes the context from the NC slices and their neighbours; None for a network without context.
    before_quant_conv: the bridge runs between the encoder's outputs rather than those of the convolution behind it.
    normalised: latents are brought to zero mean and unit spread per channel, target and condition each by their own
    `STATISTICS`, float32 [1, C, 1, 1].

    The first stage is frozen: training changes the network and the conditioning stage.
    """

    def __init__(
        self,
        bridge: BrownianBridge,
        network: nn.Module,
        vqgan: VQGAN,
        cond_stage_model: nn.Module | None = None,
        before_quant_conv: bool = False,
        normalised: bool = False,
    ) -> None:
        super().__init__(bridge, network)
        self.vqgan = vqgan.requires_grad_(False)
        self.cond_stage_model = cond_stage_model
        self.before_quant_conv = before_quant_conv
        self.normalised = normalised
        if normalised:
            for name in STATISTICS:
                value = torch.zeros if name.endswith("mean") else torch.ones
                self.register_buffer(name, value(1, network.out_channels, 1, 1))

    @property
    def multiple(self) -> int:
        return self.vqgan.multiple * self.denoise_fn.multiple

    @property
    def context_slices(self) -> int:
        if self.cond_stage_model is None:
            return 0
        return self.cond_stage_model.context_slices(self.vqgan.in_channels)

    def encode(self, images: Tensor, condition: bool = False) -> Tensor:
        """Latents [B, C, h, w] of images [B, channels of the VQGAN, H, W]; `condition` chooses whose statistics."""
        h = run_stage(self.vqgan.encoder, images) if self.before_quant_conv else self.vqgan.encode(images)
        if not self.normalised:
            return h
        mean, std = self._statistics("cond" if condition else "ori")
        return (h - mean) / std

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images of target latents, which are quantised first."""
        return self.vqgan.decode(self.before_codebook(latents))

    def before_codebook(self, latents: Tensor) -> Tensor:
        """Target latents [B, C, h, w] as the codebook knows them, [B, embed_dim, h, w]."""
        if self.normalised:
            mean, std = self._statistics("ori")
            latents = latents * std + mean
        return self.vqgan.quant_conv(latents) if self.before_quant_conv else latents

    def start(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(latent of the slices, context) of slices and their neighbours, float32 [B, 1 + 2 context_slices, H, W]."""
        copies = self.as_channels(images[:, :1])
        latent = self.encode(copies, condition=True)
        if self.cond_stage_model is None:
            return latent, None
        return latent, self.cond_stage_model(torch.cat([copies, images[:, 1:]], dim=1))

    def finish(self, x0: Tensor) -> Tensor:
        return self.decode(x0).mean(dim=1, keepdim=True)

    def painted(self, x0: Tensor) -> Tensor:
        """`finish` without the code book, which has no gradient: the decoder paints the latents themselves."""
        return self.vqgan.decode_codes(self.before_codebook(x0)).mean(dim=1, keepdim=True)

    def round_trip(self, slices: Tensor) -> Tensor:
        """What the first stage leaves of slices [B, 1, H, W]: the error no bridge between its latents can undo."""
        return self.finish(self.encode(self.as_channels(slices)))

    def as_channels(self, slices: Tensor) -> Tensor:
        """Slices [B, 1, H, W] repeated in every channel the first stage takes."""
        return slices.repeat(1, self.vqgan.in_channels, 1, 1)

    def _statistics(self, whose: str) -> tuple[Tensor, Tensor]:
        return getattr(self, f"{whose}_latent_mean"), getattr(self, f"{whose}_latent_std")


class LatentBBDMTranslator(BridgeTranslator):
    """A trained bridge between latents as a `Translator`."""

    name = "lbbdm"


def model_of(config: Mapping[str, Any]) -> LatentBBDM:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none.

    config["rescaler"], optional config["context_slices"]: see `SpatialRescaler.of`.
    """
    vqgan, network = VQGAN(**config["vqgan"]), build_network(config["network"])
    rescaler, before = SpatialRescaler.of(vqgan.multiple, config), bool(config["before_quant_conv"])
    check_latent_channels(
        network, config["vqgan"]["z_channels" if before else "embed_dim"], rescaler.out_channels if rescaler else 0
    )
    return LatentBBDM(
        BrownianBridge(**config["bridge"]),
        network,
        vqgan,
        rescaler,
        before_quant_conv=before,
        normalised=bool(config["normalised"]),
    )


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> LatentBBDMTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    return load_bridge(LatentBBDMTranslator, model_of, tensors, header, path, device)
