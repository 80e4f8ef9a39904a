"""One file per kind of training; what each method's learner is made of, by the method's name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ..learner import Learner

if TYPE_CHECKING:
    import torch

    from ..recipe import Recipe
    from ..slices import SlicePairs

# Method -> "module:function", called as function(recipe, pairs, seed, device) -> Learner.
MAKERS = {
    "bbdm": "bridge:make",
    "cyclegan": "unpaired:make_cyclegan",
    "ddpm": "noise:make_ddpm",
    "medgan": "adversarial:make_medgan",
    "palette": "noise:make_palette",
    "pix2pix": "adversarial:make_pix2pix",
    "reggan": "adversarial:make_reggan",
    "regression": "regression:make",
    "unit": "unpaired:make_unit",
}


def make_learner(recipe: Recipe, pairs: SlicePairs, seed: int, device: torch.device) -> Learner:
    """The learner of a recipe's model, its fresh weights a function of the seed."""
    module, _, function = MAKERS[recipe.model].partition(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)(recipe, pairs, seed, device)
