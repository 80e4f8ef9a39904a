"""Less noise in the views of an acquisition: coupled U-Nets that learnt from counts alone (noise to noise).

Counts are Poisson's, so that a coin thrown for each splits them into two acquisitions whose noise is independent; a
network that guesses one of the other learns the expected counts, of which nobody has a picture. Liu et al., Med Phys
2021 do so for projections of the heart, with coupled U-Nets and resampled lists of counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.checkpoints.weights import fill
from spectac_fast.device import resolve_device
from spectac_fast.models.description import read_apart, reading
from spectac_fast.models.views.described import described, is_closed
from spectac_fast.models.views.layers import CoupledUNets, padded, roots
from spectac_fast.reconstruct.acquired import Acquired

NAME = "cunet"
# A bin in which nothing was counted is expected to hold something.
_LEAST, _ABOVE = 0.05, 1e-4
_BATCH = 16


class CountNetwork(nn.Module):
    """forward(counts [B, 1 + 2 context, bins, rows]) -> expected counts of the middle view as the first U-Net guesses
    them and as the second does, each [B, 1, bins, rows] and above 0: a view among its neighbours, in their order.

    context_views: on either side, at least 1. others: as of `CoupledUNets`.
    """

    def __init__(self, context_views: int, widths: Sequence[int], norm_groups: int) -> None:
        super().__init__()
        if context_views < 1:
            raise ValueError(f"context_views must be at least 1, found {context_views}.")
        self.context_views = context_views
        self.network = CoupledUNets(1 + 2 * context_views, widths, norm_groups)

    def forward(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        bins, rows = counts.shape[-2:]
        middle = counts[:, self.context_views - 1 : self.context_views + 2]
        # Where the network has nothing to say: the mean of a bin and those about it, in three views.
        around = F.avg_pool2d(middle, 3, 1, 1, count_include_pad=False).mean(1, keepdim=True)
        first, second = self.network(padded(roots(counts), self.network.multiple))
        root = (around + _LEAST).sqrt()
        first, second = ((root + out[..., :bins, :rows]).square() + _ABOVE for out in (first, second))
        return first, second


def neighbours(count: int, context: int, closed: bool, stride: int = 1) -> Tensor:
    """int64 [count, 1 + 2 context]: every view with those before and behind it, every `stride`-th; beyond the ends of
    an arc these repeat, and a circle goes on.
    """
    index = torch.arange(count)[:, None] + stride * torch.arange(-context, context + 1)
    return index % count if closed else index.clamp(0, count - 1)


class CountModel:
    """A trained network that guesses the counts to be expected.

    learnt: what it was trained on (`described.Learnt`). card, weights_sha256: where it comes from.
    """

    def __init__(self, tensors: Mapping[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> None:
        said = described(header, path)
        with reading(path):
            network = network_of(said.config["network"])
        fill(network, {name: value.float() for name, value in tensors.items()}, str(path))
        self.network = network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.device, self.learnt, self.card, self.weights_sha256 = device, said.learnt, said.card, said.weights_sha256

    @torch.no_grad()
    def denoised(self, acquired: Acquired) -> Tensor:
        """Expected counts of every view, like `acquired.counts`: float32 [V, bins, rows]; each view keeps its sum,
        which is better known than any bin.
        """
        counts = acquired.counts.float()
        index = neighbours(len(counts), self.network.context_views, is_closed(acquired.angles))
        made = [self.network(counts[part].to(self.device))[1][:, 0] for part in index.split(_BATCH)]
        expected = torch.cat(made).to(counts.device)
        return expected * (counts.sum((1, 2), keepdim=True) / expected.sum((1, 2), keepdim=True))


def network_of(config: Mapping[str, Any]) -> CountNetwork:
    """The network of a recipe or weight file; ValueError for one that cannot be built."""
    try:
        return CountNetwork(**config)
    except TypeError as error:
        raise ValueError(f"the arguments of network {NAME!r} do not fit: {error}.") from error


def load_count_model(path: str | Path | None = None, device: str = "auto") -> CountModel:
    """The shipped model, or that of a weight file.

    Raises SetupError where none is installed, InputError for a file that is not such a model.
    """
    return CountModel(*read_apart(NAME, path), torch.device(resolve_device(device)))
