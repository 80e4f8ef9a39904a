"""The registration network of RegGAN (Kong et al., NeurIPS 2021) and the warp that applies its displacements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.networks.resnet import ResnetBlock

_SLOPE = 0.2


class _Blocks(nn.Module):
    """Residual blocks in a row."""

    def __init__(self, channels: int, count: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(ResnetBlock(channels) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class _Conv(nn.Module):
    """A convolution, leaky unless it is the last one, and perhaps a residual block."""

    def __init__(self, cin: int, cout: int, kernel: int = 3, leaky: bool = True, residual: bool = False) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
        self.activation = nn.LeakyReLU(_SLOPE) if leaky else nn.Identity()
        self.resnet_block = _Blocks(cout, 1) if residual else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.resnet_block(self.activation(self.conv2d(x)))


class _Down(nn.Module):
    """One level of the encoder: its features, and the same at half the size."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv_0 = _Conv(cin, cout, residual=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.conv_0(x)
        return features, F.max_pool2d(features, 2)


class _ResUNet(nn.Module):
    def __init__(self, in_channels: int, widths: Sequence[int], middle: int) -> None:
        super().__init__()
        self.depth = len(widths)
        channels = in_channels
        for level, width in enumerate(widths, 1):
            self.add_module(f"down_{level}", _Down(channels, width))
            channels = width
        self.c1 = _Conv(channels, middle, kernel=1)
        self.t = _Blocks(middle, 3)
        self.c2 = _Conv(middle, channels, kernel=1)
        for level in range(self.depth, 0, -1):
            self.add_module(f"up_{level}", _Conv(channels + widths[level - 1], widths[level - 1]))
            channels = widths[level - 1]
        self.refine = nn.Sequential(_Blocks(channels, 1), _Conv(channels, channels, kernel=1))
        self.output = _Conv(channels, 2, leaky=False)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in range(1, self.depth + 1):
            features, x = self.get_submodule(f"down_{level}")(x)
            skips.append(features)
        x = self.c2(self.t(self.c1(x)))
        for level in range(self.depth, 0, -1):
            skip = skips.pop()
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = self.get_submodule(f"up_{level}")(torch.cat([x, skip], dim=1))
        return self.output(self.refine(x))


class Registration(nn.Module):
    """Displacements that move one image onto another: a residual UNet on both, published under `offset_map`.

    widths: channels of each level, each of which halves the image; published are seven, which need at least 256x256
    (the smallest level must keep 2x2 pixels, because its blocks reflect their border). Smaller images need fewer
    levels: five for 64x64. middle: channels of the smallest level.

    forward(moving [B, C, H, W], fixed [B, C, H, W]) -> displacement [B, 2, H, W] in pixels, rows first; H and W
    divisible by 2**len(widths). Raises ValueError for smaller images.
    """

    def __init__(
        self, in_channels: int = 2, widths: Sequence[int] = (32, 64, 64, 64, 64, 64, 64), middle: int = 128
    ) -> None:
        super().__init__()
        self.least = 2 ** (len(widths) + 1)
        self.offset_map = _ResUNet(in_channels, widths, middle)

    def forward(self, moving: Tensor, fixed: Tensor) -> Tensor:
        if min(moving.shape[-2:]) < self.least:
            raise ValueError(
                f"moving must be at least {self.least}x{self.least} for a registration of "
                f"{self.offset_map.depth} levels, found {list(moving.shape)}."
            )
        return self.offset_map(torch.cat([moving, fixed], dim=1))


def warp(image: Tensor, displacement: Tensor) -> Tensor:
    """Sample image [B, C, H, W] at (row + displacement[:, 0], column + displacement[:, 1]), displacement in pixels.

    Bilinear; positions outside the image take its border. Both of the same H and W; differentiable in both.
    """
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device, dtype=image.dtype)[:, None] + displacement[:, 0]
    columns = torch.arange(width, device=image.device, dtype=image.dtype) + displacement[:, 1]
    grid = torch.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], dim=-1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
