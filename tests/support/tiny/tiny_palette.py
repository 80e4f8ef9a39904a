"""The state dict of a small Palette, as its published code saves one."""

from __future__ import annotations

import torch
from torch import Tensor

from spectac_fast.models.networks.unet import PaletteUNet


def palette_state(in_channels: int = 2, out_channels: int = 1) -> dict[str, Tensor]:
    with torch.device("meta"):
        net = PaletteUNet(in_channels, 32, out_channels, 1, (), (1, 1), False, 1, 32, True, True)
    generator = torch.Generator().manual_seed(3)
    shapes = {name: value.shape for name, value in net.state_dict(prefix="denoise_fn.").items()}
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
