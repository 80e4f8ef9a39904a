"""Training a VQGAN, the first stage of the latent models, on NC and AC slices alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.train.learner import Estimate, Setting, autocast, fresh_weights
from spectac_fast.train.learners.supervised import Supervised
from spectac_fast.train.slices import Batch


class FirstStageLearner(Supervised):
    """Absolute error of the reconstruction plus the codebook loss.

    The published training adds a perceptual distance, whose network is trained on photographs, and a discriminator;
    both trade accuracy for the look of texture, and a first stage for counts wants accuracy.

    Codes start smaller than any latent and most are never the nearest of one: left alone, a short training ends with a
    score of codes in use. So codes that a batch leaves idle move onto latents of that batch ("Jukebox",
    arXiv 2005.00341, section 3.1, restarts them alike), until the rest of the training settles them.

    recipe.loss: {"codebook_weight"}, optional "heart_weight": of the error within 60 mm of the stack's centre, relative
    to 1 elsewhere, and optional "revive": {"every", "until"} in steps; from step 0 on.
    """

    def losses(self, batch: Batch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        images = torch.cat([batch.nc, batch.ac])
        revive = self.recipe.loss.get("revive")
        if revive and step < revive["until"] and step % revive["every"] == 0:
            self._revive_idle_codes(images, rng)
        with autocast(self.device, self.recipe.precision):
            found, indices, codebook = self.shipped(images)
        weight = 1.0 + (self.recipe.loss.get("heart_weight", 1.0) - 1.0) * torch.cat([batch.heart, batch.heart])
        error = (weight * (found.float() - images).abs()).mean()
        total = error + self.recipe.loss["codebook_weight"] * codebook.float()
        return {
            "loss": total,
            "error": error,
            "codebook": codebook,
            "codes_used": indices.unique().numel() + 0.0 * total,
        }

    @torch.no_grad()
    def _revive_idle_codes(self, images: Tensor, rng: np.random.Generator) -> None:
        codes = self.shipped.quantize.embedding.weight
        latents = self.shipped.encode(images)
        used = self.shipped.quantize(latents)[1].unique()
        idle = torch.ones(len(codes), dtype=torch.bool, device=codes.device).index_fill_(0, used, False)
        tokens = latents.movedim(1, -1).reshape(-1, codes.shape[1])
        chosen = torch.from_numpy(rng.integers(len(tokens), size=int(idle.sum()))).to(codes.device)
        codes[idle] = tokens[chosen]

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
