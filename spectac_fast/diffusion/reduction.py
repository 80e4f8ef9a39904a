"""What becomes of samples as they are drawn: kept, or reduced to mean and spread (Welford, Technometrics 1962)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

REDUCTIONS = ("mean", "mean_std")


class KeptSamples:
    """All samples, [count, slices, ...]."""

    def __init__(self, count: int, slices: int) -> None:
        self._shape = count, slices
        self._samples: Tensor | None = None

    def add(self, number: int, part: slice, values: Tensor) -> None:
        """Sample `number` of some of the slices, [b, ...]."""
        if self._samples is None:
            self._samples = values.new_empty((*self._shape, *values.shape[1:]))
        self._samples[number, part] = values

    def result(self) -> Tensor:
        assert self._samples is not None
        return self._samples


class RunningMoments:
    """Mean and, with `spread`, standard deviation of the samples of `slices` slices, none of which is kept.

    The samples of a slice come in order, 0, 1, ...; the result depends on nothing but them. The deviation is the
    unbiased estimate (divided by one less than their number).
    """

    def __init__(self, slices: int, spread: bool) -> None:
        self._slices, self._spread = slices, spread
        self._count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, number: int, part: slice, values: Tensor) -> None:
        """Sample `number` of some of the slices, float32 [b, ...]."""
        if self._mean is None:
            self._mean = values.new_zeros((self._slices, *values.shape[1:]))
            self._squares = torch.zeros_like(self._mean) if self._spread else None
        self._count = max(self._count, number + 1)
        mean = self._mean[part]
        off = values - mean
        mean.add_(off / (number + 1))
        if self._squares is not None:
            self._squares[part].addcmul_(off, values - mean)

    def result(self) -> Tensor | tuple[Tensor, Tensor]:
        assert self._mean is not None
        if self._squares is None:
            return self._mean
        # One sample stands for equal ones.
        return self._mean, self._squares.div(max(self._count - 1, 1)).sqrt_()


def moments_of(samples: Iterable[Tensor], spread: bool) -> Tensor | tuple[Tensor, Tensor]:
    """Mean, or (mean, standard deviation), of samples [b, ...] of the same slices, one after the other."""
    moments: RunningMoments | None = None
    for number, values in enumerate(samples):
        moments = moments or RunningMoments(len(values), spread)
        moments.add(number, slice(None), values)
    if moments is None:
        raise ValueError("samples must hold at least one, found none.")
    return moments.result()
