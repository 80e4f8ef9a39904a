"""What the shapes of a GAN generator's tensors say about it, for every layout that holds such a generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError

from ._shapes import SIZE, Shapes

# What the published loaders bring every image to.
PUBLISHED_SIZE = {"size": [256, 256], "fit": "resize"}

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
_HEAD = 10  # layers before the first residual block
CONTEXT = "no tensor tells whether the channels are copies of a slice, as the published loader makes, or its neighbours"
_NORM = (
    "no tensor tells how a batch norm is run; the published test script normalises each image by itself unless it is "
    "given --eval (eval)"
)
_DROPOUT = (
    "no tensor tells whether dropout stays active; the published test script leaves it on unless it is given --eval or "
    "training --no_dropout, which draws masks (seeded)"
)


def read_generator(
    tensors: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, str]]:
    """(configuration, tensors, what is assumed) of a UNet or residual generator; InputError if they make neither."""
    shapes = Shapes(tensors, "", source)
    if any(name.endswith(".filt") for name in tensors):
        raise InputError(
            f"{source} is antialiased (it holds {next(name for name in tensors if name.endswith('.filt'))}), and there "
            "is no antialiased generator here: its training needs --no_antialias and --no_antialias_up"
        )
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
    context = neighbours(network["in_channels"], network["out_channels"])
    assumed = {"size": SIZE, "fit": SIZE}
    if network["in_channels"] != 1:
        assumed["context_slices"] = CONTEXT
    if network["norm"] == "batch1":
        assumed["network.norm"] = _NORM
    if network["dropout"] != "none":
        assumed["network.dropout"] = _DROPOUT
    return {"network": network, "context_slices": context, **PUBLISHED_SIZE}, dict(tensors), assumed


def following(config: Mapping[str, Any]) -> dict[str, Any]:
    """See the folder's page: nothing."""
    return {}


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


def _norm(shapes: Shapes, weight: str, bias: str) -> str:
    """Batch norms have weights; before instance norms, which have none, convolutions have a bias."""
    if weight in shapes:
        return "batch1"
    return "instance" if bias in shapes else "none"


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
        "norm": _norm(shapes, "model.model.1.model.2.weight", "model.model.0.bias"),
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
        "norm": _norm(shapes, "model.2.weight", "model.1.bias"),
        # A dropout layer moves the second convolution of its block from place 5 to 6.
        "dropout": "none" if f"model.{_HEAD}.conv_block.5.weight" in shapes else "off",
    }
