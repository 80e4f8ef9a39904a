"""How far counts may be off: what OSEM makes of other attenuation maps that NC allows, and of other photons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.settings import Reconstruction


def samples(
    acquired: Acquired,
    how: Reconstruction,
    maps: Sequence[Tensor] | Tensor,
    *,
    scatter: Tensor | None = None,
    expected: Tensor | None = None,
    seed: int = 0,
) -> Iterator[Tensor]:
    """AC volumes [z, y, x] after the filter, one by each map [z, m, m] in 1/cm.

    scatter: expected scatter like the counts, the same for all. expected: mean counts of the views, of which every map
    meets an acquisition of its own, drawn from Poisson's law (parametric bootstrap); None = all meet the counts at
    hand. What is drawn is a function of the seed and the map's number.
    """
    for k, mu in enumerate(maps):
        taken = acquired
        if expected is not None:
            drawn = np.random.default_rng([seed, k]).poisson(expected.double().cpu().numpy())
            taken = replace(acquired, counts=torch.from_numpy(drawn.astype(np.float32)).to(expected.device))
        yield low_pass(taken.volume(how, mu=mu, scatter=scatter), acquired.pixel_mm, how.filter)


def expected_counts(acquired: Acquired, how: Reconstruction, ac: Tensor, mu: Tensor, scatter: Tensor | None) -> Tensor:
    """Mean counts of the views [V, bins, rows] of an AC volume [z, y, x] and its map, for `samples`."""
    primary = acquired.expected(ac, mu, how.resolution_recovery)
    return (primary if scatter is None else primary + scatter).clamp_min(0)


class Spread:
    """Standard deviation of arrays of one shape that come one by one (Welford 1962)."""

    def __init__(self) -> None:
        self._count, self._mean, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, values: Tensor) -> None:
        """One more of them."""
        values = values.double()
        self._count += 1
        off = values - self._mean
        self._mean = self._mean + off / self._count
        self._squares = self._squares + off * (values - self._mean)

    @property
    def deviation(self) -> Tensor:
        """Float32, of at least two."""
        return (self._squares / (self._count - 1)).sqrt().float()
