"""The UNet generator of pix2pix (Isola et al., CVPR 2017) under its published parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectac_fast.models.networks.norms import SliceDropout, check_dropout, in_row, norm_layer

_LEAST_DOWNS = 5


class UNetBlock(nn.Module):
    """One level: halve, go deeper, double; with `skips` the block's input is put in front of its result.

    forward(x [B, C, H, W], seeds int64 [B]) -> [B, 2 outer (outer without skips), H, W].
    """

    takes_seeds = True

    def __init__(self, layers: list[nn.Module], skips: bool) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)
        self.skips = skips

    def forward(self, x: Tensor, seeds: Tensor) -> Tensor:
        h = in_row(self.model, x, seeds)
        # The published activation works in place and so leaves leaky_relu(x) in the skip; what follows is always a
        # ReLU, for which that is the same.
        return torch.cat([x, h], dim=1) if self.skips else h


class UNetGenerator(nn.Module):
    """Encoder-decoder of 4x4 convolutions that halves `num_downs` times, with skip connections.

    num_downs: at least 5; 8 is the published unet_256, whose smallest image is 256x256; 6 serves 64x64. width: channels
    of the first level, doubled three times. norm: see `norm_layer`. dropout: see `check_dropout`; in the
    num_downs - 5 middle levels. skips: False gives the encoder-decoder of the NC -> AC comparison of Nguyen (JMST 106,
    2025). last: activation of the output; the published network has a tanh. first_dropout: number of the first dropout
    layer, for a chain of generators whose masks must differ.

    forward(x [B, in_channels, H, W], seeds int64 [B] or None for 0 ... B-1) -> [B, out_channels, H, W] in (-1, 1);
    H and W divisible by `multiple`, and at least one of them larger if the norm is by slice.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        num_downs: int = 8,
        width: int = 64,
        norm: str = "batch1",
        dropout: str = "off",
        skips: bool = True,
        last: nn.Module | None = None,
        first_dropout: int = 0,
    ) -> None:
        super().__init__()
        if num_downs < _LEAST_DOWNS:
            raise ValueError(f"num_downs must be at least {_LEAST_DOWNS}, found {num_downs}.")
        check_dropout(dropout)
        self.in_channels, self.out_channels, self.multiple = in_channels, out_channels, 2**num_downs
        normalise = norm_layer(norm)
        # Batch norm has a bias of its own.
        bias = norm == "instance"
        widths = [width * min(2**level, 8) for level in range(num_downs)]
        inputs = 2 if skips else 1

        def down(cin: int, cout: int, biased: bool) -> nn.Module:
            return nn.Conv2d(cin, cout, 4, stride=2, padding=1, bias=biased)

        def up(cin: int, cout: int, biased: bool) -> nn.Module:
            return nn.ConvTranspose2d(cin, cout, 4, stride=2, padding=1, bias=biased)

        inner, outer = widths[-1], widths[-2]
        block = UNetBlock(
            [nn.LeakyReLU(0.2), down(outer, inner, bias), nn.ReLU(), up(inner, outer, bias), normalise(outer)], skips
        )
        for level in range(num_downs - 2, 0, -1):
            inner, outer = widths[level], widths[level - 1]
            layers = [nn.LeakyReLU(0.2), down(outer, inner, bias), normalise(inner), block]
            layers += [nn.ReLU(), up(inputs * inner, outer, bias), normalise(outer)]
            if dropout != "none" and level >= 4:
                layers.append(SliceDropout(first_dropout + level, active=dropout == "seeded"))
            block = UNetBlock(layers, skips)
        # The last convolution is the only one with a bias under batch norm; the first has none, though no norm follows.
        layers = [down(in_channels, width, bias), block, nn.ReLU(), up(inputs * width, out_channels, True)]
        self.model = UNetBlock([*layers, last if last is not None else nn.Tanh()], skips=False)

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        return self.model(x, seeds if seeds is not None else torch.arange(len(x), device=x.device))
