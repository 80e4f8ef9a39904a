"""How long to train: a number of steps, or minutes of wall time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Budget:
    """Either `steps` or `minutes` is given. A run by steps is a function of its seed, also when it is interrupted and
    resumed; a run by minutes depends on how fast the machine was."""

    steps: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("a budget needs either steps or minutes.")

    @property
    def total(self) -> int:
        """The whole budget in its unit (steps, or seconds)."""
        return self.steps if self.steps is not None else round(60 * self.minutes)

    @property
    def unit(self) -> str:
        """What `total` counts."""
        return "steps" if self.steps is not None else "s"

    def spent(self, step: int, seconds: float) -> float:
        """How much of `total` is used after `step` steps and `seconds` of training."""
        return step if self.steps is not None else seconds


def budget_of(settings: Mapping[str, Any], slices: int, slices_per_step: int) -> Budget:
    """The budget a recipe names: {"steps": n}, {"minutes": m} or {"epochs": e}, passes over so many slices."""
    if "epochs" in settings:
        return Budget(steps=math.ceil(settings["epochs"] * slices / slices_per_step))
    return Budget(**settings)
