"""What translators whose samples start from pure noise have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from spectac_fast.diffusion.reduction import moments_of
from spectac_fast.diffusion.solvers import StepTable
from spectac_fast.models.translators.network import NetworkTranslator


class NoiseTranslator(NetworkTranslator, ABC):
    """Base of the conditional diffusions; a method adds its `name`, `table` and `draw`.

    defaults: {"steps", "samples", "solver", "eta"} of `translate`.
    """

    defaults: dict[str, Any]

    def translate(
        self,
        nc: Tensor,
        seeds: Tensor | None = None,
        *,
        neighbours: Tensor | None = None,
        steps: int | list[int] | None = None,
        samples: int | None = None,
        solver: str | None = None,
        eta: float | None = None,
        **options: Any,
    ) -> Tensor:
        """NC -> AC (see `Translator.translate`); the mean of `samples` samples of `steps` network evaluations each.

        What is not given is as the defaults of the weights say; for the solvers see `table`.
        """
        count = self.defaults["samples"] if samples is None else samples
        if count < 1:
            raise ValueError(f"samples must be at least 1, found {count}.")
        table = self.table(steps, solver, eta)
        return self.run(
            lambda images, keys: moments_of(self.draw(images, keys, table, count), False), nc, seeds, neighbours
        )

    def moments(
        self,
        nc: Tensor,
        seeds: Tensor | None = None,
        *,
        samples: int,
        neighbours: Tensor | None = None,
        steps: int | list[int] | None = None,
        solver: str | None = None,
        eta: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of samples (see `SamplingTranslator.moments`); other options as `translate`."""
        if samples < 2:
            raise ValueError(f"samples must be at least 2, found {samples}.")
        table = self.table(steps, solver, eta)
        return self.run(
            lambda images, keys: moments_of(self.draw(images, keys, table, samples), True), nc, seeds, neighbours
        )

    def single_sample(self, *, samples: int | None = None, **options: Any) -> bool:
        """See `SamplingTranslator.single_sample`."""
        return (self.defaults["samples"] if samples is None else samples) == 1

    @abstractmethod
    def table(self, steps: int | list[int] | None, solver: str | None, eta: float | None) -> StepTable:
        """The solver's table that the options of `translate` ask for; ValueError for impossible ones."""

    @abstractmethod
    def draw(self, images: Tensor, seeds: Tensor, table: StepTable, count: int) -> Iterator[Tensor]:
        """`count` samples [b, 1, rows, columns], one after the other, of slices and neighbours [b, 1 + n, ...]."""
