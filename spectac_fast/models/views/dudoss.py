"""Views that were never taken, from those that were: DuDoSS (Chen et al., Med Phys 2023), in the image and the views.

One network makes a better image of the sparse views' reconstruction; what the camera would count of that image guides
a second one, which makes a missing view of the measured ones beside it. Measured views are kept as they are. The method
is that of the paper; layers, sizes and training are our own, and both networks learn at once from views that were left
out, whose noise is their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.checkpoints.weights import fill
from spectac_fast.device import resolve_device
from spectac_fast.errors import InputError
from spectac_fast.models.description import read_apart, reading
from spectac_fast.models.views.described import bright, described, is_closed, step
from spectac_fast.models.views.layers import DenseUNet, padded, roots
from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.post_filter import low_pass
from spectac_fast.reconstruct.projector import to_columns
from spectac_fast.reconstruct.settings import usual

NAME = "dudoss"
# Views that are this near to each other, degrees, are enough; where they are farther apart, so many stand for one.
ENOUGH_STEP, FACTORS = 3.2, (2, 3, 4)
# Measured views on either side that a missing one is made of.
_BESIDE = 2
_UNEVEN = 0.1
# Bins over which the image's own error is averaged.
_SMOOTH = 5
_LEAST, _ABOVE = 0.05, 1e-4
_BATCH = 16


@dataclass(frozen=True)
class Layout:
    """`views` measured views among `factor` times as many; the first of them stands at `first`."""

    views: int
    factor: int
    closed: bool

    @property
    def first(self) -> int:
        return (self.factor - 1) // 2

    @property
    def all(self) -> int:
        return self.views * self.factor

    @property
    def measured(self) -> Tensor:
        """Where the measured views stand, int64 [views]."""
        return self.first + self.factor * torch.arange(self.views)

    @property
    def missing(self) -> Tensor:
        """Where the others do."""
        every = torch.arange(self.all)
        return every[(every - self.first) % self.factor != 0]

    def beside(self, missing: Tensor) -> tuple[Tensor, Tensor]:
        """The measured views about missing ones, int64 [B, 4], two before and two behind, the ends of an arc repeated;
        and how far from the one before to the one behind they stand, float32 [B].
        """
        before = torch.div(missing - self.first, self.factor, rounding_mode="floor")
        index = before[:, None] + torch.arange(1 - _BESIDE, 1 + _BESIDE)
        index = index % self.views if self.closed else index.clamp(0, self.views - 1)
        return index, ((missing - self.first) / self.factor - before).float()

    def spread(self, values: Sequence[float]) -> list[float]:
        """A value of every view, such as its angle, of one of each measured; straight on beyond the ends."""
        at = (np.arange(self.all) - self.first) / self.factor
        known = np.asarray(values, float)
        if self.views < 2:
            return [float(known[0])] * self.all
        low = np.clip(np.floor(at).astype(int), 0, self.views - 2)
        return (known[low] + (at - low) * (known[low + 1] - known[low])).tolist()


class DualDomain(nn.Module):
    """Both networks. image, views: arguments of `DenseUNet` without its channels. context_slices: of the image network,
    on either side.
    """

    def __init__(self, image: Mapping[str, Any], views: Mapping[str, Any], context_slices: int) -> None:
        super().__init__()
        self.context_slices = context_slices
        self.image = DenseUNet(1 + 2 * context_slices, **image)
        self.views = DenseUNet(2 * (2 * _BESIDE) + 2, **views)

    def activity(self, nc: Tensor, level: float) -> Tensor:
        """A better image of a reconstruction, both [z, y, x], at least 0 and in the same counts; level: what its bright
        voxels hold (`described.bright`).
        """
        level = max(level, 1e-6)
        root = (nc.clamp_min(0) / level).sqrt()
        beside = torch.arange(-self.context_slices, self.context_slices + 1)
        seen = root[(torch.arange(len(nc))[:, None] + beside).clamp(0, len(nc) - 1)]
        out = self.image(padded(seen, self.image.multiple))[:, 0, : nc.shape[1], : nc.shape[2]]
        return level * (root + out).square()

    def missing(self, guide: Tensor, measured: Tensor, guided: Tensor, share: Tensor) -> Tensor:
        """Expected counts of missing views [B, 1, bins, rows], above 0.

        guide: what the image gives of them [B, 1, bins, rows]. measured, guided: the measured views about them, and
        what the image gives of those, [B, 4, bins, rows]. share: of `Layout.beside`.
        """
        bins, rows = guide.shape[-2:]
        where = share[:, None, None, None].expand_as(guide)
        # The image is of no patient who attenuates: what it gives is off by what changes slowly over views and bins.
        off = torch.lerp(*(measured[:, k : k + 1] - guided[:, k : k + 1] for k in (_BESIDE - 1, _BESIDE)), where)
        around = guide + F.avg_pool2d(off, _SMOOTH, 1, _SMOOTH // 2, count_include_pad=False)
        seen = torch.cat([roots(guide), roots(measured), roots(guided), where], dim=1)
        out = self.views(padded(seen, self.views.multiple))[..., :bins, :rows]
        return ((around.clamp_min(0) + _LEAST).sqrt() + out).square() + _ABOVE


def reconstruction(measured: Acquired) -> Tensor:
    """What the image network sees of measured views: [z, y, x] in counts a view."""
    how = usual(measured.views)
    return low_pass(measured.volume(how), measured.pixel_mm, how.filter) / measured.views


def among(measured: Acquired, layout: Layout) -> Acquired:
    """Where all views stand, with counts of the measured ones alone: 0 in the others."""
    counts = measured.counts.new_zeros(layout.all, *measured.counts.shape[1:])
    counts[layout.measured] = measured.counts
    return replace(
        measured,
        counts=counts,
        angles=tuple(layout.spread(measured.angles)),
        radius_mm=tuple(layout.spread(measured.radius_mm)),
        _projectors={},
    )


class ViewModel:
    """Trained networks that guess missing views; attributes as of `cunet.CountModel`."""

    def __init__(self, tensors: Mapping[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> None:
        said = described(header, path)
        with reading(path):
            network = network_of(said.config["network"])
        fill(network, {name: value.float() for name, value in tensors.items()}, str(path))
        self.network = network.to(device).eval().requires_grad_(False)
        self.device, self.learnt, self.card, self.weights_sha256 = device, said.learnt, said.card, said.weights_sha256

    @torch.no_grad()
    def completed(self, measured: Acquired, layout: Layout) -> Acquired:
        """All views of `layout`; those that were measured as they are."""
        whole = among(measured, layout)
        whole.counts[layout.missing] = guessed(self.network, measured, whole, layout, layout.missing, self.device)
        return whole


def guessed(
    network: DualDomain, measured: Acquired, whole: Acquired, layout: Layout, missing: Tensor, device: torch.device
) -> Tensor:
    """Expected counts [B, bins, rows] of missing views of `among`."""
    nc = reconstruction(measured)
    activity = network.activity(nc.to(device), bright(nc)).to(measured.counts.device)
    guide = whole.projector(False).project(to_columns(activity))[0]
    out = []
    for part in missing.split(_BATCH):
        index, share = layout.beside(part)
        beside = guide[layout.measured[index]]
        seen = (guide[part][:, None], measured.counts[index], beside, share)
        out.append(network.missing(*(each.to(device) for each in seen))[:, 0].to(measured.counts.device))
    return torch.cat(out)


def layout_of(acquired: Acquired, path: Path) -> Layout | None:
    """How many views an acquisition needs for one, and where; None where it has enough.

    Raises InputError for views at uneven steps, and for fewer than can be completed.
    """
    steps = np.diff(np.asarray(acquired.angles))
    usual_step = step(acquired.angles)
    if usual_step <= ENOUGH_STEP:
        return None
    if acquired.views < 2 * _BESIDE or float(np.abs(steps - usual_step).max()) > _UNEVEN * usual_step:
        raise InputError(f"{path}: expected views at equal steps to add others between them, found gaps.")
    factor = math.ceil(usual_step / ENOUGH_STEP - 1e-6)
    if factor > max(FACTORS):
        raise InputError(
            f"{path}: expected views at most {max(FACTORS) * ENOUGH_STEP:g} degrees apart to add others between them, "
            f"found {usual_step:.3g}."
        )
    return Layout(acquired.views, factor, is_closed(acquired.angles))


def network_of(config: Mapping[str, Any]) -> DualDomain:
    """The networks of a recipe or weight file; ValueError for some that cannot be built."""
    try:
        return DualDomain(**config)
    except TypeError as error:
        raise ValueError(f"the arguments of network {NAME!r} do not fit: {error}.") from error


def load_view_model(path: str | Path | None = None, device: str = "auto") -> ViewModel:
    """The shipped model, or that of a weight file.

    Raises SetupError where none is installed, InputError for a file that is not such a model.
    """
    return ViewModel(*read_apart(NAME, path), torch.device(resolve_device(device)))
