"""BBDM: a Brownian bridge with a network that predicts along it (Li et al., CVPR 2023), in pixel space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.models.networks.attenuation import Attenuation
from spectac_fast.models.networks.build import build_network, conditioned, facts_of_network
from spectac_fast.models.translators.bridge import BridgeTranslator, load_bridge


class BBDM(nn.Module):
    """A bridge and its denoiser under the published names: `denoise_fn.*` and the six schedule buffers.

    forward(x [B, C, H, W], t int64 [B], context [B, C', H, W] or None) -> network output of the shape of x, in the
    units of the bridge's objective. The context is what `start` returns: the bridge's end, followed by neighbouring
    slices where the network takes any; None for a network that sees nothing but x (published as "nocond").
    """

    def __init__(self, bridge: BrownianBridge, network: nn.Module) -> None:
        super().__init__()
        self.bridge = bridge
        self.denoise_fn = network
        for name, buffer in bridge.buffers().items():
            self.register_buffer(name, buffer)

    @property
    def multiple(self) -> int:
        """What height and width of a slice must be divisible by."""
        return self.denoise_fn.multiple

    @property
    def context_slices(self) -> int:
        """How many slices before a slice, and as many after it, the network also sees."""
        return conditioned(self.denoise_fn)[1] if self.conditioned else 0

    @property
    def facts(self) -> tuple[str, ...]:
        """Names of the facts that the network also takes."""
        return facts_of_network(self.denoise_fn)

    @property
    def conditioned(self) -> bool:
        """Whether the network takes more than the state."""
        return self.denoise_fn.in_channels != self.denoise_fn.out_channels

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        return self.denoise_fn(x, t, context=context)

    def start(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """(end of the bridge, context) of slices, their neighbours, and facts as even images, float32
        [B, 1 + 2 context_slices + facts, H, W]; without the latter nothing is known.

        A network of several channels gets the slice in each of them: the published data loader makes every image RGB.
        """
        end = images[:, :1].repeat(1, self.denoise_fn.out_channels, 1, 1)
        return end, (torch.cat([end, images[:, 1:]], dim=1) if self.conditioned else None)

    def finish(self, x0: Tensor) -> Tensor:
        """The slices [B, 1, H, W] that samples x0 stand for."""
        return x0.mean(dim=1, keepdim=True)

    def painted(self, x0: Tensor) -> Tensor:
        """`finish` as far as it has a gradient."""
        return self.finish(x0)


class BBDMTranslator(BridgeTranslator):
    """A trained bridge in pixel space as a `Translator`."""

    name = "bbdm"


def model_of(config: Mapping[str, Any]) -> BBDM:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none."""
    bridge = BrownianBridge(**config["bridge"])

    def line(x: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return context[:, :1], *bridge.prediction_line(x, context[:, :1], t)

    model = BBDM(bridge, build_network(config["network"], Attenuation(config.get("gain", 1.0), line)))
    if config["network"].get("attenuation_paths") and not model.conditioned:
        raise ValueError("attenuation_paths needs a network that takes NC beside the state, found one of 1 channel.")
    return model


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> BBDMTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    return load_bridge(BBDMTranslator, model_of, tensors, header, path, device)
