"""Encoder and decoder of the VQGAN under their published names (Esser et al., CVPR 2021, arXiv 2012.09841)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-6  # of every group norm, where the UNet's has 1e-5


class VQResBlock(nn.Module):
    """Residual block: twice group norm, SiLU, 3x3 convolution. forward(x [B, Cin, H, W]) -> [B, Cout, H, W]."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, _EPS)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out_channels, _EPS)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.nin_shortcut(x) + h


class VQAttention(nn.Module):
    """Self-attention over the positions, one head as wide as the layer. forward(x [B, C, H, W]) -> same shape."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, _EPS)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        query, key, value = (conv(h).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(mixed.transpose(1, 2).reshape(x.shape))


class _Down(nn.Module):
    """Halve height and width; the published padding is one row and column at the bottom and right only."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class _Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class _Level(nn.Module):
    """The blocks of one resolution (`block`, `attn`), before a `downsample` or an `upsample` or neither."""

    def __init__(self, channels: int, out_channels: int, blocks: int, attention: bool, groups: int) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * blocks
        self.block = nn.ModuleList([VQResBlock(a, b, groups) for a, b in pairwise(widths)])
        self.attn = nn.ModuleList([VQAttention(out_channels, groups) for _ in range(blocks if attention else 0)])

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        return x


class _Middle(nn.Module):
    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.block_1 = VQResBlock(channels, channels, groups)
        self.attn_1 = VQAttention(channels, groups) if attention else nn.Identity()
        self.block_2 = VQResBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Encoder(nn.Module):
    """forward(image [B, in_channels, H, W]) -> [B, z_channels, H / f, W / f], f = 2**(len(ch_mult) - 1)."""

    # Nobody trains it: engine/first_stage.py may run it.
    only_runs = False

    def __init__(
        self,
        in_channels: int,
        z_channels: int,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_levels: Sequence[int],
        groups: int,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, ch, 3, padding=1)
        widths = [ch, *(ch * mult for mult in ch_mult)]
        self.down = nn.ModuleList()
        for i, (before, width) in enumerate(pairwise(widths)):
            level = _Level(before, width, num_res_blocks, i in attn_levels, groups)
            if i + 1 < len(ch_mult):
                level.downsample = _Down(width)
            self.down.append(level)
        self.mid = _Middle(widths[-1], groups, middle_attention)
        self.norm_out = nn.GroupNorm(groups, widths[-1], _EPS)
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for i, level in enumerate(self.down):
            h = level(h)
            if i + 1 < len(self.down):
                h = level.get_submodule("downsample")(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """forward(z [B, z_channels, h, w]) -> image [B, out_channels, f h, f w], not bounded by any last activation."""

    # Nobody trains it: engine/first_stage.py may run it.
    only_runs = False

    def __init__(
        self,
        out_channels: int,
        z_channels: int,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_levels: Sequence[int],
        groups: int,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        widths = [*(ch * mult for mult in ch_mult), ch * ch_mult[-1]]
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = _Middle(widths[-1], groups, middle_attention)
        self.up = nn.ModuleList()
        for i, (width, before) in enumerate(pairwise(widths)):
            level = _Level(before, width, num_res_blocks + 1, i in attn_levels, groups)
            if i:
                level.upsample = _Up(width)
            self.up.append(level)
        self.norm_out = nn.GroupNorm(groups, widths[0], _EPS)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for i, level in reversed(list(enumerate(self.up))):
            h = level(h)
            if i:
                h = level.get_submodule("upsample")(h)
        return self.conv_out(F.silu(self.norm_out(h)))
