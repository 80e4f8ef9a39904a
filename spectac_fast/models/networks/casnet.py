"""CasNet, the generator of MedGAN: UNets in a row, each refining the answer of the one before (arXiv 1806.06397)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectac_fast.models.networks.unet_generator import UNetGenerator


class CasNet(nn.Module):
    """`blocks` UNet generators end to end; six of width 64 with eight halvings are the paper's (326 M parameters).

    inner_tanh: bound the answer of every block instead of the last one's only; the paper does not say. last: activation
    of the last one's answer, a tanh by default. The other arguments are those of `UNetGenerator`.

    forward(x [B, in_channels, H, W], seeds int64 [B] or None for 0 ... B-1) -> [B, out_channels, H, W] in (-1, 1);
    H and W divisible by `multiple`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        blocks: int = 6,
        num_downs: int = 8,
        width: int = 64,
        norm: str = "batch1",
        dropout: str = "none",
        inner_tanh: bool = False,
        last: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, found {blocks}.")
        self.in_channels, self.multiple = in_channels, 2**num_downs
        last = last if last is not None else nn.Tanh()
        inner = nn.Tanh() if inner_tanh else nn.Identity()
        self.blocks = nn.ModuleList(
            UNetGenerator(
                out_channels if block else in_channels,
                out_channels,
                num_downs,
                width,
                norm,
                dropout,
                last=last if block == blocks - 1 else inner,
                first_dropout=block * num_downs,
            )
            for block in range(blocks)
        )

    def forward(self, x: Tensor, seeds: Tensor | None = None) -> Tensor:
        if seeds is None:
            seeds = torch.arange(len(x), device=x.device)
        for block in self.blocks:
            x = block(x, seeds)
        return x
