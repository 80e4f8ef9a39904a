"""The published BBDM runner's files, which CPDM shares: {"step", "epoch", "model", "ema"}, latent statistics beside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.names import STATISTICS
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import InputError

from ._shapes import Shapes, bridge_config, unet_config, vqgan_config

_HEAD_CHANNELS = 64  # of every published network; narrower ones have heads that fit
_DEFAULTS = {"steps": 200, "samples": 1, "sample_steps": 200, "solver": "published", "order": 1, "eta": 1.0}
_TRAINED = ("denoise_fn.", "cond_stage_model")


def bridge_and_network(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """What all models of the runner share: "bridge", "network" and the templates' sampling."""
    network = unet_config(Shapes(tensors, "denoise_fn.", source), {})
    network["num_head_channels"] = math.gcd(_HEAD_CHANNELS, network["model_channels"])
    return {
        "bridge": bridge_config(tensors, source),
        "network": network,
        "defaults": dict(_DEFAULTS),
    }


def first_stage(tensors: Mapping[str, Tensor], network: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What the latent models share: "vqgan", where its latents are taken, whether they are normalised, "size", "fit".

    Where the codes are as wide as the encoder's output, nothing in the file tells on which side of `quant_conv` the
    bridge runs; the templates' side is taken.
    """
    vqgan = vqgan_config(Shapes(tensors, "vqgan.", source))
    return {
        "vqgan": vqgan,
        "before_quant_conv": network["out_channels"] != vqgan["embed_dim"],
        "normalised": any(name in tensors for name in STATISTICS),
        "size": [256, 256],
        "fit": "resize",
    }


def without_schedule(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the networks; the schedule stays in the configuration."""
    buffers = BrownianBridge(**config["bridge"]).buffers()
    return {name: value for name, value in tensors.items() if name not in buffers}


def runner_file(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """What the published runner loads; InputError for a network its class cannot be."""
    network = config["network"]
    if network.get("kind") != "unet" or network.get("norm_groups", 32) != 32 or config.get("map_network"):
        raise InputError("the network of these weights does not exist in the published layout, which has one kind only")
    full = {name: value.float() for name, value in tensors.items()}
    state = {name: value for name, value in full.items() if name not in STATISTICS}
    return {
        "step": 0,
        "epoch": 0,
        "model": {**BrownianBridge(**config["bridge"]).buffers(), **state},
        "ema": {name: value for name, value in state.items() if name.startswith(_TRAINED)},
        **{name: full[name] for name in STATISTICS if name in full},
    }
