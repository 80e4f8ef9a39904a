"""What the shapes of a GAN generator's tensors say about it, for every layout that holds such a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_RESNET_HEAD = 10  # layers before the first residual block


def shape_of(tensors: Mapping[str, Tensor], name: str, dimensions: int, source: str) -> tuple[int, ...]:
    """The shape of a tensor that must be there; InputError otherwise."""
    if name not in tensors:
        raise InputError(f"{source} lacks {name}")
    shape = tuple(tensors[name].shape)
    if len(shape) != dimensions:
        raise InputError(f"{source} must hold {name} with {dimensions} dimensions, found shape {list(shape)}")
    return shape


def generator_config(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """The "network" of a configuration for a UNet or residual generator; InputError if the tensors are of neither."""
    if "model.model.0.weight" in tensors:
        return _unet(tensors, source)
    if any(".conv_block." in name for name in tensors):
        return _resnet(tensors, source)
    if "model.0.weight" in tensors:
        raise InputError(f"{source} is a discriminator, which only training needs; import the generator")
    raise InputError(
        f"{source} is no generator of this layout: it has neither model.model.0.weight (UNet) nor conv_block (ResNet)"
    )


def without_statistics(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Before version 0.4, PyTorch stored the running statistics of instance norms, which nothing ever read."""
    if config["norm"] != "instance":
        return dict(tensors)
    return {name: value for name, value in tensors.items() if not name.endswith(_STATISTICS)}


def _unet(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    width, in_channels, *_ = shape_of(tensors, "model.model.0.weight", 4, source)
    inputs, out_channels, *_ = shape_of(tensors, "model.model.3.weight", 4, source)
    # Every level is nested in the one above, and the network itself adds one more `model`.
    depth = max(name.split(".").count("model") for name in tensors) - 1
    return {
        "kind": "unet_generator",
        "in_channels": in_channels,
        "out_channels": out_channels,
        "num_downs": depth,
        "width": width,
        "norm": "batch1" if "model.model.1.model.2.weight" in tensors else "instance",
        # Dropout is the last layer of its block and leaves no trace in the names.
        "dropout": "off",
        "skips": inputs == 2 * width,
    }


def _resnet(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    width, in_channels, *_ = shape_of(tensors, "model.1.weight", 4, source)
    blocks = len({name.split(".")[1] for name in tensors if ".conv_block." in name})
    out_channels = shape_of(tensors, f"model.{_RESNET_HEAD + blocks + 7}.weight", 4, source)[0]
    first = f"model.{_RESNET_HEAD}.conv_block"
    return {
        "kind": "resnet_generator",
        "in_channels": in_channels,
        "out_channels": out_channels,
        "width": width,
        "blocks": blocks,
        "norm": "batch1" if "model.2.weight" in tensors else "instance",
        "dropout": "none" if f"{first}.5.weight" in tensors else "off",
    }
