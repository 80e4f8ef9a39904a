"""BBDM, in pixel space or between latents, as its published runner saves it (github.com/xuekt98/BBDM)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.configurations.runner import configured
from spectac_fast.errors import InputError

from . import Imported
from ._runner import bridge_and_network, first_stage, following, runner_file, without_schedule
from ._shapes import RESCALER, Shapes

__all__ = ["MODELS", "configured", "following", "read", "write"]
MODELS = ("bbdm", "lbbdm")
# What the published runner drops when it is given a first stage's own training file.
_LOSSES = "vqgan.loss."


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """See the folder's page. No shape tells the objective and the width of a head: the templates' are assumed."""
    if any(name.startswith("cond_stage_model_1.") for name in tensors):
        raise InputError(f"{source} is one of CPDM, for it holds cond_stage_model_1: its layout is cpdm")
    config, assumed = bridge_and_network(tensors, source)
    if not any(name.startswith("vqgan.") for name in tensors):
        config |= {"size": [64, 64], "fit": "pad"}
        return Imported("bbdm", config, without_schedule(config, tensors), assumed)
    tensors = {name: value for name, value in tensors.items() if not name.startswith(_LOSSES)}
    stage, beside = first_stage(tensors, config["network"], source)
    config |= stage | {"rescaler": rescaler(tensors, config["network"], source)}
    if config["rescaler"]:
        beside["rescaler.method"] = RESCALER
    return Imported("lbbdm", config, without_schedule(config, tensors), assumed | beside)


def rescaler(tensors: dict[str, Tensor], network: dict[str, Any], source: str) -> dict[str, Any] | None:
    """The conditioning stage of a latent model, which without a mapper leaves the image's channels as they are."""
    mapper = Shapes(tensors, "cond_stage_model.channel_mapper.", source)
    if "weight" in mapper:
        out_channels, in_channels = mapper.of("weight", 4)[:2]
        found = {"in_channels": in_channels, "out_channels": out_channels, "bias": "bias" in mapper}
        return found | {"method": "bilinear"}
    if not (beside := network["in_channels"] - network["out_channels"]):
        return None
    return {"in_channels": beside, "out_channels": None, "bias": False, "method": "bilinear"}


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Any]:
    return runner_file(tensors, config)
