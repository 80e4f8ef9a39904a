"""Training bridges between the latents of a frozen first stage: latent BBDM and CPDM."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill, load_weights
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.cpdm import model_of as cpdm_of
from spectac_fast.models.fit import Fit
from spectac_fast.models.lbbdm import STATISTICS, LatentBBDM
from spectac_fast.models.lbbdm import model_of as lbbdm_of
from spectac_fast.models.maps import BODY_MU, attention_from_nc, contour_from_nc, path_transmission

from ..learner import Estimate, Setting, autocast, fresh_weights
from .supervised import Supervised

_CHUNK = 64


class LatentBatch(NamedTuple):
    """Latents of AC and of NC [B, C, h, w], and the images [B, C', H, W] that the model's `start` takes."""

    ac: Tensor
    nc: Tensor
    images: Tensor


class LatentLearner(Supervised):
    """Mean error of the bridge's objective between latents that are computed once, before the first step.

    The slices are therefore not shifted and not rescaled. recipe.loss: {"norm": "l1" | "l2", "nodes": "uniform" (the
    published choice) | "lambda"}. network: the configuration the model was built from.
    """

    def __init__(self, model: LatentBBDM, network: dict[str, Any], setting: Setting) -> None:
        data = setting.recipe.data
        if data["shift_px"] or data["scale_jitter"] or data["clip"] or not data["paired"]:
            raise UsageError(
                "a model between latents is trained on paired slices as they are: no shift, no jitter, no clip"
            )
        super().__init__(model, setting, model.context_slices, model.multiple)
        self.network = network
        self.pairs, self.fit = setting.pairs, Fit(data["fit"], tuple(data["size"]), model.multiple)
        self.supply = self
        self.latents = self._encode_all()
        density = model.bridge.lambda_density()
        if self.recipe.loss["nodes"] == "uniform":
            density = np.full(len(density), 1.0 / len(density))
        self.cumulative = np.cumsum(density)

    @abstractmethod
    def images(self, nc: Tensor, neighbours: Tensor) -> Tensor:
        """What `start` of the model takes of slices and their neighbours."""

    @abstractmethod
    def context(self, images: Tensor) -> Tensor | None:
        """What the network sees beside the state, with its gradient; the part of `start` that is trained."""

    def batch(self, rng: np.random.Generator) -> LatentBatch:
        """Random slices of the cohort."""
        indices = rng.integers(len(self.pairs), size=self.recipe.data["batch"])
        nc, _ = self.pairs.select(indices)
        seen = torch.cat([nc, self.pairs.neighbours(indices, self.context_slices)], dim=1).to(self.device)
        nc, beside = self.fit.to_network(seen).tensor_split([1], dim=1)
        latent_ac, latent_nc = (part[torch.from_numpy(indices)].to(self.device).float() for part in self.latents)
        return LatentBatch(latent_ac, latent_nc, self.images(nc, beside))

    def losses(self, batch: LatentBatch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        bridge, loss = self.shipped.bridge, self.recipe.loss
        t = np.searchsorted(self.cumulative, rng.random(len(batch.ac))).clip(max=len(bridge.m) - 1)
        t = torch.from_numpy(t).to(self.device)
        seeds = torch.from_numpy(rng.integers(2**63, size=len(t))).to(self.device)
        x_t, target = bridge.noised(batch.ac, batch.nc, t, seeds=seeds, step=step)
        with autocast(self.device, self.recipe.precision):
            output = self.shipped(x_t, t, self.context(batch.images))
        error = output.float() - target
        return {"loss": error.abs().mean() if loss["norm"] == "l1" else error.square().mean()}

    @torch.no_grad()
    def _encode_all(self) -> tuple[Tensor, Tensor]:
        """Latents of every AC and NC slice, float16 on the CPU; the statistics are theirs, where the model has any."""
        model = self.shipped
        kept: list[tuple[Tensor, Tensor]] = []
        for begin in range(0, len(self.pairs), _CHUNK):
            indices = np.arange(begin, min(begin + _CHUNK, len(self.pairs)))
            nc, ac = (self.fit.to_network(part.to(self.device)) for part in self.pairs.select(indices))
            kept.append((self._latent(ac), self._latent(self.bridge_end(nc))))
        ac, nc = (torch.cat(parts) for parts in zip(*kept))
        if model.normalised:
            ac_moments, nc_moments = _moments(ac), _moments(nc)
            for name, value in zip(STATISTICS, (*ac_moments, *nc_moments)):
                getattr(model, name).copy_(value)
            ac, nc = (ac - ac_moments[0]) / ac_moments[1], (nc - nc_moments[0]) / nc_moments[1]
        return ac.half(), nc.half()

    def bridge_end(self, nc: Tensor) -> Tensor:
        """The condition as the first stage is given it."""
        return nc

    def _latent(self, images: Tensor) -> Tensor:
        model = self.shipped
        grey = model.as_channels(images)
        return (model.vqgan.encoder(grey) if model.before_quant_conv else model.vqgan.encode(grey)).cpu()

    def estimate(self, shipped: nn.Module) -> Estimate:
        """One evaluation from the bridge's end."""

        def translate(seen: Tensor) -> Tensor:
            fitted = self.fit.to_network(seen)
            y, context = shipped.start(self.images(*fitted.tensor_split([1], dim=1)))
            t = torch.full((len(y),), shipped.bridge.num_timesteps - 1, device=y.device)
            x0 = shipped.bridge.x0_from(shipped(y, t, context).float(), y, y, t)
            return self.fit.from_network(shipped.finish(x0), tuple(seen.shape[-2:]))

        return translate

    def config(self) -> dict[str, Any]:
        recipe = self.recipe
        return {**self.network, "bridge": recipe.process, "defaults": recipe.defaults}


class LatentBBDMLearner(LatentLearner):
    """recipe.network: the configuration of models/lbbdm.py without the first stage's."""

    def images(self, nc: Tensor, neighbours: Tensor) -> Tensor:
        return torch.cat([nc, neighbours], dim=1)

    def context(self, images: Tensor) -> Tensor | None:
        stage = self.shipped.cond_stage_model
        if stage is None:
            return None
        return stage(torch.cat([self.shipped.as_channels(images[:, :1]), images[:, 1:]], dim=1))


class CPDMLearner(LatentLearner):
    """recipe.network: the configuration of models/cpdm.py without the first stage's. Its maps need no CT."""

    def images(self, nc: Tensor, neighbours: Tensor) -> Tensor:
        transmission = path_transmission(BODY_MU * contour_from_nc(nc), self.pairs.pixel_mm)
        return torch.cat([nc, attention_from_nc(nc), transmission], dim=1)

    def context(self, images: Tensor) -> Tensor:
        return self.shipped.context(images[:, 1:2], images[:, 2:])

    def bridge_end(self, nc: Tensor) -> Tensor:
        return 0.5 * (nc + 1.0)


def _moments(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every channel, [1, C, 1, 1]."""
    return latents.mean((0, 2, 3), keepdim=True), latents.std((0, 2, 3), keepdim=True)


def _with_first_stage(setting: Setting) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(recipe.network with the first stage's configuration, its tensors); UsageError where none is given."""
    if setting.first_stage is None:
        raise UsageError(f"{setting.recipe.model} works between the latents of a vqgan: add --first-stage FILE")
    tensors, header = load_weights(setting.first_stage)
    if header.get("model") != "vqgan":
        raise InputError(f"{setting.first_stage} holds a model {header.get('model')!r}, expected 'vqgan'")
    return setting.recipe.network | {"vqgan": header["config"]["network"]}, tensors


def _built(setting: Setting, model_of: Callable[[dict[str, Any]], LatentBBDM]) -> tuple[LatentBBDM, dict[str, Any]]:
    network, first_stage = _with_first_stage(setting)
    with fresh_weights(setting.seed):
        model = model_of(network | {"bridge": setting.recipe.process})
    fill(model.vqgan, {name: value.float() for name, value in first_stage.items()}, str(setting.first_stage))
    return model, network


def make_lbbdm(setting: Setting) -> LatentBBDMLearner:
    """Fresh weights of a recipe over a given first stage."""
    return LatentBBDMLearner(*_built(setting, lbbdm_of), setting)


def make_cpdm(setting: Setting) -> CPDMLearner:
    """Fresh weights of a recipe over a given first stage."""
    return CPDMLearner(*_built(setting, cpdm_of), setting)
