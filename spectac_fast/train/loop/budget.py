"""How long to train: a number of steps, of slices seen, or minutes of wall time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Budget:
    """One of `steps`, `minutes` and `slices` is given. A run by steps or slices is a function of its seed, also when it
    is interrupted and resumed; a run by minutes depends on how fast the machine was.

    slices: so many are seen by all processes together, repetitions counted; the last step may see a few more.
    """

    steps: int | None = None
    minutes: float | None = None
    slices: int | None = None

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.steps, self.minutes, self.slices)) != 1:
            raise ValueError("a budget needs one of steps, minutes and slices.")

    @property
    def total(self) -> int:
        """The whole budget in its unit."""
        if self.minutes is not None:
            return round(60 * self.minutes)
        if self.steps is not None:
            return self.steps
        assert self.slices is not None
        return self.slices

    @property
    def unit(self) -> str:
        """What `total` counts: "steps", "slices" or "s"."""
        if self.minutes is not None:
            return "s"
        return "steps" if self.steps is not None else "slices"

    def spent(self, step: int, slices: int, seconds: float) -> float:
        """How much of `total` is used after `step` steps that saw `slices` slices in `seconds`."""
        return {"steps": step, "slices": slices, "s": seconds}[self.unit]


def budget_of(settings: Mapping[str, Any], slices: int) -> Budget:
    """The budget a recipe names: {"steps": n}, {"slices": n}, {"minutes": m} or {"epochs": e}, passes over so many
    slices."""
    if "epochs" in settings:
        return Budget(slices=math.ceil(settings["epochs"] * slices))
    return Budget(**settings)
