"""Noise as a function: normals keyed by a seed and addressed by a counter, the same on every back end.

Philox4x32-10 (Salmon et al., SC 2011) with

    key     = low and high 32-bit word of the slice's seed
    counter = (element // 4, step, sample, purpose)

gives four words, and Box-Muller in float32 turns them into the four normals of elements 4k ... 4k+3, where the element
is the row-major index within the slice. So the noise of a slice depends neither on its batch nor on the device. The
layout is that of Triton's `randn4x`. Words agree bit for bit on every back end, normals to 1e-6 (2e-6 above |z| = 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

SAMPLING = 0
TRAINING = 1

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
# The largest factor that maps 2^31 - 1 to at most 1 in float32.
_TO_UNIT = 4.6566127342e-10
_SMALLEST_UNIFORM = 1.0e-7


def _high_word(a: int, b: torch.Tensor) -> torch.Tensor:
    """Upper 32 bits of the 64-bit product of two 32-bit words; b is split because int64 is signed."""
    return (a * (b >> 16) + ((a * (b & 0xFFFF)) >> 16)) >> 16


def philox(counter: Sequence[torch.Tensor], key: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Philox4x32-10: four counter words and two key words (int64 holding 32 bits, broadcastable) -> four words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    a, b = _MULTIPLIERS
    for _ in range(_ROUNDS):
        c0, c1, c2, c3 = (
            _high_word(b, c2) ^ c1 ^ k0,
            (b * c2) & _WORD,
            _high_word(a, c0) ^ c3 ^ k1,
            (a * c0) & _WORD,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


def _uniform(word: torch.Tensor) -> torch.Tensor:
    """A word read as int32 and folded at zero, in [0, 1] as float32."""
    signed = word - ((word >> 31) << 32)
    return torch.where(signed < 0, -1 - signed, signed).to(torch.float32) * _TO_UNIT


def _normal_pair(word1: torch.Tensor, word2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Box-Muller in float32; the order of operations is part of the contract."""
    radius = torch.sqrt(-2.0 * torch.log(_uniform(word1).clamp(min=_SMALLEST_UNIFORM)))
    angle = (2 * math.pi) * _uniform(word2)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def counter_words(seeds: torch.Tensor, count: int, *, step: int, sample: int, purpose: int) -> torch.Tensor:
    """The raw words: int64 [B, count, 4], each in [0, 2^32), for counters 0 ... count-1 of each seed."""
    first = torch.arange(count, device=seeds.device, dtype=torch.int64)
    fixed = [torch.full((1,), int(v), device=seeds.device, dtype=torch.int64) for v in (step, sample, purpose)]
    key = (seeds & _WORD)[:, None], ((seeds >> 32) & _WORD)[:, None]
    words = philox((first[None], *fixed), key)
    return torch.stack([w.expand(seeds.shape[0], count) for w in words], dim=-1)


def counter_normal(
    seeds: torch.Tensor, shape: Sequence[int], *, step: int = 0, sample: int = 0, purpose: int = SAMPLING
) -> torch.Tensor:
    """Standard normals addressed by (seed, step, sample, purpose, element), in plain torch.

    seeds:    int64 [B], one per slice, any value; the device decides where the noise is made.
    shape:    shape of one slice, for example (C, H, W).
    step:     number of the step the noise is for, 0 ... 2^32 - 1.
    sample:   number of the sample drawn for the same slice, 0 ... 2^32 - 1.
    purpose:  0 for samplers, 1 for training, so that the two never share a counter.

    Returns float32 [B, *shape]. Raises TypeError if seeds are not int64, ValueError if they are not a vector or if a
    counter does not fit in 32 bits.
    """
    if seeds.dtype != torch.int64:
        raise TypeError(f"seeds must be int64, found {seeds.dtype}.")
    if seeds.dim() != 1:
        raise ValueError(f"seeds must be a vector [B], found shape {list(seeds.shape)}.")
    for name, value in (("step", step), ("sample", sample), ("purpose", purpose)):
        if not 0 <= value <= _WORD:
            raise ValueError(f"{name} must be in 0 ... 2^32 - 1, found {value}.")
    elements = math.prod(shape)
    w0, w1, w2, w3 = counter_words(seeds, -(-elements // 4), step=step, sample=sample, purpose=purpose).unbind(-1)
    normals = torch.stack([*_normal_pair(w0, w1), *_normal_pair(w2, w3)], dim=-1)
    return normals.flatten(1)[:, :elements].reshape(seeds.shape[0], *shape)
