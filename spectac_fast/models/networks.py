"""Networks by name: the part of a model's configuration that says which class to build and how wide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from .casnet import CasNet
from .folded_unet import FoldedUNet
from .resnet import ResnetGenerator
from .unet import UNetModel
from .unet_generator import UNetGenerator
from .unit_networks import UNITGenerators

_KINDS: dict[str, type[nn.Module]] = {
    "unet": UNetModel,
    "folded_unet": FoldedUNet,
    "unet_generator": UNetGenerator,
    "resnet_generator": ResnetGenerator,
    "casnet": CasNet,
    "unit": UNITGenerators,
}


def build_network(config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a configuration {"kind": name, **constructor arguments}; ValueError if it fits none."""
    arguments = dict(config)
    kind = arguments.pop("kind", None)
    if kind not in _KINDS:
        raise ValueError(f"the network kind must be one of {', '.join(_KINDS)}, found {kind!r}.")
    try:
        return _KINDS[kind](**arguments)
    except TypeError as error:
        raise ValueError(f"the arguments of network {kind!r} do not fit: {error}.") from error
