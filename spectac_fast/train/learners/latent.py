"""Training bridges between the latents of a frozen first stage: latent BBDM and CPDM."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.names import STATISTICS
from spectac_fast.models.methods.cpdm import model_of as cpdm_of
from spectac_fast.models.methods.lbbdm import LatentBBDM
from spectac_fast.models.methods.lbbdm import model_of as lbbdm_of
from spectac_fast.reconstruct.maps import BODY_MU, attention_from_nc, contour_from_nc, path_transmission
from spectac_fast.train.learner import Estimate, Setting, autocast
from spectac_fast.train.learners.latents import LatentBatch, Latents, heart_weighted, with_first_stage
from spectac_fast.train.learners.supervised import OneNetwork
from spectac_fast.train.slices import SlicePairs
from spectac_fast.train.supply import fit_of


class LatentLearner(OneNetwork[LatentBatch]):
    """Mean error of the bridge's objective between latents that are computed once, before the first step.

    recipe.loss: {"norm": "l1" | "l2", "nodes": "uniform" (the published choice) | "lambda"}, and optional
    "heart_weight" of latents within 60 mm of the stack's centre, relative to 1 elsewhere. network: the configuration
    the model was built from.
    """

    supply: Latents

    def __init__(self, model: LatentBBDM, network: dict[str, Any], setting: Setting[SlicePairs]) -> None:
        super().__init__(model, setting, model.context_slices)
        self.network, self.pixel_mm = network, setting.pairs.pixel_mm
        self.fit = fit_of(self.recipe.data, model.multiple)
        self.supply = Latents(setting, self.fit, self.context_slices, self._ac_latent, self._nc_latent, self.maps)
        if model.normalised:
            for name, value in zip(STATISTICS, self.supply.standardise()):
                getattr(model, name).copy_(value)
        density = model.bridge.lambda_density()
        if self.recipe.loss["nodes"] == "uniform":
            density = np.full(len(density), 1.0 / len(density))
        self.cumulative = np.cumsum(density)

    def maps(self, nc: Tensor) -> Tensor:
        """What the model is given of slices [B, 1, H, W] beside them, [B, M, H, W]; made once, before any step."""
        return nc[:, :0]

    @staticmethod
    def images(seen: Tensor, maps: Tensor) -> Tensor:
        """What `start` of the model takes, of slices, their neighbours and their maps."""
        return torch.cat([seen[:, :1], maps, seen[:, 1:]], dim=1)

    @abstractmethod
    def context(self, images: Tensor) -> Tensor | None:
        """What the network sees beside the state, with its gradient; the part of `start` that is trained."""

    def end(self, nc: Tensor) -> Tensor:
        """The condition as the first stage is given it."""
        return nc

    def _ac_latent(self, images: Tensor) -> Tensor:
        model = self.shipped
        copies = model.as_channels(images)
        return model.vqgan.encoder(copies) if model.before_quant_conv else model.vqgan.encode(copies)

    def _nc_latent(self, images: Tensor) -> Tensor:
        return self._ac_latent(self.end(images))

    def losses(self, batch: LatentBatch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        bridge = self.shipped.bridge
        t = np.searchsorted(self.cumulative, rng.random(len(batch.ac))).clip(max=len(bridge.m) - 1)
        t = torch.from_numpy(t).to(self.device)
        seeds = torch.from_numpy(rng.integers(2**63, size=len(t))).to(self.device)
        x_t, target = bridge.noised(batch.ac, batch.nc, t, seeds=seeds, step=step)
        with autocast(self.device, self.recipe.precision):
            output = self.shipped(x_t, t, self.context(self.images(batch.seen, batch.maps)))
        error = output.float() - target
        error = error.abs() if self.recipe.loss["norm"] == "l1" else error.square()
        return {"loss": heart_weighted(error, batch.heart, self.recipe.loss.get("heart_weight", 1.0))}

    def estimate(self, shipped: nn.Module) -> Estimate:
        """One evaluation from the bridge's end."""

        def translate(seen: Tensor) -> Tensor:
            fitted = self.fit.to_network(seen)
            y, context = shipped.start(self.images(fitted, self.maps(fitted[:, :1])))
            t = torch.full((len(y),), shipped.bridge.num_timesteps - 1, device=y.device)
            x0 = shipped.bridge.x0_from(shipped(y, t, context).float(), y, y, t)
            return self.fit.from_network(shipped.finish(x0), tuple(seen.shape[-2:]))

        return translate

    def config(self) -> dict[str, Any]:
        recipe = self.recipe
        return {**self.network, "bridge": recipe.process, "defaults": recipe.defaults}


class LatentBBDMLearner(LatentLearner):
    """recipe.network: the configuration of models/methods/lbbdm.py without the first stage's."""

    def context(self, images: Tensor) -> Tensor | None:
        stage = self.shipped.cond_stage_model
        if stage is None:
            return None
        return stage(torch.cat([self.shipped.as_channels(images[:, :1]), images[:, 1:]], dim=1))


class CPDMLearner(LatentLearner):
    """recipe.network: the configuration of models/methods/cpdm.py without the first stage's. Its maps need no CT."""

    def maps(self, nc: Tensor) -> Tensor:
        transmission = path_transmission(BODY_MU * contour_from_nc(nc), self.pixel_mm)
        return torch.cat([attention_from_nc(nc), transmission], dim=1)

    def context(self, images: Tensor) -> Tensor:
        return self.shipped.context(*images[:, 1:].tensor_split((1, 2), dim=1))

    def end(self, nc: Tensor) -> Tensor:
        return 0.5 * (nc + 1.0)


def make_lbbdm(setting: Setting) -> LatentBBDMLearner:
    """Fresh weights of a recipe around a given first stage."""
    model, network = with_first_stage(setting, lbbdm_of, "vqgan", bridge=setting.recipe.process)
    return LatentBBDMLearner(model, network, setting)


def make_cpdm(setting: Setting) -> CPDMLearner:
    """Fresh weights of a recipe around a given first stage."""
    model, network = with_first_stage(setting, cpdm_of, "vqgan", bridge=setting.recipe.process)
    return CPDMLearner(model, network, setting)
