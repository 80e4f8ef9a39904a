"""Training networks that tell the noise in an image from the image, with NC as a condition: DDPM and Palette."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.diffusion.sampler import sample_diffusion
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.diffusion.vp_solvers import vp_table
from spectac_fast.models.methods import ddpm, palette
from spectac_fast.ops import TRAINING, counter_normal
from spectac_fast.train.learner import Estimate, Setting, autocast, fresh_weights
from spectac_fast.train.learners.supervised import Supervised
from spectac_fast.train.slices import Batch

_WATCH_STEPS = 5


class _NoiseLearner(Supervised):
    """Mean squared error of what the process wants predicted. process, sampling: of training and of the finished model.

    recipe.loss: {"clip": bounds of x0 while sampling, or null}, and optional "heart_weight": of the squared error
    within 60 mm of the stack's centre, relative to 1 elsewhere.
    """

    def __init__(
        self,
        model: nn.Module,
        process: VPProcess,
        sampling: VPProcess,
        setting: Setting,
    ) -> None:
        network = model.denoise_fn
        super().__init__(model, setting, model.context_slices, network.multiple)
        self.process, self.sampling = process, sampling
        clip = self.recipe.loss["clip"]
        self.clip = None if clip is None else tuple(clip)

    @abstractmethod
    def levels(self, t: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """(level a of every image, what the network is told of it) for timesteps t in 1 ... T-1."""

    @abstractmethod
    def denoiser(self, shipped: nn.Module, seen: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """(state, timestep of the sampling process) -> prediction, for slices and their neighbours."""

    def losses(self, batch: Batch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        """Ho et al. 2020, equation 14, with t uniform; the noise comes from the counter."""
        t = torch.from_numpy(rng.integers(1, self.process.num_timesteps, size=len(batch.ac))).to(self.device)
        seeds = torch.from_numpy(rng.integers(2**63, size=len(batch.ac))).to(self.device)
        noise = counter_normal(seeds, batch.ac.shape[1:], step=step, purpose=TRAINING)
        level, told = self.levels(t, rng)
        x_t = self.process.add_noise(batch.ac, level, noise)
        with autocast(self.device, self.recipe.precision):
            output = self.shipped(x_t, told, torch.cat([batch.nc, batch.neighbours], dim=1))
        squared = (output.float() - self.process.target(batch.ac, level, noise)).square()
        weight = 1.0 + (self.recipe.loss.get("heart_weight", 1.0) - 1.0) * batch.heart
        return {"loss": (weight * squared).mean()}

    def estimate(self, shipped: nn.Module) -> Estimate:
        spacing = self.recipe.defaults.get("spacing", "uniform")
        table = vp_table(self.sampling, _WATCH_STEPS, solver="ddim", eta=0.0, spacing=spacing, clip=self.clip)

        def translate(seen: Tensor) -> Tensor:
            seeds = torch.arange(len(seen), device=seen.device)
            return sample_diffusion(self.denoiser(shipped, seen), (1, *seen.shape[2:]), table, seeds=seeds)

        return translate

    def config(self) -> dict[str, Any]:
        recipe = self.recipe
        return {"network": recipe.network, "defaults": recipe.defaults, "clip": recipe.loss["clip"]}


class DDPMLearner(_NoiseLearner):
    """The network is told the timestep."""

    def levels(self, t: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        return self.process.levels(t), t

    def denoiser(self, shipped: nn.Module, seen: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, t: shipped(x, t, seen).float()

    def config(self) -> dict[str, Any]:
        return super().config() | {"process": self.recipe.process}


class PaletteLearner(_NoiseLearner):
    """The network is told the level, which may lie between those of two timesteps (Saharia et al. 2022)."""

    def levels(self, t: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        share = torch.from_numpy(rng.random(len(t), dtype=np.float32)).to(self.device)
        level = self.process.levels_between(t, share)
        return level, level

    def denoiser(self, shipped: nn.Module, seen: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda x, t: shipped(x, self.sampling.levels(t), seen).float()

    def config(self) -> dict[str, Any]:
        return super().config() | self.recipe.process


def make_ddpm(setting: Setting) -> DDPMLearner:
    """Fresh weights of a recipe; recipe.process: arguments of `VPProcess`."""
    recipe = setting.recipe
    with fresh_weights(setting.seed):
        model = ddpm.model_of({"process": recipe.process, "network": recipe.network, "gain": setting.pairs.gain})
    return DDPMLearner(model, model.process, model.process, setting)


def make_palette(setting: Setting) -> PaletteLearner:
    """Fresh weights of a recipe; recipe.process: {"training", "sampling"}, each arguments of `VPProcess`."""
    recipe = setting.recipe
    training, sampling = (VPProcess(**recipe.process[key]) for key in ("training", "sampling"))
    with fresh_weights(setting.seed):
        model = palette.model_of({**recipe.process, "network": recipe.network, "gain": setting.pairs.gain})
    return PaletteLearner(model, training, sampling, setting)
