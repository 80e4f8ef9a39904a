"""The guided-diffusion UNet (Dhariwal & Nichol 2021, arXiv 2105.05233) under its published parameter names.

BBDM, CPDM and latent diffusion all use this class, so a state dict of any of them loads here without renaming.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def timestep_embedding(t: Tensor, channels: int) -> Tensor:
    """Sinusoidal embedding of timesteps, cosines first (Vaswani et al. 2017 with base 10000).

    t: int64 [B], not rescaled, or float32 [B] (a noise level). Returns float32 [B, channels]; `channels` must be even.
    """
    half = channels // 2
    frequency = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(10000.0) / half))
    angle = t[:, None].float() * frequency[None]
    return torch.cat([torch.cos(angle), torch.sin(angle)], dim=1)


class Downsample(nn.Module):
    """Halve height and width: a strided 3x3 convolution (key `op`), or a 2x2 mean without parameters."""

    def __init__(self, channels: int, learned: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if learned else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Double height and width by repetition, followed (if `learned`) by a 3x3 convolution (key `conv`)."""

    def __init__(self, channels: int, learned: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class ResBlock(nn.Module):
    """Residual block conditioned on the timestep embedding, which may also resample by two.

    forward(x [B, Cin, H, W], emb [B, E]) -> [B, Cout, H', W'], H' = H, H/2 (down) or 2H (up).
    """

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        out_channels: int,
        groups: int,
        scale_shift: bool,
        dropout: float = 0.0,
        resample: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.resample = resample if resample is not None else nn.Identity()
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels if scale_shift else out_channels)
        )
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        self.skip_connection = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm, activation, conv = self.in_layers
        h = conv(self.resample(activation(norm(x))))
        emb_out = self.emb_layers(emb)[:, :, None, None]
        out_norm, *out_rest = self.out_layers
        if self.scale_shift:
            scale, shift = emb_out.chunk(2, dim=1)
            h = out_norm(h) * (1 + scale) + shift
        else:
            h = out_norm(h + emb_out)
        for layer in out_rest:
            h = layer(h)
        return self.skip_connection(self.resample(x)) + h


class AttentionBlock(nn.Module):
    """Self-attention over the H*W positions.

    new_order: the channels of `qkv` are q, k, v, and heads within each, as the published `use_new_attention_order` has
    it; otherwise ("legacy") they are heads, and q, k, v within each.
    """

    def __init__(self, channels: int, heads: int, groups: int, new_order: bool = False) -> None:
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        flat = x.reshape(batch, channels, height * width)
        mixed = F.scaled_dot_product_attention(*self.parts(self.qkv(self.norm(flat)).transpose(1, 2)))
        mixed = mixed.transpose(-1, -2).reshape(batch, channels, height * width)
        return (flat + self.proj_out(mixed)).view(batch, channels, height, width)

    def parts(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each [B, heads, positions, C / heads], of what `qkv` gives, [B, positions, 3 C]."""
        batch, positions, channels = qkv.shape
        order, place = ((3, self.heads), 2) if self.new_order else ((self.heads, 3), 3)
        parts = qkv.view(batch, positions, *order, channels // (3 * self.heads)).unbind(place)
        query, key, value = (part.transpose(1, 2) for part in parts)
        return query, key, value


class EmbedSequential(nn.Sequential):
    """A sequence whose residual blocks also receive the timestep embedding."""

    # It is a Sequential for its layers' names in published weight files.
    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        for layer in self:
            x = layer(x, emb) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNetModel(nn.Module):
    """UNet with residual blocks, skip connections and attention at chosen downsample factors.

    in_channels counts the concatenated condition. attention_resolutions are downsample factors (1, 2, 4, ...), as
    published. num_head_channels, unless -1, overrides num_heads. use_new_attention_order: see `AttentionBlock`.
    norm_groups is 32 in every published network; it must divide every layer's channel count, so narrow networks need a
    smaller one. facts: how many numbers are known of each image besides; they join the timestep's embedding, as the
    published networks' classes do.

    forward(x [B, C, H, W], t int64 [B], context [B, C', H, W] or None, facts [B, facts] or None) ->
    [B, out_channels, H, W]; H and W must be divisible by 2**(len(channel_mult) - 1). The context is concatenated
    behind x.
    """

    embedding = "time_embed"

    def __init__(
        self,
        in_channels: int,
        model_channels: int,
        out_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        channel_mult: Sequence[int] = (1, 2, 4, 8),
        conv_resample: bool = True,
        num_heads: int = 1,
        num_head_channels: int = -1,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        norm_groups: int = 32,
        dropout: float = 0.0,
        use_new_attention_order: bool = False,
        facts: int = 0,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.model_channels, self.facts = model_channels, facts
        self.multiple = 2 ** (len(channel_mult) - 1)
        emb_channels = 4 * model_channels

        def res(cin: int, cout: int, resample: nn.Module | None = None) -> ResBlock:
            return ResBlock(cin, emb_channels, cout, norm_groups, use_scale_shift_norm, dropout, resample)

        def attention(channels: int) -> AttentionBlock:
            heads = num_heads if num_head_channels == -1 else channels // num_head_channels
            if channels % (num_heads if num_head_channels == -1 else num_head_channels):
                raise ValueError(
                    f"num_heads and num_head_channels must divide the {channels} channels of an attention block, "
                    f"found {num_heads} and {num_head_channels}."
                )
            return AttentionBlock(channels, heads, norm_groups, use_new_attention_order)

        embedding = nn.Sequential(
            nn.Linear(model_channels, emb_channels), nn.SiLU(), nn.Linear(emb_channels, emb_channels)
        )
        self.add_module(self.embedding, embedding)
        if facts:
            # Begins as if nothing were known, whatever is.
            last = nn.Linear(emb_channels, emb_channels)
            zero(last)
            self.facts_embed = nn.Sequential(nn.Linear(facts, emb_channels), nn.SiLU(), last)

        channels = int(channel_mult[0] * model_channels)
        self.input_blocks = nn.ModuleList([EmbedSequential(nn.Conv2d(in_channels, channels, 3, padding=1))])
        skips = [channels]
        for level, mult in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                layers: list[nn.Module] = [res(channels, mult * model_channels)]
                channels = mult * model_channels
                if 2**level in attention_resolutions:
                    layers.append(attention(channels))
                self.input_blocks.append(EmbedSequential(*layers))
                skips.append(channels)
            if level + 1 < len(channel_mult):
                down = (
                    res(channels, channels, Downsample(channels, False))
                    if resblock_updown
                    else Downsample(channels, conv_resample)
                )
                self.input_blocks.append(EmbedSequential(down))
                skips.append(channels)

        self.middle_block = EmbedSequential(res(channels, channels), attention(channels), res(channels, channels))

        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(channel_mult))):
            for index in range(num_res_blocks + 1):
                layers = [res(channels + skips.pop(), mult * model_channels)]
                channels = mult * model_channels
                if 2**level in attention_resolutions:
                    layers.append(attention(channels))
                if level and index == num_res_blocks:
                    layers.append(
                        res(channels, channels, Upsample(channels, False))
                        if resblock_updown
                        else Upsample(channels, conv_resample)
                    )
                self.output_blocks.append(EmbedSequential(*layers))

        self.out = nn.Sequential(
            nn.GroupNorm(norm_groups, channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None, facts: Tensor | None = None) -> Tensor:
        embed = self.get_submodule(self.embedding)
        weight = embed.get_submodule("0").weight
        assert isinstance(weight, Tensor)
        emb = embed(timestep_embedding(t, self.model_channels).to(weight.dtype))
        if facts is not None:
            emb = emb + self.facts_embed(facts.to(weight.dtype))
        h = x if context is None else torch.cat([x, context], dim=1)
        skips = []
        for block in self.input_blocks:
            h = block(h, emb)
            skips.append(h)
        h = self.middle_block(h, emb)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        return self.out(h)


class PaletteUNet(UNetModel):
    """UNetModel under Palette's names: it is told the noise level, float32 [B] in (0, 1], in place of a timestep."""

    embedding = "cond_embed"


def zero_last_layers(net: nn.Module) -> None:
    """Start every residual branch at zero, as guided-diffusion does, so that a new network begins as its skips."""
    for module in net.modules():
        if isinstance(module, ResBlock):
            zero(module.out_layers[-1])
        elif isinstance(module, AttentionBlock):
            zero(module.proj_out)


def zero(layer: nn.Module) -> None:
    """Start a layer at zero, its bias too."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
