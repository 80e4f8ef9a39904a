"""github.com/junyanz/pytorch-CycleGAN-and-pix2pix, model pix2pix: `latest_net_G.pth`, a plain state dict.

The published test script leaves the network in training mode: each image is normalised by its own statistics (norm
"batch1" here; "eval" is what its --eval gives), and dropout stays active (dropout "seeded" here; "off" is --no_dropout,
the default, because only that has one answer per slice).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.configurations.generators import junyanz as configured

from . import Imported
from ._generators import following, read_generator

__all__ = ["MODELS", "configured", "following", "read", "write"]
MODELS = ("pix2pix",)


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """The generator, a UNet or a ResNet of any size; InputError for anything else."""
    config, found, assumed = read_generator(tensors, source)
    if config["network"]["kind"] == "unet_generator":
        # The size at which its innermost map is a single pixel: 256 for the published unet_256.
        config["size"] = [2 ** config["network"]["num_downs"]] * 2
    return Imported("pix2pix", config, found, assumed)


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """The names are the published ones."""
    return dict(tensors)
