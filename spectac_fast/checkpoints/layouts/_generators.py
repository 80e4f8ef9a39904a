"""What the shapes of a GAN generator's tensors say about it, for every layout that holds such a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError

from ._shapes import Shapes

# What the published loaders bring every image to.
PUBLISHED_SIZE = {"size": [256, 256], "fit": "resize"}

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_HEAD = 10  # layers before the first residual block


def read_generator(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(configuration, tensors) of a UNet or residual generator; InputError if they make neither."""
    shapes = Shapes(tensors, "", source)
    if "model.model.0.weight" in shapes:
        network = _unet(shapes)
    elif any(".conv_block." in name for name in tensors):
        network = _resnet(shapes)
    elif "model.0.weight" in shapes:
        raise InputError(f"{source} is a discriminator, which only training needs; import the generator")
    else:
        raise InputError(
            f"{source} does not fit the layout: it has neither model.model.0.weight (UNet) nor any conv_block (ResNet)"
        )
    if network["norm"] == "instance":
        tensors = without_statistics(tensors)
    config = {"network": network, "context_slices": neighbours(network["in_channels"], network["out_channels"])}
    return {**config, **PUBLISHED_SIZE}, dict(tensors)


def neighbours(inputs: int, outputs: int) -> int | None:
    """How many slices on either side a generator of so many channels looks at; None where only its user can tell.

    The published loaders give images of one channel or of three equal ones, so that three to one may be either, and an
    even number to one is neither.
    """
    if outputs != 1 or inputs == 1:
        return 0
    return None if inputs == 3 or inputs % 2 == 0 else (inputs - 1) // 2


def without_statistics(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Before version 0.4, PyTorch stored running statistics of instance norms, which nothing ever read."""
    return {name: value for name, value in tensors.items() if not name.endswith(_STATISTICS)}


def _unet(shapes: Shapes) -> dict[str, Any]:
    width, in_channels, *_ = shapes.of("model.model.0.weight", 4)
    inputs, out_channels, *_ = shapes.of("model.model.3.weight", 4)
    return {
        "kind": "unet_generator",
        "in_channels": in_channels,
        "out_channels": out_channels,
        # Every level is nested in the one above, and the network itself adds one more `model`.
        "num_downs": max(name.split(".").count("model") for name in shapes.found) - 1,
        "width": width,
        "norm": "batch1" if "model.model.1.model.2.weight" in shapes else "instance",
        # Dropout is the last layer of its block and leaves no trace in the names.
        "dropout": "off",
        "skips": inputs == 2 * width,
    }


def _resnet(shapes: Shapes) -> dict[str, Any]:
    width, in_channels, *_ = shapes.of("model.1.weight", 4)
    blocks = shapes.count(r"model\.(\d+)\.conv_block\.")
    return {
        "kind": "resnet_generator",
        "in_channels": in_channels,
        "out_channels": shapes.of(f"model.{_HEAD + blocks + 7}.weight", 4)[0],
        "width": width,
        "blocks": blocks,
        "norm": "batch1" if "model.2.weight" in shapes else "instance",
        # A dropout layer moves the second convolution of its block from place 5 to 6.
        "dropout": "none" if f"model.{_HEAD}.conv_block.5.weight" in shapes else "off",
    }
