"""Training the GANs that see no pairs: CycleGAN and UNIT. Their recipes draw NC and AC apart ("paired": false)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.models.methods.cyclegan import CycleGAN
from spectac_fast.models.methods.unit import UNIT
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.networks.patchgan import PatchDiscriminator
from spectac_fast.models.networks.unit import MultiScaleDiscriminator
from spectac_fast.ops import TRAINING, counter_normal
from spectac_fast.train.learner import Setting, fresh_weights, generator_of
from spectac_fast.train.learners.gan import Adversaries, build_generator, frozen, small_normal


class History(nn.Module):
    """The last fakes (Shrivastava et al., CVPR 2017): half of what a discriminator sees of them is old.

    A module, so that it is saved with the run.
    """

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(size, *shape))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, fakes: Tensor, rng: np.random.Generator) -> Tensor:
        """Keep these fakes while there is room; then, half of the time, give an old one back in exchange."""
        answer = []
        for fake in fakes.detach():
            if self.filled < len(self.images):
                self.images[self.filled] = fake
                self.filled += 1
                answer.append(fake)
            elif rng.random() < 0.5:
                i = int(rng.integers(len(self.images)))
                answer.append(self.images[i].clone())
                self.images[i] = fake
            else:
                answer.append(fake)
        return torch.stack(answer)


class CycleLearner(Adversaries):
    """Both generators learn together, then both discriminators from fakes half of which are old."""

    def __init__(self, *arguments, history: int) -> None:
        super().__init__(*arguments)
        channels = {"nc": 1 + 2 * self.context_slices, "ac": 1}
        shapes = {name: (count, *self.recipe.data["size"]) for name, count in channels.items()}
        self.histories = nn.ModuleDict({name: History(history, shape) for name, shape in shapes.items()})
        self.histories.to(self.device)
        self.networks = {**self.networks, "histories": self.histories}

    def step(self, step: int) -> dict[str, float]:
        rng = generator_of(self.seed, step)
        nc, ac = self.images(rng)
        with self.autocast(), frozen(*self.judging):
            cycle = self.method(nc, ac)
            terms = self.method.generator_loss(nc, ac, cycle)
        values = self.generator_step(terms)
        with self.autocast():
            fake_nc = self.histories["nc"].exchange(cycle.fake_nc.float(), rng)
            fake_ac = self.histories["ac"].exchange(cycle.fake_ac.float(), rng)
            terms = self.method.discriminator_loss(nc, ac, fake_nc, fake_ac)
        return values | self.discriminator_step(terms)


class UNITLearner(Adversaries):
    """The discriminators learn from fakes with fresh noise, then the generators; the noise comes from the counter."""

    def step(self, step: int) -> dict[str, float]:
        nc, ac = self.images(generator_of(self.seed, step))
        noise = self._noise(step)
        with self.autocast():
            with torch.no_grad():
                fake_nc, fake_ac = self.method.fakes(nc, ac, noise)
            terms = self.method.discriminator_loss(nc, ac, fake_nc, fake_ac)
        values = self.discriminator_step(terms)
        with self.autocast(), frozen(*self.judging):
            terms = self.method.generator_loss(nc, ac, self.method(nc, ac, noise))
        return self.generator_step(terms) | values

    def _noise(self, step: int):
        calls = 0

        def noise(latent: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            seeds = torch.arange(len(latent), device=latent.device) + self.seed
            drawn = counter_normal(seeds, latent.shape[1:], step=step, sample=calls, purpose=TRAINING)
            return drawn.to(latent.dtype)

        return noise


def make_cyclegan(setting: Setting) -> CycleLearner:
    """recipe.network: {"generator", "discriminator"}, each for both ways; recipe.loss: weights, and "history"."""
    recipe = setting.recipe
    weights = dict(recipe.loss)
    history = weights.pop("history")
    with fresh_weights(setting.seed):
        there = small_normal(build_generator(setting))
        seen = there.in_channels
        # The way back loses counts, which no factor of at least one does.
        other = {"in_channels": 1, "out_channels": seen, "context_slices": 0, "attenuation_paths": 0}
        back = recipe.network["generator"] | other
        generators = [there, small_normal(build_network(back))]
        judges = [small_normal(PatchDiscriminator(c, **recipe.network["discriminator"])) for c in (1, seen)]
    method = CycleGAN(*generators, *judges, **weights)
    return CycleLearner(method, generators, judges, generators[0], setting, history=history)


def make_unit(setting: Setting) -> UNITLearner:
    """recipe.network: {"generator", "discriminator": arguments of `MultiScaleDiscriminator`}; optional "small_normal"
    among these, false for torch's own start of the weights. Without norms, the published N(0, 0.02) leaves so little of
    a gradient that a discriminator of few channels is at chance for thousands of steps.
    """
    recipe = setting.recipe
    shape = dict(recipe.network["discriminator"])
    small = shape.pop("small_normal", True)
    with fresh_weights(setting.seed):
        generators = build_generator(setting)
        judges: list[nn.Module] = [
            MultiScaleDiscriminator(channels, **shape) for channels in (generators.in_channels, generators.out_channels)
        ]
        if small:
            judges = [small_normal(judge) for judge in judges]
    method = UNIT(generators, *judges, **recipe.loss)
    return UNITLearner(method, [generators], judges, generators, setting)
