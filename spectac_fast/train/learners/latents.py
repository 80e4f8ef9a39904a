"""What the trainings between latents share: the frozen first stage and the latents, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.checkpoints.weights import fill, load_weights
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.engine.fit import Fit
from spectac_fast.progress import Progress
from spectac_fast.train.learner import Setting, fresh_weights
from spectac_fast.train.slices import SlicePairs

_CHUNK = 64


class LatentBatch(NamedTuple):
    """Latents of AC and of NC [B, C, h, w], the slices with their neighbours [B, 1 + 2 context, H, W], and what else is
    made of a slice [B, M, H, W]; heart: the share of each latent position that lies within 60 mm of the stack's centre,
    [B, 1, h, w].
    """

    ac: Tensor
    nc: Tensor
    seen: Tensor
    maps: Tensor
    heart: Tensor


class Latents:
    """Latents of the AC and NC slices of a setting's pairs, float16 on the CPU; the slices are not augmented.

    Of all slices, or of `recipe.data["latent_slices"]` drawn at random from them: a training of minutes sees a few
    thousand, and encoding the others would take longer than itself. encode_ac, encode_nc: images [B, 1, H, W] at the
    network's size -> latents; maps: such NC images -> what else the model is given of them [B, M, H, W], M may be 0.
    Raises UsageError for a recipe that wants augmented, clipped or unpaired slices.
    """

    def __init__(
        self,
        setting: Setting[SlicePairs],
        fit: Fit,
        context: int,
        encode_ac: Callable[[Tensor], Tensor],
        encode_nc: Callable[[Tensor], Tensor],
        maps: Callable[[Tensor], Tensor] = lambda nc: nc[:, :0],
    ) -> None:
        data = setting.recipe.data
        if data["shift_px"] or data["scale_jitter"] or data["clip"] or not data["paired"]:
            raise UsageError("a model between latents is trained on pairs as they are: no shift, no jitter, no clip")
        self.setting, self.fit, self.context = setting, fit, context
        total = len(setting.pairs)
        kept_slices = min(data.get("latent_slices") or total, total)
        self.slices = np.sort(np.random.default_rng(setting.seed).permutation(total)[:kept_slices])
        kept: list[tuple[Tensor, ...]] = []
        with Progress(kept_slices, "encoding", "slices") as progress:
            for begin in range(0, kept_slices, _CHUNK):
                indices = self.slices[begin : begin + _CHUNK]
                nc, ac = (fit.to_network(part.to(setting.device)) for part in setting.pairs.select(indices))
                with torch.no_grad():
                    kept.append(tuple(part.cpu().half() for part in (encode_ac(ac), encode_nc(nc), maps(nc))))
                progress.step(len(indices))
        self.ac, self.nc, self.maps = (torch.cat(parts) for parts in zip(*kept))

    def standardise(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bring both to zero mean and unit spread; the moments [1, C, 1, 1] of AC (mean, std), then of NC."""
        moments = []
        for name in ("ac", "nc"):
            latents = getattr(self, name).float()
            mean, std = latents.mean((0, 2, 3), keepdim=True), latents.std((0, 2, 3), keepdim=True)
            setattr(self, name, ((latents - mean) / std).half())
            moments += [mean, std]
        return tuple(moments)

    def batch(self, rng: np.random.Generator) -> LatentBatch:
        """Random slices of those that are encoded."""
        pairs, device = self.setting.pairs, self.setting.device
        chosen = rng.integers(len(self.slices), size=self.setting.recipe.data["batch"])
        indices = self.slices[chosen]
        nc, _ = pairs.select(indices)
        seen = self.fit.to_network(torch.cat([nc, pairs.neighbours(indices, self.context)], dim=1).to(device))
        known = (part[torch.from_numpy(chosen)].to(device).float() for part in (self.ac, self.nc, self.maps))
        ac_latents, nc_latents, maps = known
        hearts = torch.from_numpy(pairs.heart(indices)).float()[:, None].to(device)
        # As an image a mask is -1 outside the heart, like everything a fit brings in.
        fitted = 0.5 * (self.fit.to_network(2.0 * hearts - 1.0) + 1.0)
        heart = F.adaptive_avg_pool2d(fitted, tuple(ac_latents.shape[-2:]))
        return LatentBatch(ac_latents, nc_latents, seen, maps, heart)


def heart_weighted(error: Tensor, heart: Tensor, weight: float) -> Tensor:
    """Mean of errors [B, C, h, w] whose positions in the heart [B, 1, h, w] count `weight` times."""
    return (error * (1.0 + (weight - 1.0) * heart)).mean()


def with_first_stage(
    setting: Setting, model_of: Callable[[dict[str, Any]], nn.Module], stage: str, **more: Any
) -> tuple[nn.Module, dict[str, Any]]:
    """A model of fresh weights around the setting's first stage, and the configuration it was built from.

    stage: name of the model's part that holds the first stage; more: what the configuration has beside the recipe's
    network. Raises UsageError where the setting has no first stage, InputError for a file that holds none.
    """
    if setting.first_stage is None:
        raise UsageError(f"{setting.recipe.model} works between the latents of a vqgan: add --first-stage FILE")
    tensors, header = load_weights(setting.first_stage)
    if header.get("model") != "vqgan":
        raise InputError(f"{setting.first_stage} holds a model {header.get('model')!r}, expected 'vqgan'")
    network = setting.recipe.network | {"vqgan": header["config"]["network"]}
    with fresh_weights(setting.seed):
        model = model_of(network | more)
    values = {name: value.float() for name, value in tensors.items()}
    fill(getattr(model, stage), values, str(setting.first_stage))
    return model, network
