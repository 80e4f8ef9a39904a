"""What the trainings of generators and discriminators share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.models.networks.attenuation import Attenuation, of_image
from spectac_fast.models.networks.build import Residual, build_network
from spectac_fast.train.learner import Estimate, Setting, adam, autocast, descend
from spectac_fast.train.recipe import Recipe
from spectac_fast.train.slices import Batch
from spectac_fast.train.supply import Supply


def small_normal(module: nn.Module) -> nn.Module:
    """The GAN papers' start: convolutions N(0, 0.02), norms N(1, 0.02), biases 0. Returns the module. A residual
    generator still begins as identity.
    """
    residual: list[Residual] = []
    for part in module.modules():
        weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
        if isinstance(weight, nn.Parameter):
            nn.init.normal_(weight, 0.0 if weight.dim() > 1 else 1.0, 0.02)
        if isinstance(bias, nn.Parameter):
            nn.init.zeros_(bias)
        if isinstance(part, Residual):
            residual.append(part)
    for part in residual:
        part.begin_as_identity()
    return module


def build_generator(setting: Setting) -> nn.Module:
    """The generator NC -> AC of a recipe."""
    return build_network(setting.recipe.network["generator"], Attenuation(setting.pairs.gain, of_image))


def terms_of(recipe: Recipe) -> dict[str, Any]:
    """The weights of a method's terms, which its constructor takes, without what weighs the pixels."""
    return {name: value for name, value in recipe.loss.items() if name != "heart_weight"}


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """No gradients for these modules' weights inside: a generator's step has no use for the discriminator's."""
    parameters = [p for module in modules for p in module.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


class Adversaries:
    """The part of a `Learner` with two optimizers that is the same for every GAN.

    method: a module with `generator_loss` and `discriminator_loss`; making, judging: its modules of either optimizer;
    shipped: the generator NC -> AC. context_slices: whose channels follow those of the slice. recipe.loss: weights of
    the method's terms and, for methods that see pairs, optional "heart_weight": of the L1 term within 60 mm of the
    stack's centre, relative to 1 elsewhere (`terms_of`).
    """

    def __init__(
        self,
        method: nn.Module,
        making: list[nn.Module],
        judging: list[nn.Module],
        shipped: nn.Module,
        setting: Setting,
    ) -> None:
        self.method = method.to(setting.device)
        self.judging, self.shipped = judging, shipped
        recipe, self.seed, self.device = setting.recipe, setting.seed, setting.device
        self.recipe = recipe
        self.context_slices = (shipped.in_channels - 1) // 2
        self.supply = Supply(setting.pairs, recipe.data, self.device, self.context_slices, shipped.multiple)
        self.networks = {"method": self.method}
        self.optimizers = {
            "generator": adam((p for module in making for p in module.parameters()), recipe),
            "discriminator": adam((p for module in judging for p in module.parameters()), recipe),
        }

    def images(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """NC with its neighbours as channels, and AC."""
        return self.weighted_images(rng)[:2]

    def weighted_images(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The same, and what each pixel counts in a term of differences, [B, 1, H, W]."""
        batch: Batch = self.supply.batch(rng)
        weight = 1.0 + (self.recipe.loss.get("heart_weight", 1.0) - 1.0) * batch.heart
        return torch.cat([batch.nc, batch.neighbours], dim=1), batch.ac, weight

    def generator_step(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Minimise the sum of a generator's terms; "loss" is that sum."""
        return self._descend("generator", terms, "")

    def discriminator_step(self, terms: Mapping[str, Tensor]) -> dict[str, float]:
        """Minimise the sum of a discriminator's terms; its names get the prefix "d_"."""
        return self._descend("discriminator", terms, "d_")

    def _descend(self, which: str, terms: Mapping[str, Tensor], prefix: str) -> dict[str, float]:
        total = torch.stack(list(terms.values())).sum()
        total.backward()
        descend(self.optimizers[which], self.recipe.gradient_clip)
        named = {prefix + name: float(value.detach()) for name, value in terms.items()}
        return {prefix + "loss": float(total.detach()), **named}

    def autocast(self) -> torch.autocast:
        return autocast(self.device, self.recipe.precision)

    def estimate(self, shipped: nn.Module) -> Estimate:
        return lambda seen: shipped(seen).float()

    def tensors(self, shipped: nn.Module) -> dict[str, Tensor]:
        return dict(shipped.state_dict())

    def config(self) -> dict[str, Any]:
        return {"network": self.recipe.network["generator"], "context_slices": self.context_slices}
