"""Learners that minimise one loss of one network with one optimizer: the loss is all they add."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.train.learner import Estimate, Setting, adam, descend, generator_of
from spectac_fast.train.slices import Batch
from spectac_fast.train.supply import Supply

# What a step learns from.
B = TypeVar("B")
B_co = TypeVar("B_co", covariant=True)


class Supplies(Protocol[B_co]):
    """Hands out batches, a function of the generator alone."""

    def batch(self, rng: np.random.Generator) -> B_co: ...


class OneNetwork(ABC, Generic[B]):
    """A `Learner` of one network. context_slices: of that network. supply: of its batches, which a subclass sets."""

    supply: Supplies[B]

    def __init__(self, model: nn.Module, setting: Setting, context_slices: int) -> None:
        recipe, self.seed, self.device = setting.recipe, setting.seed, setting.device
        self.recipe, self.context_slices = recipe, context_slices
        self.shipped = model.to(self.device, memory_format=torch.channels_last)
        self.networks = {"model": self.shipped}
        self.optimizers = {"model": adam((p for p in model.parameters() if p.requires_grad), recipe)}

    @abstractmethod
    def losses(self, batch: B, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        """Scalars of a batch; "loss" is minimised, the others are for the diary."""

    def step(self, step: int) -> dict[str, float]:
        parts = self.recipe.data["accumulate"]
        totals: dict[str, float] = {}
        for part in range(parts):
            rng = generator_of(self.seed, step, part)
            values = self.losses(self.supply.batch(rng), rng, step)
            (values["loss"] / parts).backward()
            for name, value in values.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / parts
        return {**totals, "gradient_norm": descend(self.optimizers["model"], self.recipe.gradient_clip)}

    @abstractmethod
    def estimate(self, shipped: nn.Module) -> Estimate: ...

    def tensors(self, shipped: nn.Module) -> dict[str, Tensor]:
        return dict(shipped.state_dict())

    @abstractmethod
    def config(self) -> dict[str, Any]: ...


class Supervised(OneNetwork[Batch]):
    """A `Learner` of one network from slices. context_slices, multiple: of that network."""

    def __init__(self, model: nn.Module, setting: Setting, context_slices: int, multiple: int) -> None:
        super().__init__(model, setting, context_slices)
        self.supply = Supply(setting.pairs, self.recipe.data, self.device, context_slices, multiple)
