"""Training a VQGAN, the first stage of the latent models, on NC and AC slices alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.models.vqgan import VQGAN

from ..learner import Estimate, Setting, autocast, fresh_weights
from ..slices import Batch
from .supervised import Supervised


class FirstStageLearner(Supervised):
    """Absolute error of the reconstruction plus the codebook loss.

    The published training adds a perceptual distance, whose network is trained on photographs, and a discriminator;
    both trade accuracy for the look of texture, and a first stage for counts wants accuracy.

    recipe.loss: {"codebook_weight"}.
    """

    def losses(self, batch: Batch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        images = torch.cat([batch.nc, batch.ac])
        with autocast(self.device, self.recipe.precision):
            found, indices, codebook = self.shipped(images)
        error = (found.float() - images).abs().mean()
        total = error + self.recipe.loss["codebook_weight"] * codebook.float()
        return {
            "loss": total,
            "error": error,
            "codebook": codebook,
            "codes_used": indices.unique().numel() + 0.0 * total,
        }

    def estimate(self, shipped: nn.Module) -> Estimate:
        """The reconstruction of NC: it cannot be nearer to AC than NC is."""
        return lambda seen: shipped(seen[:, :1])[0].float()

    def config(self) -> dict[str, Any]:
        return {"network": self.recipe.network}


def make(setting: Setting) -> FirstStageLearner:
    """recipe.network: arguments of `VQGAN`, of one channel."""
    with fresh_weights(setting.seed):
        model = VQGAN(**setting.recipe.network)
    return FirstStageLearner(model, setting, 0, model.multiple)
