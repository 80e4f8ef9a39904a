"""What translators whose samples start from pure noise have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from spectac_fast.diffusion.reduction import moments_of
from spectac_fast.diffusion.solvers import StepTable
from spectac_fast.models.engine.batches import in_batches
from spectac_fast.models.translators.sampling import SamplingNetworkTranslator

_Sampler = Callable[[Tensor, Tensor, int], Iterator[Tensor]]


class NoiseTranslator(SamplingNetworkTranslator):
    """Base of the conditional diffusions; a method adds its `name`, `table` and `draw`.

    defaults: {"steps", "samples", "solver", "eta"} of `translate`.
    """

    def sampler(self, steps: int | list[int], solver: str | None, order: int | None, eta: float | None) -> _Sampler:
        """`draw` with the table of these options; for the solvers see `table`, they have no order."""
        table = self.table(steps, solver, eta)
        return lambda images, seeds, count: self.draw(images, seeds, table, count)

    @torch.no_grad()
    def drawn(
        self, sampler: _Sampler, images: Tensor, seeds: Tensor, count: int, spread: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        return in_batches(lambda part, keys: moments_of(sampler(part, keys, count), spread), images, seeds)

    @abstractmethod
    def table(self, steps: int | list[int] | None, solver: str | None, eta: float | None) -> StepTable:
        """The solver's table that the options of `translate` ask for; ValueError for impossible ones."""

    @abstractmethod
    def draw(self, images: Tensor, seeds: Tensor, table: StepTable, count: int) -> Iterator[Tensor]:
        """`count` samples [b, 1, rows, columns], one after the other, of slices and neighbours [b, 1 + n, ...]."""
