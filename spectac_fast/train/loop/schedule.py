"""How the learning rate goes: a share of the peak, by the share of the budget that is spent or by the loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import torch


class Schedule(Protocol):
    """Sets learning rates. state: what a resumed run needs of it."""

    def before(self, step: int, share: float) -> None:
        """Called before a step, with the share 0 ... 1 of the budget that is spent."""
        ...

    def after(self, loss: float) -> None:
        """Called after it, with its loss."""
        ...

    def state(self) -> dict[str, Any]: ...

    def load(self, state: Mapping[str, Any]) -> None: ...


class ByShare:
    """Linear warm-up over some steps, then a factor that falls with the share of the budget.

    kind: "constant", "cosine" (to zero), or "linear" (constant for `flat` of the budget, then linearly to zero: the
    n_epochs and n_epochs_decay of pix2pix are flat = n / (n + decay)).
    """

    def __init__(
        self, optimizers: Iterable[torch.optim.Optimizer], kind: str, warmup_steps: int = 0, flat: float = 0.0
    ) -> None:
        # Not their groups: loading a state replaces those.
        self._optimizers = list(optimizers)
        self._kind, self._warmup, self._flat = kind, warmup_steps, flat

    def before(self, step: int, share: float) -> None:
        warm = min(1.0, (step + 1) / self._warmup) if self._warmup else 1.0
        factor = warm * self._factor(min(1.0, share))
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor

    def _factor(self, share: float) -> float:
        if self._kind == "cosine":
            return 0.5 * (1.0 + math.cos(math.pi * share))
        if self._kind == "linear":
            return min(1.0, (1.0 - share) / (1.0 - self._flat))
        return 1.0

    def after(self, loss: float) -> None:
        """The loss does not matter."""

    def state(self) -> dict[str, Any]:
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """There is nothing to take up."""


class Plateau:
    """torch's ReduceLROnPlateau, stepped with the loss of every step as the BBDM runner does."""

    def __init__(
        self, optimizers: Iterable[torch.optim.Optimizer], factor: float, patience: int, cooldown: int, min_lr: float
    ) -> None:
        self._schedulers = [
            torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=factor, patience=patience, cooldown=cooldown, min_lr=min_lr
            )
            for optimizer in optimizers
        ]

    def before(self, step: int, share: float) -> None:
        """The share does not matter."""

    def after(self, loss: float) -> None:
        for scheduler in self._schedulers:
            scheduler.step(loss)

    def state(self) -> dict[str, Any]:
        return {"schedulers": [scheduler.state_dict() for scheduler in self._schedulers]}

    def load(self, state: Mapping[str, Any]) -> None:
        for scheduler, saved in zip(self._schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(saved)


def make_schedule(settings: Mapping[str, Any], optimizers: Iterable[torch.optim.Optimizer]) -> Schedule:
    """The schedule of a recipe: {"kind": "constant" | "cosine" | "linear" | "plateau", ...}; ValueError otherwise."""
    arguments = dict(settings)
    kind = arguments.pop("kind")
    if kind == "plateau":
        return Plateau(optimizers, **arguments)
    if kind not in ("constant", "cosine", "linear"):
        raise ValueError(f"the schedule must be constant, cosine, linear or plateau, found {kind!r}.")
    return ByShare(optimizers, kind, **arguments)
