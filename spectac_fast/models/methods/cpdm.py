"""CPDM: a latent bridge guided by an attention and an attenuation map (Nguyen et al., WACV 2025, arXiv 2410.21932)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.models.engine.batches import in_batches
from spectac_fast.models.engine.fit import NO_COUNTS
from spectac_fast.models.methods.lbbdm import LatentBBDM
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.build import build_network, check_latent_channels
from spectac_fast.models.networks.rescaler import SpatialRescaler
from spectac_fast.models.translator import check_slices, with_neighbours
from spectac_fast.models.translators.bridge import BridgeTranslator, load_bridge
from spectac_fast.reconstruct.maps import BODY_MU, attention_from_nc, contour_from_nc, path_transmission

ATTENTION_SOURCES = ("nc", "ones", "network")
ATTENUATION_SOURCES = ("contour", "ones", "network")
ATTENUATION_KINDS = ("pointwise", "path")


class CPDM(LatentBBDM):
    """The latent bridge whose network also sees two maps, each through its own `SpatialRescaler`.

    cond_stage_model: of the attention map and, where there are any, the neighbouring slices, as its further channels.
    cond_stage_model_1: of the attenuation map. map_fn: network (t = 0) from
    NC slices [B, 1, H, W] to [B, 2, H, W], a logit of attention and mu before its softplus; None where no map is
    predicted.
    """

    def __init__(
        self,
        bridge: BrownianBridge,
        network: nn.Module,
        vqgan: VQGAN,
        channels: int,
        map_network: nn.Module | None = None,
        before_quant_conv: bool = False,
        normalised: bool = False,
        context_slices: int = 0,
    ) -> None:
        attention = SpatialRescaler(vqgan.multiple, 1 + 2 * context_slices, channels)
        super().__init__(bridge, network, vqgan, attention, before_quant_conv, normalised)
        self.cond_stage_model_1 = SpatialRescaler(vqgan.multiple, 1, channels)
        self.map_fn = map_network

    @property
    def context_slices(self) -> int:
        assert self.cond_stage_model is not None
        return self.cond_stage_model.context_slices(1)

    def start(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(latent of the slices, context) of NC, attention, attenuation and neighbours, [B, 3 + 2 context, H, W].

        The published first stage gets the condition in [0, 1], though it was trained on [-1, 1].
        """
        latent = self.encode(self.as_channels(0.5 * (images[:, :1] + 1.0)), condition=True)
        return latent, self.context(*images[:, 1:].tensor_split((1, 2), dim=1))

    def context(self, attention: Tensor, attenuation: Tensor, beside: Tensor | None = None) -> Tensor:
        """What the network sees of the two maps, attention first, and of neighbours [B, 2 context, H, W]."""
        seen = attention if beside is None else torch.cat([attention, beside], dim=1)
        assert self.cond_stage_model is not None
        return torch.cat([self.cond_stage_model(seen), self.cond_stage_model_1(attenuation)], dim=1)

    def predicted(self, nc: Tensor) -> tuple[Tensor, Tensor]:
        """(attention {0, 1}, mu in 1/cm) that `map_fn` reads from slices of any size, each [B, 1, H, W]."""
        height, width = nc.shape[-2:]
        assert self.map_fn is not None
        multiple = self.map_fn.multiple
        padded = F.pad(nc, (0, -width % multiple, 0, -height % multiple), value=NO_COUNTS)
        logit, mu = self.map_fn(padded, nc.new_zeros(len(nc), dtype=torch.int64))[..., :height, :width].split(1, dim=1)
        return (logit > 0.0).to(nc.dtype), F.softplus(mu)


class CPDMTranslator(BridgeTranslator):
    """A trained CPDM as a `Translator`, with or without CT.

    maps: where the maps come from unless `translate` is given them: {"attention": one of `ATTENTION_SOURCES`,
    "attenuation": one of `ATTENUATION_SOURCES`, "kind": one of `ATTENUATION_KINDS`, "mu": of a body contour, 1/cm}.
    Kind "pointwise" is exp(-mu) of each pixel, as published; "path" is the mean share of photons that leaves the
    slice (`maps.path_transmission`).

    `translate` and `moments` also take attention and attenuation: the maps of the slices, float32 [B, 1, H, W] in
    [0, 1], instead of those made from NC. Attention above 0.5 counts as 1, as published. ValueError for another shape
    or type.
    """

    name = "cpdm"

    def __init__(self, model: CPDM, description: Any, device: torch.device, config: Mapping[str, Any]) -> None:
        super().__init__(model, description, device, config)
        maps = config["maps"]
        for key, allowed in (
            ("attention", ATTENTION_SOURCES),
            ("attenuation", ATTENUATION_SOURCES),
            ("kind", ATTENUATION_KINDS),
        ):
            if maps[key] not in allowed:
                raise ValueError(f"maps.{key} must be one of {', '.join(allowed)}, found {maps[key]!r}.")
        if "network" in (maps["attention"], maps["attenuation"]) and model.map_fn is None:
            raise ValueError("a map is to be predicted, but the weights hold no network for it.")
        self.attention_source, self.attenuation_source = maps["attention"], maps["attenuation"]
        self.kind, self.mu = maps["kind"], float(maps.get("mu", BODY_MU))

    def seen(
        self,
        nc: Tensor,
        seeds: Tensor | None,
        neighbours: Tensor | None,
        *,
        attention: Tensor | None = None,
        attenuation: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """([NC, attention, attenuation, neighbours] at the working size, seeds)."""
        check_slices(nc, seeds)
        both = {"attention": attention, "attenuation": attenuation}
        given = {name: _checked(name, value, nc) for name, value in both.items() if value is not None}

        count = len(self.context_mm)

        def guided(part: Tensor) -> Tensor:
            images, rest = part.tensor_split((1 + count,), dim=1)
            return self.guided(images, *self.maps(images[:, :1], **dict(zip(given, rest.split(1, dim=1)))))

        seeds = torch.arange(len(nc)) if seeds is None else seeds
        images = with_neighbours(nc.to(self.device), neighbours, count)
        stacked = torch.cat([images, *(value.to(self.device) for value in given.values())], dim=1)
        with torch.no_grad():
            return in_batches(guided, stacked), seeds.to(self.device)

    def guided(self, images: Tensor, attention: Tensor, attenuation: Tensor) -> Tensor:
        """[NC, attention, attenuation, neighbours] at the working size, of slices and neighbours and of their maps."""
        slices, beside = images.tensor_split((1,), dim=1)
        # In units where -1 is nothing, so that fields are padded with no attention and no attenuation.
        fitted = self.fit.to_network(torch.cat([slices, 2.0 * attention - 1.0, 1.0 - 2.0 * attenuation, beside], dim=1))
        slices, attention, attenuation, beside = fitted.tensor_split((1, 2, 3), dim=1)
        return torch.cat([slices, (attention > 0.0).to(slices.dtype), 0.5 * (1.0 - attenuation), beside], dim=1)

    def maps(
        self, nc: Tensor, attention: Tensor | None = None, attenuation: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(attention, attenuation) of slices [B, 1, H, W], made from them as configured where they are not given."""
        seen, mu = (None, None) if self.model.map_fn is None else self.model.predicted(nc)
        if attention is None:
            attention = self._attention(nc, seen)
        if attenuation is None:
            attenuation = self._attenuation(nc, mu)
        return attention, attenuation

    def _attention(self, nc: Tensor, predicted: Tensor | None) -> Tensor:
        if self.attention_source == "network":
            return predicted
        return attention_from_nc(nc) if self.attention_source == "nc" else torch.ones_like(nc)

    def _attenuation(self, nc: Tensor, predicted: Tensor | None) -> Tensor:
        if self.attenuation_source == "ones":
            return torch.ones_like(nc)
        mu = predicted if self.attenuation_source == "network" else self.mu * contour_from_nc(nc)
        assert mu is not None
        return torch.exp(-mu) if self.kind == "pointwise" else path_transmission(mu, self.pixel_mm)


def _checked(name: str, value: Tensor, nc: Tensor) -> Tensor:
    if value.dtype != torch.float32 or value.shape != nc.shape:
        raise ValueError(f"{name} must be float32 {list(nc.shape)}, found {value.dtype} {list(value.shape)}.")
    return value.to(nc.device)


def model_of(config: Mapping[str, Any]) -> CPDM:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none.

    config["map_channels"]: what each map becomes beside the latent. config["map_network"]: of `map_fn`, or None.
    Optional config["context_slices"]: neighbouring slices on either side.
    """
    channels, before = int(config["map_channels"]), bool(config["before_quant_conv"])
    network = build_network(config["network"])
    check_latent_channels(network, config["vqgan"]["z_channels" if before else "embed_dim"], 2 * channels)
    return CPDM(
        BrownianBridge(**config["bridge"]),
        network,
        VQGAN(**config["vqgan"]),
        channels,
        build_network(config["map_network"]) if config["map_network"] else None,
        before_quant_conv=before,
        normalised=bool(config["normalised"]),
        context_slices=int(config.get("context_slices", 0)),
    )


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> CPDMTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    return load_bridge(CPDMTranslator, model_of, tensors, header, path, device)
