"""The published BBDM runner's files, which CPDM shares: {"step", "epoch", "model", "ema"}, latent statistics beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.names import STATISTICS
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import InputError

from ._shapes import OBJECTIVE, SAMPLING, SIZE, Shapes, bridge_config, heads_of, unet_config, vqgan_config

_HEAD_CHANNELS = 64  # of every published template
_STEPS = 200
_DEFAULTS = {"samples": 1, "solver": "published", "order": 1, "eta": 1.0}
_CLIP = (
    "no tensor tells whether predictions are cut off; the published evaluation never does, whatever clip_denoised says "
    "([-1, 1] is what its previews do then)"
)
_TRAINED = ("denoise_fn.", "cond_stage_model")


def bridge_and_network(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What all models of the runner share, "bridge", "network", the templates' sampling, and what is assumed of it."""
    shapes = Shapes(tensors, "denoise_fn.", source)
    heads, assumed = heads_of(shapes, _HEAD_CHANNELS)
    network, bridge = unet_config(shapes, heads), bridge_config(tensors, source)
    defaults = {**_steps(bridge), **_DEFAULTS}
    config = {"bridge": bridge, "network": network, "clip": None, "defaults": defaults}
    assumed |= {"bridge.objective": OBJECTIVE, "clip": _CLIP, "size": SIZE, "fit": SIZE}
    return config, assumed | {f"defaults.{name}": SAMPLING for name in defaults}


def following(config: Mapping[str, Any]) -> dict[str, Any]:
    """See the folder's page: a list of steps is no longer than the bridge."""
    return {f"defaults.{name}": steps for name, steps in _steps(config["bridge"]).items()}


def _steps(bridge: Mapping[str, Any]) -> dict[str, int]:
    return dict.fromkeys(("steps", "sample_steps"), min(_STEPS, bridge["num_timesteps"]))


def first_stage(
    tensors: Mapping[str, Tensor], network: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """What the latent models share: "vqgan", where its latents are taken, whether they are normalised, "size", "fit".

    Where the codes are as wide as the encoder's output, nothing in the file tells on which side of `quant_conv` the
    bridge runs; the templates' side is assumed.
    """
    vqgan = vqgan_config(Shapes(tensors, "vqgan.", source))
    config = {
        "vqgan": vqgan,
        "before_quant_conv": network["out_channels"] != vqgan["embed_dim"],
        "normalised": any(name in tensors for name in STATISTICS),
        "size": [256, 256],
        "fit": "resize",
    }
    if vqgan["z_channels"] != vqgan["embed_dim"]:
        return config, {}
    why = "codes and the encoder's output have as many channels, so that no tensor tells between which the bridge runs"
    return config, {"before_quant_conv": why}


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
