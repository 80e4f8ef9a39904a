"""Training latent diffusion: the noise in a latent of AC, with NC as a condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.diffusion.sampler import sample_diffusion
from spectac_fast.diffusion.vp_solvers import vp_table
from spectac_fast.models.methods.ldm import LatentDiffusion, model_of
from spectac_fast.ops import TRAINING, counter_normal
from spectac_fast.train.learner import Estimate, Setting, autocast
from spectac_fast.train.learners.latents import LatentBatch, Latents, heart_weighted, with_first_stage
from spectac_fast.train.learners.supervised import OneNetwork
from spectac_fast.train.slices import SlicePairs
from spectac_fast.train.supply import fit_of

_WATCH_STEPS = 5


class LDMLearner(OneNetwork[LatentBatch]):
    """Mean absolute error of what the process wants predicted (published: noise), at timesteps uniform in 0 ... T-1.

    recipe.loss: optional {"heart_weight"} of latents within 60 mm of the stack's centre, relative to 1 elsewhere.
    recipe.network: the configuration of models/methods/ldm.py without the first stage's and the process.
    """

    supply: Latents

    def __init__(self, model: LatentDiffusion, network: dict[str, Any], setting: Setting[SlicePairs]) -> None:
        super().__init__(model, setting, model.context_slices)
        self.network, self.fit = network, fit_of(self.recipe.data, model.multiple)
        self.supply = Latents(setting, self.fit, self.context_slices, model.encode, model.encode)
        # Latents of about unit spread: the process ends in unit noise.
        model.scale_factor.copy_(1.0 / self.supply.ac.float().std())

    def losses(self, batch: LatentBatch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        model = self.shipped
        t = torch.from_numpy(rng.integers(model.process.num_timesteps, size=len(batch.ac))).to(self.device)
        seeds = torch.from_numpy(rng.integers(2**63, size=len(t))).to(self.device)
        noise = counter_normal(seeds, batch.ac.shape[1:], step=step, purpose=TRAINING)
        z, level = model.scale_factor * batch.ac, model.process.levels(t)
        z_t = model.process.add_noise(z, level, noise)
        with autocast(self.device, self.recipe.precision):
            # Where the first stage is the condition, its latents are at hand already.
            context = batch.nc if model.cond_stage_model is None else model.context(batch.seen)
            output = model(z_t, t, context)
        error = (output.float() - model.process.target(z, level, noise)).abs()
        return {"loss": heart_weighted(error, batch.heart, self.recipe.loss.get("heart_weight", 1.0))}

    def estimate(self, shipped: nn.Module) -> Estimate:
        table = vp_table(shipped.process, _WATCH_STEPS, solver="ddim", eta=0.0)

        def translate(seen: Tensor) -> Tensor:
            context = shipped.context(self.fit.to_network(seen))
            shape = (self.supply.ac.shape[1], *context.shape[2:])
            seeds = torch.arange(len(seen), device=seen.device)
            z = sample_diffusion(lambda x, t: shipped(x, t, context).float(), shape, table, seeds=seeds)
            return self.fit.from_network(shipped.decode(z), tuple(seen.shape[-2:]))

        return translate

    def config(self) -> dict[str, Any]:
        recipe = self.recipe
        return {**self.network, "process": recipe.process, "defaults": recipe.defaults}


def make(setting: Setting) -> LDMLearner:
    """Fresh weights of a recipe around a given first stage."""
    model, network = with_first_stage(setting, model_of, "first_stage_model", process=setting.recipe.process)
    return LDMLearner(model, network, setting)
