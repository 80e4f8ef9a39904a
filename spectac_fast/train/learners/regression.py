"""Training a regression: AC itself is the target of one evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.errors import UsageError
from spectac_fast.models.methods.regression import Regression, model_of
from spectac_fast.train.learner import Estimate, Setting, autocast, fresh_weights
from spectac_fast.train.learners.bridge import weighted_error
from spectac_fast.train.learners.supervised import Supervised
from spectac_fast.train.slices import Batch, SlicePairs


class RegressionLearner(Supervised):
    """Squared or absolute error of AC as a share of the identity row's.

    recipe.loss: {"norm": "l1" | "l2", "heart_weight", and for l2 "block_weight" (see learners/bridge.py)}.
    """

    def __init__(self, model: Regression, setting: Setting[SlicePairs]) -> None:
        network = model.denoise_fn
        super().__init__(model, setting, model.context_slices, network.multiple)
        self.power = setting.pairs.residual_power()
        norms = {"l1": self._absolute, "l2": self._squared}
        if self.recipe.loss["norm"] not in norms:
            raise UsageError(f"the norm of a regression's loss must be l1 or l2, found {self.recipe.loss['norm']!r}")
        self._measure = norms[self.recipe.loss["norm"]]

    def losses(self, batch: Batch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        with autocast(self.device, self.recipe.precision):
            output = self.shipped(torch.cat([batch.nc, batch.neighbours], dim=1))
        return {"loss": self._measure(output.float() - batch.ac, batch.heart)}

    def _squared(self, error: Tensor, heart: Tensor) -> Tensor:
        weights = self.recipe.loss
        return weighted_error(error, heart, weights["heart_weight"], weights["block_weight"]).mean() / self.power

    def _absolute(self, error: Tensor, heart: Tensor) -> Tensor:
        weighted = error.abs() * (1.0 + (self.recipe.loss["heart_weight"] - 1.0) * heart)
        return weighted.mean() / self.power**0.5

    def estimate(self, shipped: nn.Module) -> Estimate:
        return lambda seen: shipped(seen).float()

    def config(self) -> dict[str, Any]:
        return {"network": self.recipe.network}


def make(setting: Setting) -> RegressionLearner:
    """Fresh weights of a recipe."""
    recipe = setting.recipe
    with fresh_weights(setting.seed):
        model = model_of({"network": recipe.network, "gain": setting.pairs.gain})
    return RegressionLearner(model, setting)
