"""BBDM, in pixel space or between latents, as its published runner saves it (github.com/xuekt98/BBDM)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError

from . import Imported
from ._runner import bridge_and_network, first_stage, runner_file, without_schedule
from ._shapes import Shapes

MODELS = ("bbdm", "lbbdm")


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """See the folder's page. No shape tells the objective and the width of a head: the templates' are taken."""
    if any(name.startswith("cond_stage_model_1.") for name in tensors):
        raise InputError(f"{source} is one of CPDM, for it holds cond_stage_model_1: its layout is cpdm")
    config = bridge_and_network(tensors, source)
    if not any(name.startswith("vqgan.") for name in tensors):
        return Imported("bbdm", {**config, "size": [64, 64], "fit": "pad"}, without_schedule(config, tensors))
    config |= first_stage(tensors, config["network"], source) | {"rescaler": None}
    mapper = Shapes(tensors, "cond_stage_model.channel_mapper.", source)
    if "weight" in mapper:
        out_channels, in_channels = mapper.of("weight", 4)[:2]
        config["rescaler"] = {"in_channels": in_channels, "out_channels": out_channels}
    return Imported("lbbdm", config, without_schedule(config, tensors))


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Any]:
    return runner_file(tensors, config)
