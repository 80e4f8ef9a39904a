"""window_counts and unwindow_counts: stored counts to what a network sees, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from bench.speed.case import COPY, Case, Goal
from spectac_fast.ops import unwindow_counts, window_counts

SIZES = ((256, 64, 64), (64, 256, 256))
SCALE = 700.0
GROWTH = 1.3  # a common camera's pixel of 4.8 mm to one of about 6.2 mm


def eager_window(counts: torch.Tensor) -> torch.Tensor:
    return counts.float() * (2 / SCALE) - 1


def eager_unwindow(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    asked = ((x + 1) * (SCALE / 2)).round()
    tallies = torch.stack([flag.sum((1, 2)) for flag in (asked < 0, asked > 65535, asked.isnan())], 1)
    return asked.nan_to_num(0.0).clamp(0, 65535).to(torch.uint16), tallies


def eager_resample(counts: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Torch's own antialiased interpolation: the same triangles, cut off at the border of the field."""
    values = torch.nn.functional.interpolate(counts.float()[None], size, mode="bilinear", antialias=True)[0]
    return values * (2 / SCALE) - 1


def cases(device: torch.device) -> Iterator[Case]:
    for size in SIZES:
        counts = torch.randint(0, 2000, size, dtype=torch.int32, device=device).to(torch.uint16)
        x, out = torch.randn(size, device=device), torch.empty(size, device=device)
        name, moved = "x".join(map(str, size)), 6 * counts.numel()

        def case(op: str, what: str, ours: Callable, eager: Callable, moved: int, goals: tuple[Goal, ...] = ()) -> Case:
            return Case(op, what, ours, {"eager": eager}, moved, goals)

        gpu = (Goal(COPY, 0.9, threads=None),)
        yield case(
            "window_counts",
            f"{name} uint16 to float32",
            lambda counts=counts, out=out: window_counts(counts, scale=SCALE, out=out),
            lambda counts=counts: eager_window(counts),
            moved,
            gpu,
        )
        yield case(
            "unwindow_counts",
            f"{name} float32 to uint16",
            lambda x=x: unwindow_counts(x, scale=SCALE),
            lambda x=x: eager_unwindow(x),
            moved,
            gpu,
        )
        smaller = window_counts(counts, scale=SCALE, model_mm=GROWTH)
        yield case(
            "window_counts",
            f"{name} uint16 to float32, pixels x{GROWTH}",
            lambda counts=counts, out=smaller: window_counts(counts, scale=SCALE, model_mm=GROWTH, out=out),
            lambda counts=counts, to=smaller.shape[1:]: eager_resample(counts, to),
            2 * counts.numel() + 4 * smaller.numel(),
        )
