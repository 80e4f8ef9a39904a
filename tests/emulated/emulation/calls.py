"""Calls that between them launch every kernel: the operators' own samples, and what those are too small for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from spectac_fast import ops
from spectac_fast._op import Op

CPU = torch.device("cpu")


def calls(name: str) -> list[dict[str, Any]]:
    """Keyword arguments of the public function, the same whenever they are asked for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(19)
        more = _MORE[name]() if name in _MORE else ()
        return [*Op._all[name].samples(CPU), *more]


def left_by(name: str) -> list[Tensor]:
    """What the compiled operator leaves of these calls: all that it returned, and its arguments as they are then."""
    op, left = Op._all[name], []
    through = op.default

    def watched(*args: Any) -> Any:
        result = through(*args)
        left.extend(t.detach().clone() for t in tree_leaves((args, result)) if isinstance(t, Tensor))
        return result

    op.default = watched
    try:
        for call in calls(name):
            getattr(ops, name)(**call, backend="native")
    finally:
        op.default = through
    return left


def _draw(*shape: int, dtype: torch.dtype = torch.float32, last: bool = False) -> Tensor:
    drawn = torch.randn(shape).to(dtype)
    return drawn.to(memory_format=torch.channels_last) if last else drawn


def _group_norm_silu() -> Iterator[dict[str, Any]]:
    """Groups of one small or large tile, of several small ones and of several large ones, each with and without vectors
    and in both layouts; far from zero.
    """
    one = [(4, 8, 8, 1), (6, 7, 7, 2), (4, 40, 28, 1), (6, 23, 23, 2)]
    small, large = [(4, 80, 60, 1), (2, 67, 65, 1)], [(8, 80, 60, 2), (6, 67, 65, 1)]
    for channels, height, width, groups in one + small + large:
        for last in (False, True):
            affine = {"weight": _draw(channels), "bias": _draw(channels)}
            yield {"x": _draw(1, channels, height, width, last=last) + 3, "groups": groups} | affine


def _bridge_add_noise() -> Iterator[dict[str, Any]]:
    """The objectives whose samples have the other alignment."""
    for shape, objective in (((2, 1, 3, 5), "grad"), ((2, 1, 4, 4), "noise"), ((1, 1, 4, 4), "ysubx")):
        drawn = {"t": torch.randint(20, shape[:1]), "schedule": torch.rand(20, 2), "seeds": torch.arange(shape[0])}
        yield {"x0": _draw(*shape), "y": _draw(*shape), "objective": objective} | drawn


def _slice_metrics() -> Iterator[dict[str, Any]]:
    """Both windows where rows are aligned."""
    for window in ("gaussian", "uniform"):
        yield {"x": torch.rand(2, 40, 140), "y": torch.rand(2, 40, 140), "data_range": 1.0, "window": window}


def _ssim_loss() -> Iterator[dict[str, Any]]:
    x, y = (torch.rand(1, 1, 48, 140, requires_grad=True) for _ in range(2))
    yield {"x": x, "y": y, "data_range": 1.0}


def _vq_nearest() -> Iterator[dict[str, Any]]:
    """More codes than threads."""
    yield {"z": _draw(1, 4, 5, 5), "codebook": _draw(300, 4)}


def _window_counts() -> Iterator[dict[str, Any]]:
    """Equal pixels, in rows that are not aligned."""
    yield {"counts": torch.randint(900, (2, 5, 7), dtype=torch.int32).to(torch.uint16), "scale": 900.0}


def _unwindow_counts() -> Iterator[dict[str, Any]]:
    """Equal pixels, in rows that are aligned."""
    yield {"x": torch.rand(2, 1, 8, 8) * 2 - 1, "scale": 900.0}


_MORE = {
    "bridge_add_noise": _bridge_add_noise,
    "group_norm_silu": _group_norm_silu,
    "slice_metrics": _slice_metrics,
    "ssim_loss": _ssim_loss,
    "unwindow_counts": _unwindow_counts,
    "vq_nearest": _vq_nearest,
    "window_counts": _window_counts,
}
