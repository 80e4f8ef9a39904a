"""Training attenuation maps: the error of mu, and of what it does to the photons of the heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.models.mumap import MapNetwork, mu_of
from spectac_fast.models.networks.build import build_network
from spectac_fast.train.learner import Estimate, Setting, autocast, fresh_weights
from spectac_fast.train.learners.supervised import Supervised
from spectac_fast.train.maps.paths import Paths
from spectac_fast.train.slices import Batch


class MapLearner(Supervised):
    """Absolute error of mu in units of soft tissue, and relative error of the share of photons that leave the heart.

    recipe.loss: {"survival_weight", "views": over 180 degrees, of which the share is the mean}.
    """

    def __init__(self, model: MapNetwork, setting: Setting) -> None:
        super().__init__(model, setting, model.context_slices, model.multiple)
        loss, data = self.recipe.loss, self.recipe.data
        self.paths = Paths(data["size"][0], setting.pairs.pixel_mm, loss["views"], self.device)

    def losses(self, batch: Batch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        with autocast(self.device, self.recipe.precision):
            found = self.shipped(torch.cat([batch.nc, batch.neighbours], dim=1)).float()
        error = 0.5 * (found - batch.ac).abs().mean()
        # Slices without heart have no say in what follows.
        through = batch.heart.amax((1, 2, 3)) > 0
        if not bool(through.any()):
            return {"loss": error, "mu": error, "survival": torch.zeros(())}
        heart = batch.heart[through]
        made, true = (mu_of(units[through]) for units in (found, batch.ac))
        survival = self.paths.error(made, true, heart).abs().sum() / heart.sum()
        return {"loss": error + self.recipe.loss["survival_weight"] * survival, "mu": error, "survival": survival}

    def estimate(self, shipped: nn.Module) -> Estimate:
        return lambda seen: shipped(seen).float()

    def config(self) -> dict[str, Any]:
        return {"network": self.recipe.network}


def make(setting: Setting) -> MapLearner:
    """Fresh weights of a recipe."""
    with fresh_weights(setting.seed):
        model = MapNetwork(build_network(setting.recipe.network))
    return MapLearner(model, setting)
