"""The YAML of latent diffusion (github.com/CompVis/latent-diffusion)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectac_fast.checkpoints.settings import looked_up
from spectac_fast.errors import InputError

from .section import Section
from .unets import first_stage, unet

_SCHEDULES = {"linear": "scaled_linear", "sqrt_linear": "linear", "cosine": "cosine", "sqrt": "sqrt"}
_FIRST_STAGE = "__is_first_stage__"
_TRAINING = (
    "num_timesteps_cond", "log_every_t", "first_stage_key", "cond_stage_key", "cond_stage_trainable", "monitor",
    "use_ema", "image_size", "channels", "loss_type", "ckpt_path", "ignore_keys", "load_only_unet", "scheduler_config",
    "original_elbo_weight", "l_simple_weight", "learn_logvar", "logvar_init", "concat_mode", "cond_stage_forward",
    "given_betas", "clip_denoised", "use_positional_encodings", "unet_config", "first_stage_config",
    "cond_stage_config", "scale_factor", "scale_by_std",
)  # fmt: skip


def configured(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See the folder's page."""
    params = Section(published, "model.params", source)
    found = _process(params)
    params.only("conditioning_key", "concat", None, without="conditioning but by concatenation")
    params.ignore(*_TRAINING)
    params.done()
    network = Section(published, "model.params.unet_config.params", source)
    found |= unet(network)
    found |= first_stage(published, "model.params.first_stage_config.params", "vqgan", source)
    found |= _conditioning(published, config, source)
    if "scale_factor" in config:
        if looked_up(published, "model.params.scale_by_std", False):
            raise InputError(f"{source}: model.params.scale_by_std is true, but the checkpoint holds no scale_factor")
        found["scale_factor"] = float(looked_up(published, "model.params.scale_factor", 1.0))
    size = looked_up(published, "model.params.first_stage_config.params.ddconfig.resolution")
    return found | ({"size": [size, size], "fit": "resize"} if isinstance(size, int) else {})


def _process(params: Section) -> dict[str, Any]:
    kind = params.take("beta_schedule", "linear")
    if kind not in _SCHEDULES:
        raise InputError(f"{params.source}: {params.name}.beta_schedule is {kind!r}, expected {', '.join(_SCHEDULES)}")
    params.only("parameterization", "eps", without="network that predicts it")
    params.only("v_posterior", 0, 0.0, without="variance between the two bounds")
    start, end = float(params.take("linear_start", 1e-4)), float(params.take("linear_end", 2e-2))
    found = {"process.schedule": _SCHEDULES[kind], "process.num_timesteps": params.take("timesteps", 1000, int)}
    if kind == "cosine":
        params.only("cosine_s", 8e-3, without="other offset of the cosine schedule")
        return found
    params.ignore("cosine_s")
    return found | {"process.beta_start": start, "process.beta_end": end}


def _conditioning(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What makes the condition of an image: the first stage, or a rescaler."""
    name = "model.params.cond_stage_config"
    said = looked_up(published, name)
    if said == _FIRST_STAGE:
        return {"rescaler": None}
    target = said.get("target", "") if isinstance(said, Mapping) else repr(said)
    if not target.endswith(".SpatialRescaler"):
        raise InputError(
            f"{source}: {name} is {target}, expected {_FIRST_STAGE} or a SpatialRescaler: a condition that is already "
            "of a latent's size, or text, is nothing that a slice is"
        )
    stage = Section(published, f"{name}.params", source)
    halvings = len(config["vqgan"]["ch_mult"]) - 1
    stage.only("n_stages", halvings, without=f"rescaler beside a first stage of {halvings} halvings that differs")
    stage.only("multiplier", 0.5, without="rescaler of other than halvings")
    found = {"in_channels": stage.take("in_channels", 3), "out_channels": stage.take("out_channels", None)}
    found |= {"method": stage.take("method", "bilinear"), "bias": bool(stage.take("bias", False))}
    stage.done()
    return {"rescaler": found}
