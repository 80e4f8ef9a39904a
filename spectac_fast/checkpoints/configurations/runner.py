"""The YAML templates of BBDM and CPDM (github.com/xuekt98/BBDM, github.com/thanhhff/CPDM)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectac_fast.checkpoints.settings import looked_up
from spectac_fast.errors import InputError

from .section import Section, square
from .unets import first_stage, unet

_BRIDGE = "model.BB.params"


def configured(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See the folder's page."""
    if "BB" not in looked_up(published, "model", {}):
        raise InputError(f"{source}: expected the section {_BRIDGE} of a BBDM or CPDM template, found none")
    bridge = Section(published, _BRIDGE, source)
    bridge.ignore("loss_type", "UNetParams")
    found = _process(bridge)
    found |= _sampling(bridge, found["bridge.num_timesteps"])
    bridge.done()
    networks = Section(published, f"{_BRIDGE}.UNetParams", source)
    found |= unet(networks)
    if "vqgan" in config:
        found |= first_stage(published, "model.VQGAN.params", "vqgan", source)
        found["before_quant_conv"] = bool(looked_up(published, "model.latent_before_quant_conv", False))
        found["normalised"] = bool(looked_up(published, "model.normalize_latent", False))
        found |= _rescaler(published, config, source)
    size = square(looked_up(published, "data.dataset_config.image_size", None)) or _network_size(published, config)
    return found | ({"size": size, "fit": "resize"} if size else {})


def _process(bridge: Section) -> dict[str, Any]:
    return {
        "bridge.schedule": bridge.take("mt_type", "linear"),
        "bridge.objective": bridge.take("objective", "grad"),
        "bridge.num_timesteps": bridge.take("num_timesteps", 1000, int),
        "bridge.max_var": float(bridge.take("max_var", 1.0, (int, float))),
    }


def _sampling(bridge: Section, total: int) -> dict[str, Any]:
    """How the published runner samples a bridge of `total` timesteps."""
    skip, steps = bridge.take("skip_sample", False), bridge.take("sample_step", None)
    kind = bridge.take("sample_type", "linear")
    solver = "published"
    if not skip:
        steps = total
    elif kind != "linear":
        raise InputError(
            f"{bridge.source}: {bridge.name}.sample_type is {kind!r}, whose list of steps the published sampler cannot "
            "run either; only linear is known here"
        )
    elif not isinstance(steps, int) or not 3 <= steps <= total:
        raise InputError(f"{bridge.source}: expected {bridge.name}.sample_step in 3 ... {total}, found {steps!r}")
    elif steps == total:
        # Of as many steps as timesteps the published list still is one of equal strides.
        solver = "published_strides"
    return {
        "defaults.eta": float(bridge.take("eta", 1.0, (int, float))),
        "defaults.steps": steps,
        "defaults.sample_steps": steps,
        "defaults.solver": solver,
    }


def _network_size(published: Mapping[str, Any], config: Mapping[str, Any]) -> list[int] | None:
    """Of the images, by the size that the network is declared for and that the published training insists on."""
    size = square(looked_up(published, f"{_BRIDGE}.UNetParams.image_size", None))
    factor = 2 ** (len(config["vqgan"]["ch_mult"]) - 1) if "vqgan" in config else 1
    return size and [factor * length for length in size]


def _rescaler(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Of the conditioning stage of latent models that have one."""
    key = looked_up(published, f"{_BRIDGE}.UNetParams.condition_key", "nocond")
    has = config.get("rescaler") is not None or "map_channels" in config
    if key not in ("nocond", "SpatialRescaler") or (key == "SpatialRescaler") != has:
        raise InputError(
            f"{source}: {_BRIDGE}.UNetParams.condition_key is {key!r}, but the checkpoint holds a network "
            f"{'with' if has else 'without'} a SpatialRescaler"
        )
    if not has:
        return {}
    stage = Section(published, "model.CondStageParams", source)
    halvings = len(config["vqgan"]["ch_mult"]) - 1
    stage.only("n_stages", halvings, without=f"rescaler beside a first stage of {halvings} halvings that differs")
    stage.only("multiplier", 0.5, without="rescaler of other than halvings")
    found = {"in_channels": stage.take("in_channels", 3), "out_channels": stage.take("out_channels", None)}
    found |= {"method": stage.take("method", "bilinear"), "bias": bool(stage.take("bias", False))}
    stage.done()
    if "map_channels" in config:
        for key, only in (("method", "bilinear"), ("bias", False)):
            if found[key] != only:
                raise InputError(
                    f"{source}: model.CondStageParams.{key} is {found[key]!r}, expected {only!r} of a CPDM"
                )
        return {"map_channels": found["out_channels"]}
    return {f"rescaler.{key}": value for key, value in found.items()}
