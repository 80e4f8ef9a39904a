"""Latent diffusion with a VQ first stage, as its Lightning files hold it (github.com/CompVis/latent-diffusion)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectac_fast.checkpoints.configurations.ldm import configured
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.errors import InputError

from . import Imported
from ._shapes import RESCALER, SAMPLING, SIZE, Shapes, check_predicts_noise, unet_config, vqgan_config

__all__ = ["MODELS", "configured", "following", "read", "write"]
MODELS = ("ldm",)
_NETWORK, _FIRST, _CONDITION = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
# What latent diffusion's own settings take: 8 heads for semantic synthesis and inpainting, heads of 32 channels for
# super-resolution and most unconditional networks.
_HEADS = 8
_HEAD_WHY = (
    "no tensor tells how attention is divided into heads, and the published settings differ (num_heads 8, or "
    "num_head_channels 32)"
)
_SCHEDULES = ("scaled_linear", "linear", "cosine", "sqrt")
_STEPS = 50
_DEFAULTS = {"samples": 1, "solver": "published", "eta": 0.0}
# Said by a configuration, or by --set: an entry that no tensor tells, and without which there is no condition.
UNSAID = "unsaid"
_CONDITION_WHY = (
    "it holds no conditioning stage, so that nothing tells what the condition goes through (null: the first stage)"
)
_SCALE_WHY = "it holds no scale_factor, which is then a number of its settings; the published default is taken"
# Of the published average: its rate, and how many steps it has seen (it warms up over the first).
_AVERAGE = {"decay": torch.tensor(0.9999), "num_updates": torch.tensor(0, dtype=torch.int32)}


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """See the folder's page. No shape tells the number of attention heads: that of the published settings is taken."""
    own = {name: value for name, value in tensors.items() if not name.startswith(f"{_FIRST}loss.")}
    shapes = Shapes(own, _NETWORK, source)
    heads = {"num_head_channels": -1, "num_heads": _heads(shapes), "use_new_attention_order": False}
    network = unet_config(shapes, heads)
    assumed = {f"network.{name}": _HEAD_WHY for name in heads} | {"size": SIZE, "fit": SIZE, "clamp": SAMPLING}
    config: dict[str, Any] = {
        "process": asdict(_process(own, source)),
        "network": network,
        "vqgan": vqgan_config(Shapes(own, _FIRST, source)),
        "rescaler": None,
        "clamp": True,
        "size": [256, 256],
        "fit": "resize",
    }
    config["defaults"] = {"steps": _steps(config["process"]["num_timesteps"]), **_DEFAULTS}
    assumed |= {f"defaults.{name}": SAMPLING for name in config["defaults"]}
    own = {name: value for name, value in own.items() if name not in _schedule(VPProcess(**config["process"]))}
    mapper = Shapes(own, f"{_CONDITION}channel_mapper.", source)
    if "weight" in mapper:
        out_channels, in_channels = mapper.of("weight", 4)[:2]
        config["rescaler"] = {"in_channels": in_channels, "out_channels": out_channels, "bias": "bias" in mapper}
        config["rescaler"]["method"] = "bilinear"
        assumed["rescaler.method"] = RESCALER
    elif any(name.startswith(_CONDITION) for name in own):
        own = _without_second_copy(own, source)
    elif (beside := network["in_channels"] - network["out_channels"]) != config["vqgan"]["embed_dim"]:
        # What is no latent can only be the image itself, made smaller.
        config["rescaler"] = {"in_channels": beside, "out_channels": None, "bias": False, "method": "bilinear"}
        assumed["rescaler.method"] = RESCALER
    else:
        config["rescaler"] = UNSAID
        assumed["rescaler"] = _CONDITION_WHY
    if "scale_factor" not in own:
        config["scale_factor"] = 1.0
        assumed["scale_factor"] = _SCALE_WHY
    own.pop("logvar", None)
    return Imported("ldm", config, own, assumed)


def following(config: Mapping[str, Any]) -> dict[str, Any]:
    """See the folder's page: a list of steps is no longer than the process."""
    return {"defaults.steps": _steps(config["process"]["num_timesteps"])}


def _steps(total: int) -> int:
    # With the strides of some numbers the published list begins beyond the last timestep.
    return next(steps for steps in range(min(_STEPS, total), 0, -1) if (total - 1) % (total // steps))


def _heads(shapes: Shapes) -> int:
    """As many heads as the published settings that say their number, where every attention block divides by them."""
    widths = [shape[1] for name, shape in shapes.found.items() if name.endswith(".qkv.weight")]
    return math.gcd(_HEADS, *widths)


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Any]:
    if any(config[part].get("norm_groups", 32) != 32 for part in ("network", "vqgan")) or (
        config["network"].get("kind") != "unet"
    ):
        raise InputError("the network of these weights does not exist in the published layout, which has one kind only")
    check_predicts_noise(VPProcess(**config["process"]))
    state = {name: value.float() for name, value in tensors.items()}
    average = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): value
        for name, value in state.items()
        if name.startswith(_NETWORK)
    }
    average |= {f"model_ema.{name}": value for name, value in _AVERAGE.items()}
    # Where the first stage conditions too, the published module holds it under both names.
    copies = {} if config["rescaler"] else {name: v for name, v in state.items() if name.startswith(_FIRST)}
    condition = {_CONDITION + name.removeprefix(_FIRST): value for name, value in copies.items()}
    return {"state_dict": {**_schedule(VPProcess(**config["process"])), **state, **condition, **average}}


def _without_second_copy(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The state without the condition's first stage, which is the target's under another name."""
    for name, value in state.items():
        if name.startswith(_CONDITION):
            same = state.get(_FIRST + name.removeprefix(_CONDITION))
            if same is None or same.shape != value.shape or not torch.equal(same, value):
                raise InputError(
                    f"{source} does not fit the layout: {name} is neither of a rescaler nor the first stage's own"
                )
    return {name: value for name, value in state.items() if not name.startswith(_CONDITION)}


def _process(state: Mapping[str, Tensor], source: str) -> VPProcess:
    """The process whose schedule the file holds."""
    steps = Shapes(state, "", source).of("betas", 1)[0]
    start, end = (float(f"{float(state['betas'][i]):.5g}") for i in (0, -1))
    ends = {"sqrt": (float(f"{start**2:.5g}"), float(f"{end**2:.5g}")), "cosine": (1e-4, 2e-2)}
    for schedule in _SCHEDULES:
        try:
            process = VPProcess(steps, schedule, *ends.get(schedule, (start, end)))
        except ValueError:
            continue
        expected = _schedule(process)
        if all(
            name in state
            and state[name].shape == value.shape
            and np.allclose(state[name].double(), value.double(), rtol=1e-3, atol=1e-5)
            for name, value in expected.items()
        ):
            return process
    raise InputError(
        f"{source} does not fit the layout: its buffers betas ... posterior_mean_coef2 are no {', '.join(_SCHEDULES)} "
        f"schedule of {steps} steps with v_posterior 0"
    )


def _schedule(process: VPProcess) -> dict[str, Tensor]:
    """The schedule buffers of every published file, float32 [T]."""
    level, palettes = process.level, process.buffers()
    before = np.append(1.0, level[:-1])
    arrays = {
        "betas": process.beta,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": np.sqrt(level),
        "sqrt_one_minus_alphas_cumprod": np.sqrt(1.0 - level),
        "log_one_minus_alphas_cumprod": np.log(1.0 - level),
        "posterior_variance": process.beta * (1.0 - before) / (1.0 - level),
    }
    return {
        **{name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()},
        **{name.replace("gammas", "alphas_cumprod"): value for name, value in palettes.items() if name != "gammas"},
        "alphas_cumprod": palettes["gammas"],
    }
