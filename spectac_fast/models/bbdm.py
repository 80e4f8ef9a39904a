"""BBDM: a Brownian bridge with a network that predicts along it (Li et al., CVPR 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.sampler import sample_bridge
from spectac_fast.diffusion.solvers import StepTable, solver_table

from .translator import check_slices, with_neighbours

_NO_COUNTS = -1.0
# A library chooses its kernels by shape, and another kernel rounds otherwise; with few shapes few differences arise.
_BATCHES = (2, 4, 8, 16, 32, 64)


class BBDM(nn.Module):
    """A bridge and its denoiser under the published names: `denoise_fn.*` and the six schedule buffers.

    forward(x [B, C, H, W], t int64 [B], y [B, C', H, W]) -> network output of the shape of x, in the units of the
    bridge's objective. y is the bridge's end, followed by neighbouring slices where the network takes any.
    """

    def __init__(self, bridge: BrownianBridge, network: nn.Module) -> None:
        super().__init__()
        self.bridge = bridge
        self.denoise_fn = network
        for name, buffer in bridge.buffers().items():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.denoise_fn(x, t, context=y)


class BBDMTranslator:
    """A trained pixel-space bridge as a `Translator`.

    defaults: {"steps", "samples", "sample_steps", "solver", "order", "eta"} of `translate`. size: (rows, columns) of
    the training images; smaller slices are padded to it. slice_mm: distance of their slices.
    """

    name = "bbdm"

    def __init__(
        self,
        model: BBDM,
        *,
        defaults: dict[str, Any],
        size: tuple[int, int],
        pixel_mm: float,
        slice_mm: float,
        gain: float,
        card: dict[str, Any],
        weights_sha256: str,
        device: torch.device,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.defaults, self.size, self.pixel_mm, self.gain, self.card = defaults, size, pixel_mm, gain, card
        self.weights_sha256, self.device = weights_sha256, device
        count = self.model.denoise_fn.context_slices
        self.context_mm = tuple(k * slice_mm for k in range(-count, count + 1) if k)

    def translate(
        self,
        nc: Tensor,
        seeds: Tensor | None = None,
        *,
        neighbours: Tensor | None = None,
        steps: int | list[int] | None = None,
        samples: int | None = None,
        solver: str | None = None,
        order: int | None = None,
        eta: float | None = None,
    ) -> Tensor:
        """NC -> AC (see `Translator.translate`); the mean of `samples` samples of `steps` network evaluations each.

        steps=1 is the regression estimate E[ac | nc] and draws nothing. Without steps and samples the defaults of the
        weights hold; samples alone means samples of the weights' "sample_steps" evaluations.
        """
        check_slices(nc, seeds)
        count = self.defaults["samples"] if samples is None else samples
        if count < 1:
            raise ValueError(f"samples must be at least 1, found {count}.")
        table = solver_table(
            self.model.bridge,
            steps if steps is not None else self.defaults["steps" if samples is None else "sample_steps"],
            solver=solver or self.defaults["solver"],
            order=order or self.defaults["order"],
            eta=self.defaults["eta"] if eta is None else eta,
        )
        if seeds is None:
            seeds = torch.arange(len(nc))
        y = with_neighbours(nc.to(self.device), neighbours, len(self.context_mm))
        seeds = seeds.to(self.device)
        out = torch.empty_like(y[:, :1])
        for part, padded in _batches(len(y)):
            out[part] = self._mean(y[part], seeds[part], padded, table, count)
        return out

    def _mean(self, y: Tensor, seeds: Tensor, batch: int, table: StepTable, samples: int) -> Tensor:
        """Mean of the samples of one batch (slices, then their neighbours), computed at the batch size `batch`."""
        condition, window = self._pad(y)
        missing = batch - len(y)
        condition = F.pad(condition, (0, 0, 0, 0, 0, 0, 0, missing), value=_NO_COUNTS)
        image = condition[:, :1].contiguous()
        seeds = F.pad(seeds, (0, missing))
        # One evaluation draws nothing: all its samples are the same.
        samples = samples if table.noise_rows else 1
        total = torch.zeros_like(image)

        def denoiser(x: Tensor, t: Tensor, end: Tensor) -> Tensor:
            return self.model(x, t, condition)

        for k in range(samples):
            total += sample_bridge(denoiser, image, table, seeds=seeds, sample=k)
        return (total / samples)[: len(y), :, window[0], window[1]]

    def _pad(self, y: Tensor) -> tuple[Tensor, tuple[slice, slice]]:
        """Centre the slices in a field the network can halve as often as it needs, filled with zero counts."""
        multiple = self.model.denoise_fn.multiple
        before, after, window = [], [], []
        for length, least in zip(y.shape[-2:], self.size):
            extra = -(-max(length, least) // multiple) * multiple - length
            before.append(extra // 2)
            after.append(extra - extra // 2)
            window.append(slice(extra // 2, extra // 2 + length))
        return F.pad(y, (before[1], after[1], before[0], after[0]), value=_NO_COUNTS), (window[0], window[1])


def _batches(count: int) -> Iterator[tuple[slice, int]]:
    """Cut `count` slices into runs, each with the batch size it is padded to."""
    largest = _BATCHES[-1]
    for start in range(0, count, largest):
        length = min(largest, count - start)
        yield slice(start, start + length), next(size for size in _BATCHES if size >= length)
