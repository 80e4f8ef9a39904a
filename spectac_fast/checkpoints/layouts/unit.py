"""github.com/mingyuliutw/UNIT: `gen_%08d.pt`, the state dicts of both domains' generators under "a" and "b".

Domain a must have been NC and b AC: the translator encodes with a and decodes with b.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.configurations.generators import unit as configured
from spectac_fast.errors import InputError

from . import Imported
from ._generators import CONTEXT, PUBLISHED_SIZE, following, neighbours, without_statistics
from ._shapes import SIZE, Shapes

__all__ = ["MODELS", "configured", "following", "read", "write"]
_LAYERS = "no tensor tells the activation of hidden layers and how borders are continued; the templates' are taken"
MODELS = ("unit",)


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """Both generators; InputError for anything else."""
    if any(".cnns." in name for name in tensors):
        raise InputError(f"{source} holds discriminators, which only training needs; import gen_*.pt")
    shapes = Shapes(tensors, "a.enc.model.", source)
    width, inputs, *_ = shapes.of("0.conv.weight", 4)
    channels = Shapes(tensors, "b.enc.model.", source).of("0.conv.weight", 4)[1]
    network = {
        "kind": "unit",
        "channels": channels,
        # Of domain a, whose images may have more channels; in pairs, or the check of every tensor says so.
        "context_slices": (inputs - channels) // 2,
        "width": width,
        "downs": shapes.count(r"(\d+)\.conv\.") - 1,
        "residuals": shapes.count(r"\d+\.model\.(\d+)\."),
        "activation": "relu",
        "padding": "reflect",
    }
    assumed = {"network.activation": _LAYERS, "network.padding": _LAYERS, "size": SIZE, "fit": SIZE}
    if inputs != 1:
        assumed["context_slices"] = CONTEXT
    config = {"network": network, "context_slices": neighbours(inputs, channels), **PUBLISHED_SIZE}
    return Imported("unit", config, without_statistics(tensors), assumed)


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """{"a", "b"} of state dicts."""
    written: dict[str, dict[str, Tensor]] = {"a": {}, "b": {}}
    for name, value in tensors.items():
        domain, _, rest = name.partition(".")
        written[domain][rest] = value
    return written
