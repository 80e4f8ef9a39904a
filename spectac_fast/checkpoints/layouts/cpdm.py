"""CPDM as its published runner saves it (github.com/thanhhff/CPDM)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.configurations.runner import configured

from . import Imported
from ._runner import bridge_and_network, first_stage, following, runner_file, without_schedule
from ._shapes import Shapes

__all__ = ["MODELS", "configured", "following", "read", "write"]
MODELS = ("cpdm",)
# Published weights know exp(-mu) of single pixels at 511 keV, where soft tissue has this mu in 1/cm.
_MAPS = {"attention": "nc", "attenuation": "contour", "kind": "pointwise", "mu": 0.093}
_WHY = "no tensor tells where the two maps are from; without CT they are made of the NC slice, in the published units"


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """See the folder's page. Where the maps come from is not the file's to tell: without CT, from the NC slices."""
    config, assumed = bridge_and_network(tensors, source)
    stage, beside = first_stage(tensors, config["network"], source)
    config |= stage | {
        "map_channels": Shapes(tensors, "cond_stage_model_1.channel_mapper.", source).of("weight", 4)[0],
        # What its attention map stands beside; an even number of channels is what the check of every tensor refuses.
        "context_slices": (Shapes(tensors, "cond_stage_model.channel_mapper.", source).of("weight", 4)[1] - 1) // 2,
        "map_network": None,
        "maps": dict(_MAPS),
    }
    assumed |= beside | {f"maps.{name}": _WHY for name in _MAPS}
    return Imported("cpdm", config, without_schedule(config, tensors), assumed)


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Any]:
    return runner_file(tensors, config)
