"""One file per kind of training; what each method's learner is made of, by the method's name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from spectac_fast.errors import UsageError
from spectac_fast.train.learner import Learner

if TYPE_CHECKING:
    from spectac_fast.train.learner import Setting

# Method -> "module:function", called as function(setting) -> Learner; a module that begins with a dot lies beside this
# folder.
MAKERS = {
    "bbdm": "bridge:make",
    "cyclegan": "unpaired:make_cyclegan",
    "cpdm": "latent:make_cpdm",
    "cunet": ".views.cunet:make",
    "ddpm": "noise:make_ddpm",
    "dudoss": ".views.dudoss:make",
    "lbbdm": "latent:make_lbbdm",
    "ldm": "latent_noise:make",
    "medgan": "adversarial:make_medgan",
    "mumap": "mumap:make",
    "mumap-bridge": "mumap_bridge:make",
    "palette": "noise:make_palette",
    "pix2pix": "adversarial:make_pix2pix",
    "reggan": "adversarial:make_reggan",
    "regression": "regression:make",
    "unit": "unpaired:make_unit",
    "vqgan": "first_stage:make",
}


def make_learner(setting: Setting) -> Learner:
    """The learner of a recipe's model, its fresh weights a function of the seed.

    Raises UsageError for a recipe whose networks cannot be built.
    """
    module, _, function = MAKERS[setting.recipe.model].partition(":")
    make = getattr(importlib.import_module(f".{module}", __name__), function)
    try:
        return make(setting)
    except ValueError as error:
        raise UsageError(f"the recipe {setting.recipe.name}: {error}") from error
