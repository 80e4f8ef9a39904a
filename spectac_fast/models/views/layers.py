"""The networks of projections: coupled U-Nets, and a U-Net of dense blocks that weigh their channels.

Both work on blocks of 2x2 pixels between a space-to-depth stem and a head on single pixels, as `networks.folded_unet`
does, and begin as nothing: their last layers are 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.networks.unet import zero

# Counts of 0.375 more have a square root whose noise hardly depends on them (Anscombe 1948); a quarter of that is about
# one for what a bin of a heart holds.
_ANSCOMBE, _UNIT = 0.375, 0.25


def roots(counts: Tensor) -> Tensor:
    """What the networks see of counts, whose noise is the same everywhere."""
    return _UNIT * (counts.clamp_min(0) + _ANSCOMBE).sqrt()


def padded(images: Tensor, multiple: int) -> Tensor:
    """[B, C, H, W] with their last rows and columns repeated, until these are divisible by `multiple`."""
    bottom, right = (-size % multiple for size in images.shape[-2:])
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images


def _convolution(inside: int, out: int, norm_groups: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, out, 3, padding=1), nn.GroupNorm(norm_groups, out), nn.SiLU())


class _Pair(nn.Sequential):
    """Two convolutions."""

    def __init__(self, inside: int, out: int, norm_groups: int) -> None:
        super().__init__(_convolution(inside, out, norm_groups), _convolution(out, out, norm_groups))


class DenseBlock(nn.Module):
    """Convolutions of which each sees all before it, fused, weighed by channel (Hu et al., CVPR 2018), and added to
    what came in (Zhang et al., CVPR 2018).
    """

    def __init__(self, inside: int, out: int, norm_groups: int, growth: int = 0, convolutions: int = 2) -> None:
        super().__init__()
        growth = growth or out
        self.enter = nn.Conv2d(inside, out, 1)
        sizes = [out + k * growth for k in range(convolutions)]
        self.layers = nn.ModuleList(_convolution(size, growth, norm_groups) for size in sizes)
        self.fuse = nn.Conv2d(out + convolutions * growth, out, 1)
        self.weigh = nn.Sequential(nn.Linear(out, max(out // 4, 4)), nn.SiLU(), nn.Linear(max(out // 4, 4), out))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        seen = [x]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, dim=1)))
        added = self.fuse(torch.cat(seen, dim=1))
        return x + added * self.weigh(added.mean((2, 3))).sigmoid()[:, :, None, None]


class _UNet(nn.Module):
    """Features of every level, down and up again. beside: channels that each block is given besides, down and up."""

    def __init__(
        self,
        inside: int,
        widths: Sequence[int],
        norm_groups: int,
        block: type[nn.Module],
        beside: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        beside = beside or [0] * len(widths)
        before = [inside, *widths[:-1]]
        self.down = nn.ModuleList(
            block(a + more, b, norm_groups) for a, b, more in zip(before, widths, beside, strict=True)
        )
        self.up = nn.ModuleList(
            block(below + at + more, at, norm_groups)
            for at, below, more in zip(widths[:-1], widths[1:], beside[:-1], strict=True)
        )

    def forward(
        self, x: Tensor, down: Sequence[Tensor] = (), up: Sequence[Tensor] = ()
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(features on the way down, on the way up), both from fine to coarse; the coarsest is in both."""
        falling: list[Tensor] = []
        for k, block in enumerate(self.down):
            x = F.avg_pool2d(x, 2) if k else x
            x = block(torch.cat([x, *down[k : k + 1]], dim=1))
            falling.append(x)
        rising = [x]
        for k in reversed(range(len(self.up))):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[k](torch.cat([x, falling[k], *up[k : k + 1]], dim=1))
            rising.insert(0, x)
        return falling, rising


class _Head(nn.Module):
    """One channel [B, 1, H, W] of features of 2x2 blocks, on single pixels that see the images again, so that the
    blocks' grid does not stay visible.
    """

    def __init__(self, width: int, images: int, out: int = 8) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, 4 * out, 1)
        self.last = nn.Conv2d(out + images, 1, 3, padding=1)
        zero(self.last)

    def forward(self, features: Tensor, images: Tensor) -> Tensor:
        return self.last(torch.cat([F.pixel_shuffle(self.spread(features), 2), images], dim=1))


class CoupledUNets(nn.Module):
    """Two U-Nets in a row; each block of the second also sees what the same block of the first made (Tang et al., BMVC
    2018). forward([B, in_channels, H, W]) -> what the first makes of it and what the second does, each [B, 1, H, W]; H
    and W divisible by `multiple`.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], norm_groups: int) -> None:
        super().__init__()
        self.multiple = 2 ** len(widths)
        self.first = _UNet(4 * in_channels, widths, norm_groups, _Pair)
        self.second = _UNet(widths[0], widths, norm_groups, _Pair, beside=widths)
        self.heads = nn.ModuleList(_Head(widths[0], in_channels) for _ in range(2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        falling, rising = self.first(F.pixel_unshuffle(images, 2))
        _, again = self.second(rising[0], falling, rising)
        return self.heads[0](rising[0], images), self.heads[1](again[0], images)


class DenseUNet(nn.Module):
    """A U-Net of `DenseBlock`. forward([B, in_channels, H, W]) -> [B, 1, H, W]; H and W divisible by `multiple`."""

    def __init__(self, in_channels: int, widths: Sequence[int], norm_groups: int) -> None:
        super().__init__()
        self.in_channels, self.multiple = in_channels, 2 ** len(widths)
        self.body = _UNet(4 * in_channels, widths, norm_groups, DenseBlock)
        self.head = _Head(widths[0], in_channels)

    def forward(self, images: Tensor) -> Tensor:
        _, rising = self.body(F.pixel_unshuffle(images, 2))
        return self.head(rising[0], images)
