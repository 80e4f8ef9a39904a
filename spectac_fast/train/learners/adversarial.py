"""Training the GANs that see pairs: pix2pix, RegGAN and MedGAN."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from spectac_fast.errors import UsageError
from spectac_fast.models.methods.medgan import MedGAN
from spectac_fast.models.methods.pix2pix import Pix2Pix
from spectac_fast.models.methods.reggan import ImageDiscriminator, RegGAN
from spectac_fast.models.networks.patchgan import PatchDiscriminator
from spectac_fast.models.networks.registration import Registration
from spectac_fast.train.features import feature_extractor
from spectac_fast.train.learner import Setting, fresh_weights, generator_of
from spectac_fast.train.learners.gan import Adversaries, build_generator, frozen, small_normal, terms_of


class JudgeFirst(Adversaries):
    """The order of pix2pix: the discriminator learns, then the generator against it, on the same fake.

    recipe.loss: weights of the method's terms, its keyword arguments.
    """

    def step(self, step: int) -> dict[str, float]:
        nc, ac, weight = self.weighted_images(generator_of(self.seed, step))
        with self.autocast():
            fake = self.method(nc)
            terms = self.method.discriminator_loss(nc, ac, fake)
        values = self.discriminator_step(terms)
        with self.autocast(), frozen(*self.judging):
            terms = self.method.generator_loss(nc, ac, fake, weight)
        return self.generator_step(terms) | values


class MakeFirst(Adversaries):
    """The order of RegGAN: the generator learns, then the discriminator, on a fake made anew."""

    def step(self, step: int) -> dict[str, float]:
        nc, ac, weight = self.weighted_images(generator_of(self.seed, step))
        with self.autocast(), frozen(*self.judging):
            terms = self.method.generator_loss(nc, ac, self.method(nc), weight)
        values = self.generator_step(terms)
        with self.autocast():
            with torch.no_grad():
                fake = self.method(nc)
            terms = self.method.discriminator_loss(nc, ac, fake)
        return values | self.discriminator_step(terms)


class MakeThrice(Adversaries):
    """The order of MedGAN: three generator steps, then one of the discriminator."""

    def step(self, step: int) -> dict[str, float]:
        for part in range(3):
            nc, ac, weight = self.weighted_images(generator_of(self.seed, step, part))
            with self.autocast(), frozen(*self.judging):
                fake = self.method(nc)
                terms = self.method.generator_loss(nc, ac, fake, weight)
            values = self.generator_step(terms)
        with self.autocast():
            terms = self.method.discriminator_loss(nc, ac, fake)
        return values | self.discriminator_step(terms)


class MedGANLearner(MakeThrice):
    """MedGAN, whose weight file also says which features it had and how their terms were weighted."""

    def config(self) -> dict[str, Any]:
        weights = {name: getattr(self.method, f"{name}_weight") for name in ("perceptual", "style", "content")}
        return super().config() | {"features": self.recipe.loss["features"], "loss_weights": weights}


def make_pix2pix(setting: Setting) -> JudgeFirst:
    """recipe.network: {"generator", "discriminator": arguments of `PatchDiscriminator`}."""
    recipe = setting.recipe
    with fresh_weights(setting.seed):
        generator = small_normal(build_generator(setting))
        discriminator = small_normal(PatchDiscriminator(generator.in_channels + 1, **recipe.network["discriminator"]))
    method = Pix2Pix(generator, discriminator, **terms_of(recipe))
    return JudgeFirst(method, [generator], [discriminator], generator, setting)


def make_reggan(setting: Setting) -> MakeFirst:
    """recipe.network: {"generator", "discriminator", "registration": arguments of `Registration`}."""
    recipe = setting.recipe
    with fresh_weights(setting.seed):
        generator = build_generator(setting)
        discriminator = ImageDiscriminator(1, **recipe.network["discriminator"])
        registration = Registration(**recipe.network["registration"])
    method = RegGAN(generator, discriminator, registration, **terms_of(recipe))
    making: list[nn.Module] = [generator, registration]
    return MakeFirst(method, making, [discriminator], generator, setting)


def make_medgan(setting: Setting) -> MedGANLearner:
    """recipe.network: {"generator", "discriminator"}; recipe.loss: weights, and "features" (train/features.py), where
    "disc" is the paper's ablation without style; optional "match": {"style", "content"}, which share of the perceptual
    term each is before the first step, on one batch (`MedGAN.match`), in place of a weight.
    """
    recipe = setting.recipe
    weights = terms_of(recipe)
    shares = weights.pop("match", None)
    try:
        features = feature_extractor(weights.pop("features"))
    except ValueError as error:
        raise UsageError(f"the recipe {recipe.name}: {error}") from error
    with fresh_weights(setting.seed):
        generator = small_normal(build_generator(setting))
        discriminator = small_normal(PatchDiscriminator(generator.in_channels + 1, **recipe.network["discriminator"]))
    method = MedGAN(generator, discriminator, features, **weights)
    learner = MedGANLearner(method, [generator], [discriminator], generator, setting)
    if shares:
        # Of fresh weights and the same slices on every rank, so that all ranks and a run taken up again agree.
        nc, ac = learner.images(np.random.default_rng(setting.seed))
        try:
            method.match(nc, ac, shares)
        except ValueError as error:
            raise UsageError(f"the recipe {recipe.name}: {error}") from error
    return learner
