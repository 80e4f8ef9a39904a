"""Mean and spread of samples, one after the other, without keeping them (Welford, Technometrics 1962)."""

from __future__ import annotations

from torch import Tensor

REDUCTIONS = ("mean", "mean_std")


class RunningMoments:
    """Mean and sum of squared deviations of the samples added so far; samples are float32 of one shape.

    The result depends on the samples and their order alone, not on how many were drawn at once. spread: whether the
    squared deviations are kept as well.
    """

    def __init__(self, spread: bool) -> None:
        self.count = 0
        self.spread = spread
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, sample: Tensor) -> None:
        """Take in one sample, which is not kept."""
        self.count += 1
        if self._mean is None:
            self._mean = sample.clone()
            self._squares = sample.new_zeros(sample.shape) if self.spread else None
            return
        off = sample - self._mean
        self._mean.add_(off, alpha=1.0 / self.count)
        if self._squares is not None:
            self._squares.addcmul_(off, sample - self._mean)

    def mean(self) -> Tensor:
        """Mean of at least one sample."""
        return self._mean

    def std(self) -> Tensor:
        """Standard deviation of at least two samples, the unbiased estimate (divided by their number less one)."""
        return self._squares.div(self.count - 1).sqrt_()
