"""Vector quantisation: the nearest code of every token, without the matrix of all distances.

For a token z and codes e_n the index is the least n that minimises

    d_n = sum over k of (z_k - e_nk)^2

evaluated in float32, one fused multiply-add per dimension in their order, on every back end. The published form
|z|^2 + |e|^2 - 2 z.e (van den Oord et al., NeurIPS 2017; Esser et al., CVPR 2021) subtracts numbers far larger than
their difference, so that it may choose a farther code; this one errs by less than (D + 3) 2^-23 of the distance.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import (
    INT64,
    NETWORK_DTYPES,
    check_contiguous,
    check_tensor,
    check_writing,
    is_channels_last,
)

_NAME = "vq_nearest"
_SCHEMA = "vq_nearest(Tensor z, Tensor codebook, Tensor(a!) index, Tensor(b!) code) -> ()"
_LARGEST_BOOK = 2**31 - 1
_CHUNK = 512  # codes the reference compares at a time, so that its memory is in proportion to the tokens


def _reference(z: Tensor, codebook: Tensor, index: Tensor, code: Tensor) -> None:
    if z.numel() == 0:
        return
    tokens = z.movedim(1, -1).reshape(-1, z.shape[1]).float()
    least = torch.full_like(tokens[:, 0], torch.inf)
    nearest = torch.zeros_like(least, dtype=torch.int64)
    for first in range(0, codebook.shape[0], _CHUNK):
        codes = codebook[first : first + _CHUNK].float()
        distance = torch.zeros(tokens.shape[0], codes.shape[0], device=z.device)
        for k in range(z.shape[1]):
            # A square of float32 is exact in float64, so that only the sum is rounded, as a fused multiply-add does.
            apart = (tokens[:, k, None] - codes[None, :, k]).double()
            distance = (distance + apart * apart).float()
        distance = torch.where(distance.isnan(), torch.inf, distance)
        lowest = distance.amin(1)
        number = torch.arange(first, first + codes.shape[0], device=z.device)
        # The lowest index among equals, which torch.argmin does not promise.
        at = torch.where(distance == lowest[:, None], number, _LARGEST_BOOK).amin(1)
        nearest = torch.where(lowest < least, at, nearest)
        least = torch.minimum(least, lowest)
    found = codebook[nearest].masked_fill(least[:, None].isinf(), torch.nan)
    index.copy_(nearest.reshape(index.shape))
    code.movedim(1, -1).copy_(found.reshape(code.movedim(1, -1).shape))


def _samples(device: torch.device) -> Iterator[dict[str, Any]]:
    """Calls with images in both layouts and with plain tokens, with and without outputs given."""

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, device=device).to(dtype)

    last = draw(2, 4, 3, 5, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    yield {"z": last, "codebook": draw(70, 4)}
    index = torch.empty(6, dtype=torch.int64, device=device)
    yield {"z": draw(6, 3), "codebook": draw(9, 3), "index": index, "code": draw(6, 3)}


op = Op(_SCHEMA, reference=_reference, triton="spectac_fast.kernels.vq_nearest:vq_nearest", samples=_samples)


def vq_nearest(
    z: Tensor,
    codebook: Tensor,
    *,
    index: Tensor | None = None,
    code: Tensor | None = None,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """Index of the nearest code of every token, and that code.

    z:         float32, bfloat16 or float16 [B, D, ...], a token per position, or [B, D], a token per row. Contiguous
               and channels_last are read as they lie, any other layout is copied first.
    codebook:  [N, D] of any of the three dtypes; N from 1 to 2^31 - 1, D at least 1 (on CUDA at most 1024).
    index:     int64 [B, ...], contiguous, written and returned; None allocates it.
    code:      in z's shape and layout and codebook's dtype, written and returned; None allocates it.
    backend:   "reference", "native" or "triton"; None lets the dispatcher choose.

    Returns (index, code). Among equally near codes the lowest index wins. A code that holds NaN is near to nothing. A
    token that is near to nothing (it holds NaN or infinity, or its squared distances exceed float32) gets index 0,
    which is safe to look up, and NaN for its code. Raises TypeError for a wrong dtype, ValueError for a wrong shape,
    device or layout, RuntimeError where a gradient would be needed (there is none: take codebook[index]) or the back
    end cannot run.
    """
    if backend is None and op.may_try(z, codebook, index, code):
        try:
            found, codes = index, code
            if found is None:
                tokens, _, *positions = z.shape
                found = z.new_empty((tokens, *positions), dtype=torch.int64)
            if codes is None:
                codes = torch.empty_like(z, dtype=codebook.dtype)
            op.default(z, codebook, found, codes)
            return found, codes
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or an input only lies otherwise.
    if z.dim() < 2:
        raise ValueError(f"{_NAME}: z must be [B, D, ...], found shape {list(z.shape)}.")
    check_tensor(_NAME, "z", z, z, z.shape, NETWORK_DTYPES, "z")
    if codebook.dim() != 2 or not 1 <= codebook.shape[0] <= _LARGEST_BOOK or codebook.shape[1] < 1:
        raise ValueError(
            f"{_NAME}: codebook must be [N, D] with 1 to 2^31 - 1 codes and at least 1 dimension, "
            f"found shape {list(codebook.shape)}."
        )
    check_tensor(_NAME, "codebook", codebook, z, (codebook.shape[0], z.shape[1]), NETWORK_DTYPES, "z")
    outputs = {"index": index, "code": code}
    check_writing(_NAME, {"z": z, "codebook": codebook}, outputs)

    dense = z if z.is_contiguous() or is_channels_last(z) else z.contiguous()
    positions = z.shape[:1] + z.shape[2:]
    if index is None:
        index = torch.empty(positions, dtype=torch.int64, device=z.device)
    else:
        check_tensor(_NAME, "index", index, z, positions, INT64, "z")
        check_contiguous(_NAME, "index", index)
    if code is None:
        code = torch.empty_like(dense, dtype=codebook.dtype)
    else:
        check_tensor(_NAME, "code", code, z, z.shape, (codebook.dtype,), "z")
        if not (code.is_contiguous() if dense.is_contiguous() else is_channels_last(code)):
            raise ValueError(f"{_NAME}: code must be laid out like z, found strides {code.stride()}.")
    op(dense, codebook.contiguous(), index, code, backend=backend)
    return index, code
