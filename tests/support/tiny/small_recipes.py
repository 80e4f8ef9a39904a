"""Shipped recipes with networks so narrow that a step takes a moment."""

from __future__ import annotations

import dataclasses
import json

from tiny_training import changed

from spectac_fast.train.recipe import load_recipe
from spectac_fast.train.run import Options

SIDE = 32
LATENT = ("cpdm", "lbbdm", "ldm")
_UNET = {"model_channels": 8, "channel_mult": [1, 2], "num_head_channels": 8, "norm_groups": 4}
_GENERATORS = {
    "unet_generator": {"num_downs": 5, "width": 4},
    "casnet": {"num_downs": 5, "width": 2, "blocks": 2},
    "resnet_generator": {"width": 4, "blocks": 1},
    "unit": {"width": 4, "residuals": 1},
}


def small(model, name="native64", **changes):
    """A shipped recipe with narrow networks on small slices."""
    recipe = load_recipe(model, name)
    network = json.loads(json.dumps(recipe.network))
    for part in (network, network.get("network", {})):
        if "model_channels" in part:
            part.update(_UNET)
    if "generator" in network:
        network["generator"] |= _GENERATORS[network["generator"]["kind"]]
        network["discriminator"] |= {"width": 4}
    if "registration" in network:
        network["registration"] = {"widths": [4, 4], "middle": 8}
    if "ch" in network:
        network |= {"ch": 8, "norm_groups": 4, "n_embed": 32}
    recipe = dataclasses.replace(recipe, network=network, precision="fp32")
    return changed(recipe, size=[SIDE, SIDE], batch=2, accumulate=1, **changes)


def options(model, first_stage, **more):
    return Options(seed=7, first_stage=first_stage if model in LATENT else None, **more)
