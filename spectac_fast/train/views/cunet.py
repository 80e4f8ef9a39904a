"""Training the denoising of counts by counts: one part of every photon's coin guesses the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.views.cunet import CountNetwork, neighbours, network_of
from spectac_fast.models.views.described import is_closed, step
from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.train.learner import Estimate, Setting, autocast, fresh_weights
from spectac_fast.train.learners.supervised import OneNetwork
from spectac_fast.train.views.deviance import deviance
from spectac_fast.train.views.stacks import ViewStacks, thinned

# Neighbours may be a second view away where that is no farther than this, degrees.
_FARTHEST_STEP = 6.5


class Split(NamedTuple):
    """Thinned counts of views among their neighbours [B, 1 + 2 context, H, W]; the middle views' other counts
    [B, 1, H, W]; how many of these there are to one of the former [B, 1, 1, 1].
    """

    seen: Tensor
    rest: Tensor
    ratio: Tensor


class SplitCounts:
    """Batches of acquisitions. settings: a recipe's data, with {"size": [bins, rows] that are cut out, "exposures": the
    (least, most) share of the time that an acquisition takes, "shares": the same of its counts that are seen}.
    """

    def __init__(self, stacks: ViewStacks, settings: Mapping[str, Any], context: int) -> None:
        self.stacks, self.settings, self.context = stacks, settings, context

    def batch(self, rng: np.random.Generator) -> Split:
        parts = [self._one(rng) for _ in range(self.settings["batch"])]
        return Split(*(torch.stack(each) for each in zip(*parts, strict=True)))

    def _one(self, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        acquired = self.stacks.acquired[rng.integers(len(self.stacks.acquired))]
        stride = 1 + int(2 * step(acquired.angles) <= _FARTHEST_STEP and rng.random() < 0.3)
        index = neighbours(acquired.views, self.context, is_closed(acquired.angles), stride)
        exposure = float(np.exp(rng.uniform(*np.log(self.settings["exposures"]))))
        share = float(rng.uniform(*self.settings["shares"]))
        counts = cut(acquired.counts[index[rng.integers(acquired.views)]], self.settings["size"], rng)
        seen = thinned(counts, exposure * share, rng)
        # Of the photons that are not seen, those that were counted within the exposure.
        middle, other = slice(self.context, self.context + 1), exposure * (1 - share) / (1 - exposure * share)
        return seen, thinned((counts - seen)[middle], other, rng), torch.full((1, 1, 1), (1 - share) / share)


def cut(views: Tensor, size: tuple[int, int], rng: np.random.Generator) -> Tensor:
    """A random window of views [V, bins, rows]; what lies beside them holds no counts."""
    short = [max(wanted - there, 0) for wanted, there in zip(size, views.shape[1:], strict=True)]
    views = F.pad(views, (0, short[1], 0, short[0]))
    first = [int(rng.integers(there - wanted + 1)) for wanted, there in zip(size, views.shape[1:], strict=True)]
    return views[:, first[0] : first[0] + size[0], first[1] : first[1] + size[1]]


class CountLearner(OneNetwork[Split]):
    """Poisson's deviance of the counts that were not seen from what both U-Nets expect of them.

    recipe.loss: {"first_weight": of the first U-Net's}.
    """

    def __init__(self, model: CountNetwork, setting: Setting[ViewStacks]) -> None:
        super().__init__(model, setting, model.context_views)
        self.ranges = setting.pairs.ranges()
        self.supply = SplitCounts(setting.pairs, self.recipe.data, model.context_views)

    def losses(self, batch: Split, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        seen, rest, ratio = (each.to(self.device) for each in batch)
        with autocast(self.device, self.recipe.precision):
            first, second = self.shipped(seen)
        early, late = (deviance(found.float() * ratio, rest).mean() for found in (first, second))
        return {"loss": late + self.recipe.loss["first_weight"] * early, "deviance": late}

    def watching(self, stacks: ViewStacks) -> CountValidation:
        """What says how far a training is, of other patients."""
        return CountValidation(stacks, self.context_slices, self.device)

    def estimate(self, shipped: nn.Module) -> Estimate:
        return lambda counts: shipped(counts)[1].float()

    def config(self) -> dict[str, Any]:
        exposures, shares = self.recipe.data["exposures"], self.recipe.data["shares"]
        (low, high), (narrow, wide) = self.ranges["bright"], self.ranges["step"]
        learnt = {
            **self.ranges,
            "bright": [low * exposures[0] * shares[0], high * shares[1]],
            "step": [narrow, 2 * wide if 2 * wide <= _FARTHEST_STEP else wide],
        }
        return {"network": self.recipe.network, "learnt": learnt}


class CountValidation:
    """Deviance of half of the counts from what is expected of them by the other half, mean over acquisitions.

    rows: where the other half itself is expected ("counted"), and the mean of 3x3 bins of three views ("mean").
    """

    _EVERY = 4

    def __init__(self, stacks: ViewStacks, context: int, device: torch.device) -> None:
        self.stacks, self.context, self.device = stacks, context, device
        middle = slice(context, context + 1)
        self.rows = {
            "counted": self.scores(lambda counts: counts[:, middle] + 0.5),
            "mean": self.scores(
                lambda counts: (
                    0.05
                    + F.avg_pool2d(counts[:, context - 1 : context + 2], 3, 1, 1, count_include_pad=False).mean(
                        1, keepdim=True
                    )
                )
            ),
        }

    def scores(self, estimate: Estimate) -> dict[str, float]:
        """Of what expects counts of views among their neighbours."""
        found = [self._one(k, estimate) for k in range(len(self.stacks.acquired))]
        return {"deviance": round(float(np.mean(found)), 5)}

    def _one(self, k: int, estimate: Estimate) -> float:
        acquired: Acquired = self.stacks.acquired[k]
        seen = thinned(acquired.counts, 0.5, np.random.default_rng(k))
        index = neighbours(acquired.views, self.context, is_closed(acquired.angles))[:: self._EVERY]
        rest = (acquired.counts - seen)[:: self._EVERY, None]
        with torch.inference_mode():
            found = torch.cat([estimate(seen[part].to(self.device)).cpu() for part in index.split(8)])
        return float(deviance(found, rest).mean())


def make(setting: Setting[ViewStacks]) -> CountLearner:
    """Fresh weights of a recipe."""
    with fresh_weights(setting.seed):
        model = network_of(setting.recipe.network)
    return CountLearner(model, setting)
