"""The loss a Brownian bridge is trained with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from spectac_fast.models.bbdm import BBDM

from .recipe import Recipe
from .slices import SlicePairs

_BLOCK = 4


class BridgeLoss:
    """Mean squared error of the bridge's objective as a share of the identity row's error; the heart counts more.

    The first `start_share` of every batch is trained at t = T-1 with x = y: the state every sampler starts from, and
    the only one that a single evaluation ever sees. The rest draws t uniformly in lambda and its noise from the
    counter, so that a step's loss is a function of the weights, the seed and the step number.
    """

    def __init__(self, model: BBDM, recipe: Recipe, data: SlicePairs, seed: int) -> None:
        self.model, self.recipe, self.data, self.seed = model, recipe, data, seed
        self.power = data.residual_power()
        self.cumulative = np.cumsum(model.bridge.lambda_density())
        self.starts = round(recipe.start_share * recipe.batch)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """(loss over the batch, loss of its part at the start node), scalars."""
        recipe, bridge = self.recipe, self.model.bridge
        rng = np.random.default_rng([self.seed, step])
        context = self.model.denoise_fn.context_slices
        batch = self.data.batch(rng, recipe.batch, recipe.shift_px, recipe.scale_jitter, context)
        y, x0, heart = batch.nc, batch.ac, batch.heart
        t = torch.from_numpy(np.searchsorted(self.cumulative, rng.random(recipe.batch)).clip(max=len(bridge.m) - 1))
        seeds = torch.from_numpy(rng.integers(2**63, size=recipe.batch))
        start = slice(self.starts)
        t[start] = bridge.num_timesteps - 1
        x_t, target = bridge.noised(x0, y, t, seeds=seeds, step=step)
        # The one noise for which the forward process puts x_t on y.
        m, std = bridge.coefficients(t[start])
        noise = (1.0 - m) / std * (y[start] - x0[start])
        x_t[start], target[start] = y[start], bridge.target(x0[start], y[start], t[start], noise)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
            output = self.model(x_t, t, torch.cat([y, batch.neighbours], dim=1))
        error = output.float() - target
        weighted = error.square() * (1.0 + (recipe.heart_weight - 1.0) * heart)
        blocks = F.avg_pool2d(error, _BLOCK).square() * F.avg_pool2d(heart, _BLOCK)
        errors = (weighted.mean(dim=(1, 2, 3)) + recipe.block_weight * blocks.mean(dim=(1, 2, 3))) / self.power
        return errors.mean(), errors[start].mean().detach()
