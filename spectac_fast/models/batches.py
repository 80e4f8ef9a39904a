"""Networks run on few fixed batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from .fit import NO_COUNTS

# A library chooses its kernels by shape, and another kernel rounds otherwise; with few shapes few differences arise.
SIZES = (2, 4, 8, 16, 32, 64)


def in_batches(compute: Callable[[Tensor, Tensor], Tensor], images: Tensor, seeds: Tensor) -> Tensor:
    """compute(images [b, C, H, W], seeds [b]) -> [b, 1, H, W], for any number of slices; returns [B, 1, H, W].

    Every run is filled up with empty slices to one of a few batch sizes, so that within a size a slice's bytes do not
    depend on its neighbours.
    """
    out = torch.empty_like(images[:, :1])
    for part, size in _runs(len(images)):
        missing = size - (part.stop - part.start)
        filled = F.pad(images[part], (0, 0, 0, 0, 0, 0, 0, missing), value=NO_COUNTS)
        out[part] = compute(filled, F.pad(seeds[part], (0, missing)))[: size - missing]
    return out


def _runs(count: int) -> Iterator[tuple[slice, int]]:
    """Cut `count` slices into runs, each with the batch size it is filled up to."""
    largest = SIZES[-1]
    for start in range(0, count, largest):
        length = min(largest, count - start)
        yield slice(start, start + length), next(size for size in SIZES if size >= length)
