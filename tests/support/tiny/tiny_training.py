"""A cohort and recipes so small that a training run takes a moment."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter

from spectac_fast.data.scale import count_scale
from spectac_fast.terms import PHASES, PLANES
from spectac_fast.train.recipe import Recipe, load_recipe

SIDE, SLICES = 16, 4


class TinyCohort:
    """Smooth random volumes whose AC is twice the NC, with a little more where the neighbourhood is bright."""

    folder = "tiny"
    kinds = ("NC", "AC", "IDEAL")
    spacing_mm = (6.8, 6.8, 6.8)

    def __init__(self, seeds, side=SIDE):
        self.cases = [{"seed": seed} for seed in seeds]
        self.side = side
        self.shape = (side, side)

    def __len__(self):
        return len(self.cases)

    def series(self, i):
        return [(phase, plane) for phase in PHASES for plane in PLANES]

    def mapped(self, i, phase, plane):
        return None

    def spacing_of(self, i, phase=None, plane=None):
        return self.spacing_mm

    def pair(self, i, phase, plane):
        rng = np.random.default_rng([self.cases[i]["seed"], len(phase), *plane.encode()])
        nc = np.rint(400 * gaussian_filter(rng.random((SLICES, self.side, self.side)), (0, 2, 2)))
        return nc.astype(np.float32), np.rint(2 * nc + 0.002 * gaussian_filter(nc, 2) ** 2).astype(np.float32)

    def ideal(self, i, phase, plane):
        return np.rint(1.5 * self.pair(i, phase, plane)[1]).astype(np.float32)

    def scale(self, i, phase):
        return count_scale(self.pair(i, phase, "SA")[0], self.spacing_mm)


def changed(recipe: Recipe, **changes) -> Recipe:
    """A recipe with other settings, each put where it belongs: learning_rate into optimiser, batch into data ..."""
    groups = {name: dict(getattr(recipe, name)) for name in ("network", "loss", "data", "optimiser", "schedule")}
    for key, value in changes.items():
        (home,) = [group for group in groups.values() if key in group]
        home[key] = value
    return dataclasses.replace(recipe, **groups)


def tiny_recipe(**changes) -> Recipe:
    """The bridge's native recipe for a network of a few thousand weights on 16x16 slices."""
    small = changed(
        load_recipe("bbdm", "native64"),
        model_channels=8,
        channel_mult=[1, 2],
        num_head_channels=8,
        norm_groups=4,
        size=[SIDE, SIDE],
        batch=8,
        warmup_steps=4,
    )
    return changed(dataclasses.replace(small, precision="fp32"), **changes)
