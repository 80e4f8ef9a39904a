"""What the loop asks of a method, and the pieces that most methods share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.train.loop.distributed import average_gradients, rank
from spectac_fast.train.maps.slices import MapSlices
from spectac_fast.train.recipe import Recipe
from spectac_fast.train.slices import SlicePairs
from spectac_fast.train.views.stacks import ViewStacks

# Of slices and neighbours as channels in most methods.
Estimate = Callable[[Any], Tensor]
Pairs = TypeVar("Pairs", bound=SlicePairs | MapSlices | ViewStacks)


class Learner(Protocol):
    """One method's training. Its data order and its noise are functions of the seed, the step and the rank.

    networks: everything with weights, by name. optimizers: by name; the loop sets their learning rates as a share of
    each group's "initial_lr". shipped: the part whose running average becomes the weight file. context_slices: how many
    neighbouring slices on either side it looks at.
    """

    networks: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
    shipped: nn.Module
    context_slices: int

    def step(self, step: int) -> dict[str, float]:
        """One optimisation step of every optimizer; scalars for the diary, "loss" among them."""
        ...

    def estimate(self, shipped: nn.Module) -> Estimate:
        """A quick NC -> AC of such a network, for watching: slices and neighbours as channels -> [B, 1, H, W]."""
        ...

    def tensors(self, shipped: nn.Module) -> dict[str, Tensor]:
        """What the weight file holds of such a network."""
        ...

    def config(self) -> dict[str, Any]:
        """What the weight file says of it, without the data's own numbers."""
        ...


@dataclass(frozen=True)
class Setting(Generic[Pairs]):
    """What a learner is made of. pairs: of NC and AC, or of NC and maps, or acquisitions. first_stage: weight file of
    the VQGAN of a latent model, None for the others.
    """

    recipe: Recipe
    pairs: Pairs
    seed: int
    device: torch.device
    first_stage: Path | None = None


@contextmanager
def fresh_weights(seed: int) -> Iterator[None]:
    """Networks built inside get weights that are a function of the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def generator_of(seed: int, step: int, part: int = 0) -> np.random.Generator:
    """The random numbers of one batch: `part` counts the batches of a step."""
    return np.random.default_rng([seed, step, part, rank()])


def adam(parameters: Iterable[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW of a recipe, in one kernel; without weight decay that is Adam. `initial_lr` of its group is the recipe's
    learning rate.
    """
    settings = recipe.optimiser
    optimizer = torch.optim.AdamW(
        parameters,
        lr=settings["learning_rate"],
        betas=tuple(settings["betas"]),
        weight_decay=settings["weight_decay"],
        fused=True,
    )
    for group in optimizer.param_groups:
        group["initial_lr"] = settings["learning_rate"]
    return optimizer


def descend(optimizer: torch.optim.Optimizer, clip: float | None) -> float:
    """Apply the gradients at hand, averaged over ranks and clipped to a norm; returns the norm before clipping."""
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    average_gradients(parameters)
    norm = nn.utils.clip_grad_norm_(parameters, float("inf") if clip is None else clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(norm)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """bfloat16 for what pays and is safe in it where the precision is "bf16", nothing for "fp32"."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
