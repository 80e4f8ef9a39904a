"""The residual generator of CycleGAN (Johnson et al. 2016; Zhu et al., ICCV 2017) under its published names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectac_fast.models.networks.norms import SliceDropout, check_dropout, in_row, norm_layer


class ResnetBlock(nn.Module):
    """x + two 3x3 convolutions with reflected borders, each with a norm, the first with a ReLU.

    A dropout layer between them moves the second convolution from key 5 to key 6, as published.

    forward(x [B, C, H, W], seeds int64 [B], needed where dropout stays active) -> [B, C, H, W]; H and W at least 2.
    """

    takes_seeds = True

    def __init__(self, channels: int, norm: str = "instance", dropout: str = "none", number: int = 0) -> None:
        super().__init__()
        check_dropout(dropout)
        normalise = norm_layer(norm)

        def convolve() -> list[nn.Module]:
            return [nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3, bias=norm == "instance")]

        dropped = [SliceDropout(number, active=dropout == "seeded")] if dropout != "none" else []
        self.conv_block = nn.Sequential(
            *convolve(), normalise(channels), nn.ReLU(), *dropped, *convolve(), normalise(channels)
        )

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        return x + in_row(self.conv_block, x, seeds)


class ResnetGenerator(nn.Module):
    """Two halvings, residual blocks, two doublings between 7x7 convolutions.

    width: channels of the first level. blocks: 9 as published for 256x256, or 6. norm: see `norm_layer`. dropout: see
    `check_dropout`; in every residual block. last: activation of the output; the published network has a tanh.

    forward(x [B, in_channels, H, W], seeds int64 [B] or None for 0 ... B-1) -> [B, out_channels, H, W] in (-1, 1);
    H and W divisible by 4 and at least 8.
    """

    multiple = 4

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 64,
        blocks: int = 9,
        norm: str = "instance",
        dropout: str = "none",
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        normalise = norm_layer(norm)
        bias = norm == "instance"
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7, bias=bias), normalise(width), nn.ReLU()]
        for channels in (width, 2 * width):
            layers += [nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=bias)]
            layers += [normalise(2 * channels), nn.ReLU()]
        layers += [ResnetBlock(4 * width, norm, dropout, number) for number in range(blocks)]
        for channels in (4 * width, 2 * width):
            up = nn.ConvTranspose2d(channels, channels // 2, 3, stride=2, padding=1, output_padding=1, bias=bias)
            layers += [up, normalise(channels // 2), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), last if last is not None else nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        if seeds is None:
            seeds = torch.arange(len(x), device=x.device)
        return in_row(self.model, x, seeds)
