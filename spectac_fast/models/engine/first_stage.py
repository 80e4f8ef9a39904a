"""Encoder and decoder of a first stage for a model that only runs: channels last, fused normalisation, packed weights.

At 256 x 256 a decoder takes longer than the bridge between its latents, most of it in 3x3 convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.engine.blocks import Norm, Positions
from spectac_fast.models.engine.convolution import Convolution
from spectac_fast.models.networks.vqgan import Decoder, Encoder, VQAttention, VQResBlock
from spectac_fast.ops.parts import reaches_compiled

_Step = Callable[[Tensor], Tensor]


def only_run(model: nn.Module) -> None:
    """Let every encoder and decoder of a model run so in `run_stage` from now on: nobody will train it, and its weights
    are read at the first call, as an `Engine` reads them.
    """
    for part in model.modules():
        if isinstance(part, (Encoder, Decoder)):
            part.only_runs = True


def run_stage(part: Encoder | Decoder, x: Tensor) -> Tensor:
    """part(x), faster where `only_run` allows it and no gradient, transform or autocast is in the way. What that takes
    is made at the first call, and again once weights have been loaded.
    """
    weights = list(part.parameters())
    kept = torch.is_grad_enabled() and (x.requires_grad or any(weight.requires_grad for weight in weights))
    plain = all(weight.dtype == torch.float32 and not weight.is_inference() for weight in weights)
    if not part.only_runs or kept or not plain or torch.is_autocast_enabled(x.device.type) or not reaches_compiled(x):
        return part(x)
    made = _made.get(part)
    if made is None or not made.is_of(weights):
        _made[part] = made = FirstStage(part)
    return made(x)


class FirstStage:
    """An `Encoder` or a `Decoder` as it stands. Called with x [B, C, H, W] it returns what that returns, but for
    rounding, and without a gradient.
    """

    def __init__(self, part: Encoder | Decoder) -> None:
        # Held, so that no other weights can come to lie where these do.
        self._weights = [weight.detach() for weight in part.parameters()]
        self._versions = [weight._version for weight in self._weights]
        self._steps = list((_encoder if isinstance(part, Encoder) else _decoder)(part))

    def is_of(self, weights: Sequence[Tensor]) -> bool:
        """Whether it was made of these weights as they are."""
        return [(weight.data_ptr(), weight._version) for weight in weights] == [
            (weight.data_ptr(), version) for weight, version in zip(self._weights, self._versions, strict=True)
        ]

    def __call__(self, x: Tensor) -> Tensor:
        h = x.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            for step in self._steps:
                h = step(h)
        return h


# By part, so that neither copies nor files of a model hold what is made of it.
_made: WeakKeyDictionary[nn.Module, FirstStage] = WeakKeyDictionary()


class _Residual:
    def __init__(self, block: VQResBlock) -> None:
        self.norms = [Norm(norm, norm.weight.device) for norm in (block.norm1, block.norm2)]
        self.convs = [_convolution(conv) for conv in (block.conv1, block.conv2)]
        shortcut = block.nin_shortcut
        self.shortcut = None if isinstance(shortcut, nn.Identity) else _positions(shortcut)

    def __call__(self, x: Tensor) -> Tensor:
        h = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            h = conv(norm(h))
        return h.add_(x if self.shortcut is None else self.shortcut(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class _Attention:
    def __init__(self, block: VQAttention) -> None:
        self.norm = Norm(block.norm, block.norm.weight.device)
        self.parts, self.out = [_positions(conv) for conv in (block.q, block.k, block.v)], _positions(block.proj_out)

    def __call__(self, x: Tensor) -> Tensor:
        rows = self.norm(x, activation="none").permute(0, 2, 3, 1)
        query, key, value = (part(rows).flatten(1, 2) for part in self.parts)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return x + self.out(mixed.view(rows.shape)).permute(0, 3, 1, 2)


class _Halved:
    """The published padding is one row and column at the bottom and right only."""

    def __init__(self, conv: nn.Conv2d) -> None:
        self.weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias = conv.bias.detach()

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias, stride=2)


class _Doubled:
    def __init__(self, conv: nn.Conv2d) -> None:
        self.conv = _convolution(conv)

    def __call__(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _convolution(conv: nn.Conv2d) -> Convolution:
    return Convolution(conv.weight, conv.bias, torch.float32, conv.weight.device)


def _positions(conv: nn.Conv2d) -> Positions:
    return Positions(conv, torch.float32, conv.weight.device)


def _level(level: nn.Module) -> Iterator[_Step]:
    for i, block in enumerate(level.block):
        yield _Residual(block)
        if len(level.attn):
            yield _Attention(level.attn[i])


def _middle(middle: nn.Module) -> Iterator[_Step]:
    yield _Residual(middle.block_1)
    if isinstance(middle.attn_1, VQAttention):
        yield _Attention(middle.attn_1)
    yield _Residual(middle.block_2)


def _end(part: Encoder | Decoder) -> Iterator[_Step]:
    yield Norm(part.norm_out, part.norm_out.weight.device)
    yield _convolution(part.conv_out)


def _encoder(part: Encoder) -> Iterator[_Step]:
    yield _convolution(part.conv_in)
    for i, level in enumerate(part.down):
        yield from _level(level)
        if i + 1 < len(part.down):
            yield _Halved(level.get_submodule("downsample").conv)
    yield from _middle(part.mid)
    yield from _end(part)


def _decoder(part: Decoder) -> Iterator[_Step]:
    yield _convolution(part.conv_in)
    yield from _middle(part.mid)
    for i, level in reversed(list(enumerate(part.up))):
        yield from _level(level)
        if i:
            yield _Doubled(level.get_submodule("upsample").conv)
    yield from _end(part)
