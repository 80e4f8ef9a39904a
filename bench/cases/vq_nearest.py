"""vq_nearest: tokens of eight images against the codebook of a VQGAN."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bench.speed.case import Case, Goal
from spectac_fast.ops import vq_nearest

SIZES = ((4, 16384, True), (3, 8192, False), (8, 16384, False), (64, 1024, False), (256, 1024, False))
"""Dimension, codes, and whether the goals are set for this size."""


def published_quantiser(z: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """Index and code as the published quantiser computes them, operation by operation (Esser et al., CVPR 2021)."""
    last = z.permute(0, 2, 3, 1).contiguous()
    flat = last.view(-1, codebook.shape[1])
    squares = torch.sum(flat**2, dim=1, keepdim=True) + torch.sum(codebook**2, dim=1)
    distance = squares - 2 * torch.einsum("bd,dn->bn", flat, codebook.t())
    index = torch.argmin(distance, dim=1)
    return index, torch.nn.functional.embedding(index, codebook).view(last.shape).permute(0, 3, 1, 2).contiguous()


def cases(device: torch.device) -> Iterator[Case]:
    for dim, codes, judged in SIZES:
        z, codebook = torch.randn(8, dim, 32, 32, device=device), torch.randn(codes, dim, device=device)
        index, code = torch.empty(8, 32, 32, dtype=torch.int64, device=device), torch.empty_like(z)
        yield Case(
            op="vq_nearest",
            size=f"8x1024 tokens x {codes} codes x {dim}",
            # Bound as defaults: the call outlives this turn of the loop.
            ours=lambda a=(z, codebook), k={"index": index, "code": code}: vq_nearest(*a, **k),
            rivals={"published expression": lambda a=(z, codebook): published_quantiser(*a)},
            moved=4 * (2 * z.numel() + codebook.numel()) + 8 * index.numel(),
            goals=(Goal("published expression", 30), Goal("published expression", 10, threads=None)) if judged else (),
        )
