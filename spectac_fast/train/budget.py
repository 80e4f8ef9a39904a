"""How long to train: a number of steps, or minutes of wall time; the learning rate follows the share that is spent."""

from __future__ import annotations

import math
from dataclasses import dataclass


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

    def learning_rate(self, peak: float, warmup: int, step: int, seconds: float) -> float:
        """Linear warm-up over `warmup` steps, then a cosine from `peak` to zero at the end of the budget."""
        share = min(1.0, self.spent(step, seconds) / self.total)
        return peak * min(1.0, (step + 1) / warmup) * 0.5 * (1.0 + math.cos(math.pi * share))
