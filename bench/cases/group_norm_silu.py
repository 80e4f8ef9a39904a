"""group_norm_silu: GroupNorm of 32 groups, FiLM and SiLU, as between two convolutions of every residual block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from bench.speed.case import COPY, Case, Goal
from spectac_fast.ops import group_norm_silu

SHAPES = ((8, 128, 64, 64), (8, 512, 16, 16))
GROUPS = 32


def published_block(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """The same operation by operation, as the published networks compute it (Dhariwal and Nichol, NeurIPS 2021)."""
    y = functional.group_norm(x, GROUPS, weight, bias)
    return functional.silu(y * (1 + scale[..., None, None]) + shift[..., None, None])


def cases(device: torch.device) -> Iterator[Case]:
    for shape in SHAPES:
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(shape, device=device).to(memory_format=layout)
            weight, bias = (torch.randn(shape[1], device=device) for _ in range(2))
            scale, shift = torch.randn(shape[0], 2 * shape[1], device=device).chunk(2, dim=1)
            call = (x, weight, bias, scale, shift)
            more = {"scale": scale, "shift": shift, "out": torch.empty_like(x)}
            compiled = torch.compile(published_block, fullgraph=True, dynamic=False)
            compiled(*call)
            yield Case(
                op="group_norm_silu",
                size="x".join(map(str, shape)) + (" channels_last" if layout is torch.channels_last else ""),
                # Bound as defaults: the call outlives this turn of the loop.
                ours=lambda a=(x, GROUPS, weight, bias), k=more: group_norm_silu(*a, **k),
                rivals={
                    "eager": lambda a=call: published_block(*a),
                    "torch.compile": lambda f=compiled, a=call: f(*a),
                },
                moved=2 * x.numel() * x.element_size(),
                # A second read is of the cache where a group fits it, so the bound of two passes is at most 1.5 copies.
                goals=(Goal("eager", 2), Goal("torch.compile", 1), Goal(COPY, 0.8 / 1.5, threads=None)),
            )
