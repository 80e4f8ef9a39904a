"""Training a Brownian bridge from NC to attenuation maps: the bridge's own objective, and what a map does to the
photons of the heart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.models.methods.bbdm import BBDM
from spectac_fast.models.mumap import mu_of
from spectac_fast.models.mumap_bridge import marked
from spectac_fast.train.learner import Estimate, Setting
from spectac_fast.train.learners.bridge import BridgeLearner, bridge_of
from spectac_fast.train.maps.paths import Paths
from spectac_fast.train.slices import Batch


class MapBridgeLearner(BridgeLearner):
    """`BridgeLearner` on slices of maps, whose NC says where the camera looked.

    recipe.loss: that of `BridgeLearner`, without "shape_weight", and {"survival_weight": of the mean squared relative
    error, in the heart, of the share of photons that leave it, for the map that the bridge takes the target for;
    "views": over 180 degrees, of which the share is the mean}. Unlike an absolute error, a squared one leaves the mean
    of all maps that are possible where it is, so that samples stay samples of these.
    """

    def __init__(self, model: BBDM, setting: Setting) -> None:
        loss, data = setting.recipe.loss, setting.recipe.data
        self.paths = Paths(data["size"][0], setting.pairs.pixel_mm, loss["views"], setting.device)
        super().__init__(model, setting)

    def losses(self, batch: Batch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        seen = marked(torch.cat([batch.nc, batch.neighbours], dim=1))
        return super().losses(batch._replace(nc=seen[:, :1], neighbours=seen[:, 1:]), rng, step)

    def _of_estimates(self) -> Callable[[Tensor, Batch], Tensor]:
        weight = self.recipe.loss["survival_weight"] / self.power

        def survival(found: Tensor, batch: Batch) -> Tensor:
            error = self.paths.error(mu_of(found), mu_of(batch.ac), batch.heart)
            return weight * error.square().sum((1, 2, 3)) / batch.heart.sum((1, 2, 3)).clamp_min(1.0)

        return survival

    def estimate(self, shipped: nn.Module) -> Estimate:
        translate = super().estimate(shipped)
        return lambda seen: translate(marked(seen))


def make(setting: Setting) -> MapBridgeLearner:
    """Fresh weights of a recipe."""
    return MapBridgeLearner(bridge_of(setting), setting)
