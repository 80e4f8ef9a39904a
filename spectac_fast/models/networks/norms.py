"""Normalisation and dropout of the published generators, with a test behaviour that does not depend on the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.ops import instance_norm
from spectac_fast.ops.counter_normal import SAMPLING, counter_words

NORMS = ("batch1", "eval", "instance", "none")
DROPOUTS = ("none", "off", "seeded")

_WORDS = 1 << 32
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu}


class SliceNorm2d(nn.InstanceNorm2d):
    """Instance normalisation without weight and bias; forward(x [B, C, H, W], activation) does both in one pass."""

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        return _normalise(x, None, None, self.eps, activation)


class SliceBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that, when not training, uses the statistics of each slice alone.

    The published pix2pix test script keeps its network in training mode and sends one image at a time, so every image
    is normalised by itself. Instance normalisation with the batch norm's weight and bias is the same function for any
    batch size. Training is ordinary batch normalisation. Names and buffers are those of BatchNorm2d.

    forward(x [B, C, H, W], activation): "none" or "relu", done in the same pass where no gradient is wanted.
    """

    def forward(self, x: Tensor, activation: str = "none") -> Tensor:
        if self.training:
            return _ACTIVATIONS[activation](super().forward(x))
        return _normalise(x, self.weight, self.bias, self.eps, activation)


def _normalise(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, activation: str) -> Tensor:
    # The one-pass operator has no gradient.
    if torch.is_grad_enabled():
        return _ACTIVATIONS[activation](F.instance_norm(x, weight=weight, bias=bias, eps=eps))
    return instance_norm(x, weight, bias, eps=eps, activation=activation)


def in_row(layers: Iterable[nn.Module], x: Tensor, seeds: Tensor | None = None) -> Tensor:
    """x through the layers, one after the other; a ReLU right after a norm by slice is done in the norm's pass.

    Layers with an attribute `takes_seeds` that is true also get the seeds, int64 [B].
    """
    waiting: nn.Module | None = None
    for layer in layers:
        if waiting is not None:
            fused = isinstance(layer, nn.ReLU)
            x = waiting(x, "relu" if fused else "none")
            waiting = None
            if fused:
                continue
        if isinstance(layer, (SliceNorm2d, SliceBatchNorm2d)):
            waiting = layer
        else:
            x = layer(x, seeds) if getattr(layer, "takes_seeds", False) else layer(x)
    return x if waiting is None else waiting(x)


def norm_layer(norm: str) -> Callable[[int], nn.Module]:
    """The layer of a norm by name; ValueError for an unknown one.

    batch1: batch norm, each slice by its own statistics (the published test behaviour of pix2pix); eval: batch norm by
    running statistics; instance: instance norm without weight and bias; none: none.
    """
    layers = {"batch1": SliceBatchNorm2d, "eval": nn.BatchNorm2d, "instance": SliceNorm2d, "none": nn.Identity}
    if norm not in layers:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, found {norm!r}.")
    return layers[norm]


class SliceDropout(nn.Module):
    """Dropout of one half that can stay active when not training, with masks that belong to the slice.

    active: also drop when not training, as the published pix2pix test script does; the mask is then a function of the
    slice's seed and of `number`, which tells the layers of a network apart, and neither of batch nor device.

    forward(x [B, C, H, W], seeds int64 [B]) -> x with half of the elements zero and the others doubled.
    """

    takes_seeds = True

    def __init__(self, number: int, active: bool) -> None:
        super().__init__()
        self.number, self.active = number, active

    def forward(self, x: Tensor, seeds: Tensor) -> Tensor:
        if self.training:
            return F.dropout(x, 0.5)
        if not self.active:
            return x
        elements = x[0].numel()
        words = counter_words(seeds, -(-elements // 4), step=self.number, sample=0, purpose=SAMPLING)
        keep = words.flatten(1)[:, :elements].reshape(x.shape) < _WORDS // 2
        return torch.where(keep, 2 * x, torch.zeros((), dtype=x.dtype, device=x.device))


def check_dropout(dropout: str) -> None:
    """Raise ValueError unless dropout is "none" (no such layers), "off" (in training only) or "seeded" (always)."""
    if dropout not in DROPOUTS:
        raise ValueError(f"dropout must be one of {', '.join(DROPOUTS)}, found {dropout!r}.")
