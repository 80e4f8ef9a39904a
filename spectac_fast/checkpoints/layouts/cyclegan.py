"""github.com/junyanz/pytorch-CycleGAN-and-pix2pix, model cycle_gan: `latest_net_G_A.pth`, a plain state dict.

G_A translates from A to B, so that A must have been NC; where it was AC, import G_B.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.configurations.generators import junyanz as configured

from . import Imported
from ._generators import following, read_generator

__all__ = ["MODELS", "configured", "following", "read", "write"]
MODELS = ("cyclegan",)


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """One generator, a ResNet or a UNet of any size; InputError for anything else."""
    config, found, assumed = read_generator(tensors, source)
    return Imported("cyclegan", config, found, assumed)


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """The names are the published ones."""
    return dict(tensors)
