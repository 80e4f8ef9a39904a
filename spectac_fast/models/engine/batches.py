"""Networks run on few fixed batch sizes (diffusion/buckets.py says why)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spectac_fast.diffusion.buckets import SIZES, padded_size, runs
from spectac_fast.models.engine.fit import NO_COUNTS

# The pipeline cuts its series by these.
__all__ = ["SIZES", "in_batches"]


def in_batches(compute: Callable[..., Any], *tensors: Tensor) -> Any:
    """compute(*tensors), each [b, ...], for any number B of slices; returns what compute returns, over all B.

    compute returns a tensor [b, ...], or a tuple of such tensors and None. Every run is filled up with empty slices to
    one of a few batch sizes, so that within a size a slice's bytes do not depend on its neighbours.
    """
    parts = []
    for part in runs(len(tensors[0])):
        count = part.stop - part.start
        found = compute(*(_filled(tensor[part], padded_size(count)) for tensor in tensors))
        parts.append(_map(partial(_first, count), [found]))
    return _map(torch.cat, parts)


def _filled(tensor: Tensor, size: int) -> Tensor:
    """Slices [b, ...] and empty ones behind them, or seeds and zeros."""
    value = NO_COUNTS if tensor.is_floating_point() else 0
    return F.pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, size - len(tensor)), value=value)


def _first(count: int, column: list[Tensor]) -> Tensor:
    return column[0][:count]


def _map(function: Callable[[list[Tensor]], Tensor], parts: list[Any]) -> Any:
    """`function` of the parts' tensors; of tuples, entry by entry, where None stays None."""
    if not isinstance(parts[0], tuple):
        return function(parts)
    return tuple(None if column[0] is None else function(list(column)) for column in zip(*parts))
