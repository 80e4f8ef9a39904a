"""The blocks of the UNet for a network that only runs: channels last, fused normalisation, FiLM vectors made before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.engine.convolution import Convolution
from spectac_fast.models.engine.products import Products, serves
from spectac_fast.models.networks.unet import AttentionBlock, ResBlock, UNetModel
from spectac_fast.ops import group_norm_silu

# Weights of a matrix whose packing at every call costs more than what torch's own product does better.
_LEAST_WEIGHTS = 1 << 15

Layer = Callable[[Tensor, Tensor], Tensor]
"""(x [B, C, H, W] channels_last, FiLM vectors of all blocks [B, F] float32) -> [B, C', H', W']."""


class Norm:
    """Group normalisation, FiLM where given, and an activation, in one pass."""

    def __init__(self, norm: nn.GroupNorm, device: torch.device) -> None:
        # Statistics and affine stay float32 whatever the body's dtype.
        self.weight, self.bias = (values.detach().to(device, torch.float32) for values in (norm.weight, norm.bias))
        self.groups, self.eps = norm.num_groups, norm.eps

    def __call__(
        self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None, activation: str = "silu"
    ) -> Tensor:
        return group_norm_silu(
            x, self.groups, self.weight, self.bias, scale=scale, shift=shift, eps=self.eps, activation=activation
        )


class Positions:
    """A linear map of the channels, the same at every position: x [B, H, W, C] -> [B, H, W, C']."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, dtype: torch.dtype, device: torch.device) -> None:
        weight = layer.weight.detach().flatten(1).to(device, dtype)
        large = weight.numel() >= _LEAST_WEIGHTS and weight.device.type == "cpu" and dtype == torch.float32
        self._by = Products(weight.t()[None]) if large and serves(*weight.shape[::-1]) else weight
        self._bias = layer.bias.detach().to(device, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        if isinstance(self._by, Tensor):
            return F.linear(x, self._by, self._bias)
        y = x.new_empty(*x.shape[:-1], len(self._bias))
        self._by(x.reshape(1, -1, x.shape[-1]), self._bias, y.view(1, -1, len(self._bias)))
        return y


class Residual:
    """`ResBlock`; `film` says which of the FiLM vectors are its own."""

    def __init__(self, block: ResBlock, film: slice, dtype: torch.dtype, device: torch.device) -> None:
        self.film, self.scale_shift = film, block.scale_shift
        self.in_norm, self.out_norm = Norm(block.in_layers[0], device), Norm(block.out_layers[0], device)
        self.in_conv, self.out_conv = (
            Convolution(conv.weight, conv.bias, dtype, device) for conv in (block.in_layers[-1], block.out_layers[-1])
        )
        self.resample = block.resample
        skip = block.skip_connection
        self.skip = None if isinstance(skip, nn.Identity) else Positions(skip, dtype, device)

    def __call__(self, x: Tensor, film: Tensor) -> Tensor:
        h = self.in_conv(self.resample(self.in_norm(x)))
        own = film[:, self.film]
        if self.scale_shift:
            scale, shift = own.chunk(2, dim=1)
            h = self.out_norm(h, scale, shift)
        else:
            h = self.out_norm(h.add_(own[:, :, None, None]))
        h = self.out_conv(h)
        x = self.resample(x)
        return h.add_(x if self.skip is None else self.skip(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class Attention:
    """`AttentionBlock`."""

    def __init__(self, block: AttentionBlock, dtype: torch.dtype, device: torch.device) -> None:
        self.parts, self.norm = block.parts, Norm(block.norm, device)
        self.qkv, self.out = (Positions(layer, dtype, device) for layer in (block.qkv, block.proj_out))

    def __call__(self, x: Tensor, film: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        qkv = self.qkv(self.norm(x, activation="none").permute(0, 2, 3, 1))
        query, key, value = self.parts(qkv.view(batch, height * width, 3 * channels))
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        return x + self.out(mixed.reshape(batch, height, width, channels)).permute(0, 3, 1, 2)


class Resample:
    """`Downsample` or `Upsample` outside a residual block."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self.up = getattr(layer, "conv", None) is not None
        conv = layer.conv if self.up else layer.op
        self.convolve: Callable[[Tensor], Tensor] | None = None
        if isinstance(conv, nn.Conv2d):
            self.convolve = Convolution(conv.weight, conv.bias, dtype, device, stride=conv.stride[0])

    def __call__(self, x: Tensor, film: Tensor) -> Tensor:
        if self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            return x if self.convolve is None else self.convolve(x)
        return F.avg_pool2d(x, 2) if self.convolve is None else self.convolve(x)


class Body:
    """Everything of a `UNetModel` between its first and its last convolution.

    Called with the first convolution's output, channels_last, and the FiLM vectors; returns what the last convolution
    sees, normalised and activated.
    """

    def __init__(self, network: UNetModel, dtype: torch.dtype, device: torch.device) -> None:
        self._film = 0
        self._made = dtype, device
        self.down = [list(self._layers(block)) for block in network.input_blocks[1:]]
        self.middle = list(self._layers(network.middle_block))
        self.up = [list(self._layers(block)) for block in network.output_blocks]
        self.norm = Norm(network.out[0], device)

    def _layers(self, block: nn.Sequential) -> Iterator[Layer]:
        for layer in block:
            if isinstance(layer, ResBlock):
                width = layer.emb_layers[-1].out_features
                yield Residual(layer, slice(self._film, self._film + width), *self._made)
                self._film += width
            else:
                yield (Attention if isinstance(layer, AttentionBlock) else Resample)(layer, *self._made)

    def __call__(self, h: Tensor, film: Tensor) -> Tensor:
        skips = [h]
        for block in self.down:
            h = _run(block, h, film)
            skips.append(h)
        h = _run(self.middle, h, film)
        for block in self.up:
            h = _run(block, torch.cat([h, skips.pop()], dim=1), film)
        return self.norm(h)


class Film:
    """The FiLM vectors of every residual block of a `UNetModel`, side by side, in the order `Body` meets the blocks.

    Called with `timesteps`, to which `facts` may be added, float32 [..., E], it returns float32 [..., F].
    """

    def __init__(self, network: UNetModel, device: torch.device) -> None:
        def weights(layer: nn.Linear) -> tuple[Tensor, Tensor]:
            return layer.weight.detach().to(device, torch.float32), layer.bias.detach().to(device, torch.float32)

        first, _, second = network.get_submodule(network.embedding)
        blocks = [m for m in network.modules() if isinstance(m, ResBlock)]
        each = [weights(block.emb_layers[-1]) for block in blocks]
        joined = tuple(torch.cat(parts) for parts in zip(*each))
        self._embed, self._joined = (weights(first), weights(second)), joined
        known = [network.facts_embed[0], network.facts_embed[2]] if network.facts else []
        self._facts = tuple(map(weights, known))

    def timesteps(self, embedding: Tensor) -> Tensor:
        """What sinusoidal embeddings float32 [N, model_channels] become, [N, E]."""
        return _perceptron(embedding, self._embed)

    def facts(self, facts: Tensor) -> Tensor:
        """What the facts [B, n] of images become, [B, E]."""
        return _perceptron(facts.float(), self._facts)

    def __call__(self, embedded: Tensor) -> Tensor:
        return F.linear(F.silu(embedded), *self._joined)


def _perceptron(x: Tensor, layers: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    first, second = layers
    return F.linear(F.silu(F.linear(x, *first)), *second)


def _run(layers: list[Layer], h: Tensor, film: Tensor) -> Tensor:
    for layer in layers:
        h = layer(h, film)
    return h
