"""Training data of networks of projections: all acquisitions of some cases, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.cohort.views import ViewCohort
from spectac_fast.models.views.described import bright, step
from spectac_fast.reconstruct.acquired import Acquired


class ViewStacks:
    """Acquisitions of a cohort's cases, whole counts. gain: of counts between what is seen and what is aimed at, which
    these networks do not have.
    """

    gain = 1.0

    def __init__(self, cohort: ViewCohort, cases: Sequence[int]) -> None:
        self.pixel_mm = cohort.spacing_mm[1]
        self.acquired = [each for case in cases for each in cohort.acquisitions(case)]

    def __len__(self) -> int:
        """How many views there are."""
        return sum(each.views for each in self.acquired)

    def ranges(self) -> dict[str, list[float]]:
        """(least, most) of the counts of bright bins, of the steps between views and of the sides of bins."""
        values = {
            "bright": [bright(each.counts) for each in self.acquired],
            "step": [step(each.angles) for each in self.acquired],
            "pixel": [each.pixel_mm for each in self.acquired],
        }
        return {name: [float(min(found)), float(max(found))] for name, found in values.items()}


def thinned(counts: Tensor, share: float, rng: np.random.Generator) -> Tensor:
    """Of every count, kept with a probability: what a camera would have counted in that share of the time, exactly, and
    independent of the rest.
    """
    whole: NDArray[np.int64] = counts.numpy().astype(np.int64)
    return torch.from_numpy(rng.binomial(whole, share).astype(np.float32))


def some_views(acquired: Acquired, views: Sequence[int]) -> Acquired:
    """An acquisition of some of another's views, in this order."""
    return replace(
        acquired,
        counts=acquired.counts[list(views)],
        angles=[acquired.angles[v] for v in views],
        radius_mm=[acquired.radius_mm[v] for v in views],
        _projectors={},
    )
