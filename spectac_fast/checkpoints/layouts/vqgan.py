"""A VQGAN as taming-transformers and latent diffusion save it, with or without its losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.configurations.unets import first_stage
from spectac_fast.checkpoints.settings import looked_up
from spectac_fast.errors import InputError

from . import Imported
from ._shapes import SIZE, Shapes, vqgan_config

MODELS = ("vqgan",)
# What is only needed to train on: the discriminator and the perceptual network.
_LOSSES = "loss."


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """See the folder's page."""
    own = {name: value for name, value in tensors.items() if not name.startswith(_LOSSES)}
    network = vqgan_config(Shapes(own, "", source))
    config = {"network": network, "size": [256, 256], "fit": "resize"}
    return Imported("vqgan", config, own, {"size": SIZE, "fit": SIZE})


def configured(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See the folder's page."""
    size = looked_up(published, "model.params.ddconfig.resolution")
    found = first_stage(published, "model.params", "network", source)
    return found | ({"size": [size, size], "fit": "resize"} if isinstance(size, int) else {})


def following(config: Mapping[str, Any]) -> dict[str, Any]:
    """See the folder's page: nothing."""
    return {}


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Any]:
    if config["network"].get("norm_groups", 32) != 32:
        raise InputError(
            "the network of these weights does not exist in the published layout, which has 32 norm groups"
        )
    return {"state_dict": {name: value.float() for name, value in tensors.items()}}
