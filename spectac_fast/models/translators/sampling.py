"""What translators that draw samples have in common: the options of a call, and what becomes of its samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.models.translators.network import NetworkTranslator


class SamplingNetworkTranslator(NetworkTranslator, ABC):
    """Base of the diffusions and the bridges, a `SamplingTranslator`; a method adds its `name`, `sampler` and `drawn`.

    defaults: what holds where `translate` is not told, at least {"steps", "samples", "solver", "eta"}.
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
        order: int | None = None,
        eta: float | None = None,
        **options: Any,
    ) -> Tensor:
        """NC -> AC (see `Translator.translate`); the mean of `samples` samples of `steps` network evaluations each.

        What is not given is as the defaults of the weights say, see `evaluations`; for the solvers see `sampler`.
        """
        count = self.defaults["samples"] if samples is None else samples
        if count < 1:
            raise ValueError(f"samples must be at least 1, found {count}.")
        sampler = self.sampler(self.evaluations(steps, samples), solver, order, eta)
        images, seeds = self.seen(nc, seeds, neighbours, **options)
        return self.fitted_back(self.drawn(sampler, images, seeds, count, False), nc)

    def moments(
        self,
        nc: Tensor,
        seeds: Tensor | None = None,
        *,
        samples: int,
        neighbours: Tensor | None = None,
        steps: int | list[int] | None = None,
        solver: str | None = None,
        order: int | None = None,
        eta: float | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of samples (see `SamplingTranslator.moments`); other options as `translate`."""
        if samples < 2:
            raise ValueError(f"samples must be at least 2, found {samples}.")
        sampler = self.sampler(self.evaluations(steps, samples), solver, order, eta)
        images, seeds = self.seen(nc, seeds, neighbours, **options)
        return self.fitted_back(self.drawn(sampler, images, seeds, samples, True), nc)

    def single_sample(
        self, *, steps: int | list[int] | None = None, samples: int | None = None, **options: Any
    ) -> bool:
        """See `SamplingTranslator.single_sample`."""
        return (self.defaults["samples"] if samples is None else samples) == 1

    def evaluations(self, steps: int | list[int] | None, samples: int | None) -> int | list[int]:
        """What a sample takes where `translate` is told steps and samples, either of which may be None."""
        return self.defaults["steps"] if steps is None else steps

    def seen(
        self, nc: Tensor, seeds: Tensor | None, neighbours: Tensor | None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """(what `drawn` takes as images, seeds), see `inputs`; a method adds what else its options say."""
        return self.inputs(nc, seeds, neighbours, options.get("facts"))

    @abstractmethod
    def sampler(self, steps: int | list[int], solver: str | None, order: int | None, eta: float | None) -> Any:
        """What `drawn` draws with, by the options of `translate`; ValueError for impossible ones."""

    @abstractmethod
    def drawn(
        self, sampler: Any, images: Tensor, seeds: Tensor, count: int, spread: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Mean, or with `spread` (mean, standard deviation), of `count` samples at the working size, [B, 1, ...]."""


def clip_of(config: Mapping[str, Any]) -> tuple[float, float] | None:
    """Bounds of the predictions in a configuration, (lo, hi) or None."""
    clip = config["clip"]
    return None if clip is None else (float(clip[0]), float(clip[1]))
