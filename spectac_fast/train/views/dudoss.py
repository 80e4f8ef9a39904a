"""Training the completion of views: some are left out, and what the others say of them meets what was counted there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from spectac_fast.models.views.described import bright, is_closed, step
from spectac_fast.models.views.dudoss import (
    ENOUGH_STEP,
    FACTORS,
    DualDomain,
    Layout,
    among,
    guessed,
    network_of,
    reconstruction,
)
from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.projector import Projector, to_columns
from spectac_fast.train.learner import Estimate, Setting, autocast, fresh_weights
from spectac_fast.train.learners.supervised import OneNetwork
from spectac_fast.train.views.deviance import deviance
from spectac_fast.train.views.stacks import ViewStacks, some_views, thinned

# Fewer views make no reconstruction.
_FEWEST, _FARTHEST = 10, max(FACTORS) * ENOUGH_STEP
_LEAST = 0.05


class Sparse(NamedTuple):
    """Measured views of an acquisition, where all stand, and what was counted in those that are left out: `missing`
    int64 [B], places in `layout`, and `counts` [B, bins, rows].
    """

    measured: Acquired
    whole: Acquired
    layout: Layout
    missing: Tensor
    counts: Tensor


def sparse(acquired: Acquired, factor: int, start: int) -> Sparse:
    """Leave out all but every `factor`-th view, from `start` on."""
    kept = range(start, acquired.views, factor)
    closed = is_closed(acquired.angles) and acquired.views % factor == 0
    layout = Layout(len(kept), factor, closed)
    measured = some_views(acquired, kept)
    # Where the places of the layout lie in the acquisition, which may end before them.
    place = layout.missing - layout.first + start
    inside = (place >= 0) & (place < acquired.views)
    return Sparse(measured, among(measured, layout), layout, layout.missing[inside], acquired.counts[place[inside]])


def factors_of(acquired: Acquired) -> list[int]:
    """How sparse an acquisition can be made."""
    return [f for f in FACTORS if acquired.views // f >= _FEWEST and f * step(acquired.angles) <= _FARTHEST]


class SparseViews:
    """Acquisitions with views left out, one at a time. settings: a recipe's data, with {"exposures": the (least, most)
    share of the time that an acquisition takes}.
    """

    def __init__(self, stacks: ViewStacks, settings: Mapping[str, Any]) -> None:
        self.able = [each for each in stacks.acquired if factors_of(each)]
        self.settings = settings
        if not self.able:
            raise ValueError(
                f"training needs acquisitions of {2 * _FEWEST} views or more, at most {_FARTHEST / 2:g} degrees apart, "
                "found none."
            )

    def batch(self, rng: np.random.Generator) -> Sparse:
        acquired = self.able[rng.integers(len(self.able))]
        exposure = float(np.exp(rng.uniform(*np.log(self.settings["exposures"]))))
        if exposure < 1:
            acquired = replace(acquired, counts=thinned(acquired.counts, exposure, rng), _projectors={})
        factor = int(rng.choice(factors_of(acquired)))
        return sparse(acquired, factor, int(rng.integers(factor)))


class ViewLearner(OneNetwork[Sparse]):
    """Poisson's deviance of the counts of views that were left out, from what both networks make of them, and from what
    the image alone makes.

    recipe.data: {"size": [bins, rows] of which a step sees so many rows, "views": of those left out, at most}.
    recipe.loss: {"guide_weight": of the image's}.
    """

    def __init__(self, model: DualDomain, setting: Setting[ViewStacks]) -> None:
        super().__init__(model, setting, model.context_slices)
        self.ranges = setting.pairs.ranges()
        self.supply = SparseViews(setting.pairs, self.recipe.data)

    def losses(self, batch: Sparse, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        measured, whole, layout, missing, counts = batch
        nc = reconstruction(measured)
        rows = min(self.recipe.data["size"][1], nc.shape[0])
        first = int(rng.integers(nc.shape[0] - rows + 1))
        slab = slice(first, first + rows)
        some = torch.from_numpy(rng.permutation(len(missing))[: self.recipe.data["views"]])
        index, share = layout.beside(missing[some])
        places = layout.measured[index]
        wanted = counts[some][:, None, :, slab].to(self.device)
        with autocast(self.device, self.recipe.precision):
            activity = self.shipped.activity(nc[slab].to(self.device), bright(nc)).float()
            projector = Projector(whole.counts.shape[1], whole.pixel_mm, whole.angles, device=self.device)
            guide = projector.project(to_columns(activity))[0]
            expected = self.shipped.missing(
                guide[missing[some]][:, None],
                measured.counts[index][..., slab].to(self.device),
                guide[places],
                share.to(self.device),
            ).float()
        guided = deviance(guide[missing[some]][:, None] + _LEAST, wanted).mean()
        late = deviance(expected, wanted).mean()
        return {"loss": late + self.recipe.loss["guide_weight"] * guided, "deviance": late, "guide": guided}

    def watching(self, stacks: ViewStacks) -> SparseValidation:
        """What says how far a training is, of other patients."""
        return SparseValidation(stacks, network_of(self.recipe.network), self.device)

    def estimate(self, shipped: nn.Module) -> Estimate:
        def missing(of: Sparse) -> Tensor:
            return guessed(shipped, of.measured, of.whole, of.layout, of.missing, self.device)

        return missing

    def config(self) -> dict[str, Any]:
        low, high = self.ranges["bright"]
        steps = [min(FACTORS) * self.ranges["step"][0], _FARTHEST]
        learnt = {**self.ranges, "bright": [low * self.recipe.data["exposures"][0], high], "step": steps}
        return {"network": self.recipe.network, "learnt": learnt}


class SparseValidation:
    """Deviance of the counts of views that were left out, every second one, mean over acquisitions.

    rows: of what lies between the views beside them ("between"), of what the camera would count of the sparse views'
    reconstruction ("projected"), and of that with what is smooth of its error taken off ("begun"): what both networks
    begin as.
    """

    def __init__(self, stacks: ViewStacks, untrained: DualDomain, device: torch.device) -> None:
        self.tasks = [sparse(each, FACTORS[0], 0) for each in stacks.acquired if FACTORS[0] in factors_of(each)]
        begun = untrained.to(device).eval()
        self.rows = {
            "between": self.scores(_between),
            "projected": self.scores(_projected),
            "begun": self.scores(lambda of: guessed(begun, of.measured, of.whole, of.layout, of.missing, device)),
        }

    def scores(self, estimate: Estimate) -> dict[str, float]:
        """Of what expects counts of missing views, of a `Sparse`."""
        found = []
        with torch.inference_mode():
            for task in self.tasks:
                found.append(float(deviance(estimate(task), task.counts).mean()))
        return {"deviance": round(float(np.mean(found)), 5)}


def _between(of: Sparse) -> Tensor:
    index, share = of.layout.beside(of.missing)
    before, behind = (of.measured.counts[index[:, k]] for k in (1, 2))
    return before + share[:, None, None] * (behind - before) + 0.5


def _projected(of: Sparse) -> Tensor:
    columns = to_columns(reconstruction(of.measured))
    return of.whole.projector(False).project(columns)[0][of.missing] + _LEAST


def make(setting: Setting[ViewStacks]) -> ViewLearner:
    """Fresh weights of a recipe."""
    with fresh_weights(setting.seed):
        model = network_of(setting.recipe.network)
    return ViewLearner(model, setting)
