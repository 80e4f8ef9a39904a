"""github.com/junyanz/pytorch-CycleGAN-and-pix2pix, model cycle_gan: `latest_net_G_A.pth`, a plain state dict.

G_A translates from A to B, so that A must have been NC; where it was AC, import G_B.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import Imported
from ._generators import read_generator

MODELS = ("cyclegan",)


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """One generator, a ResNet or a UNet of any size; InputError for anything else."""
    return Imported("cyclegan", *read_generator(tensors, source))


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """The names are the published ones."""
    return dict(tensors)
