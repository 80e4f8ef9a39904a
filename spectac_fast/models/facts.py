"""Facts of a study on their way to a network: even images behind the slices that it sees.

As images they pass every bridge, sampler and batch as neighbouring slices do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Where a network keeps what it makes of them.
FACTS_EMBED = "facts_embed."


def join_facts(images: Tensor, facts: Tensor, shape: Sequence[int]) -> Tensor:
    """Images [B, C, H, W] and behind them facts [B, n] as even ones of `shape` (H, W), [B, C + n, H, W]."""
    if not facts.shape[1]:
        return images
    even = facts.to(images)[:, :, None, None].expand(-1, -1, *shape)
    return torch.cat([images, even], dim=1)


def split_facts(images: Tensor, count: int, others: int) -> tuple[Tensor, Tensor | None]:
    """(images, facts [B, count] or None for none) of `others` images behind which the facts stand; where nothing stands
    there, nothing is known.

    The middle pixel is read: borders may be what an image was filled up with.
    """
    if not count:
        return images, None
    if images.shape[1] == others:
        return images, images.new_zeros(len(images), count)
    seen, even = images.tensor_split([others], dim=1)
    return seen, even[:, :, even.shape[2] // 2, even.shape[3] // 2]
