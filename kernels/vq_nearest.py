"""vq_nearest in Triton: a program searches the whole codebook for a few tokens and keeps no distance but the least.

The definition and the meaning of every argument stand in spectac_fast/ops/vq_nearest.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

TOKENS = 8
"""Tokens of a program."""
CODES = 128
"""Codes compared at a time; with TOKENS it gives each of the 128 threads that run a program 8 distances."""


@triton.jit
def _add_square(total, z_ptr, exists, e):
    z = tl.load(z_ptr, mask=exists, other=0.0).to(tl.float32)
    apart = z[:, None] - e[None, :]
    return tl.fma(apart, apart, total)


@triton.jit
def vq_nearest_kernel(
    z_ptr,
    codebook_ptr,  # [codes, DIM]
    index_ptr,  # int64 [tokens]
    code_ptr,
    tokens,
    positions,
    codes,
    sample_stride,  # of z and code, and so the next two
    dim_stride,
    position_stride,
    DIM: tl.constexpr,
    TOKENS: tl.constexpr,
    CODES: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    exists = token < tokens
    place = token // positions * sample_stride + token % positions * position_stride
    least = tl.full((TOKENS, CODES), float("inf"), tl.float32)
    nearest = tl.zeros((TOKENS, CODES), tl.int32)
    for first in range(0, codes, CODES):
        number = first + tl.arange(0, CODES)
        distance = tl.zeros((TOKENS, CODES), tl.float32)
        for k in range(0, DIM, 4):
            # Four dimensions of a code in one load; beyond the last both code and token hold 0.
            dims = k + tl.arange(0, 4)
            mask = (number < codes)[:, None] & (dims < DIM)[None, :]
            four = tl.load(codebook_ptr + number.to(tl.int64)[:, None] * DIM + dims[None, :], mask=mask, other=0.0)
            even, odd = tl.split(tl.reshape(four.to(tl.float32), (CODES, 2, 2)))
            e0, e2 = tl.split(even)
            e1, e3 = tl.split(odd)
            at = z_ptr + place + k * dim_stride
            distance = _add_square(distance, at, exists, e0)
            distance = _add_square(distance, at + dim_stride, exists & (k + 1 < DIM), e1)
            distance = _add_square(distance, at + 2 * dim_stride, exists & (k + 2 < DIM), e2)
            distance = _add_square(distance, at + 3 * dim_stride, exists & (k + 3 < DIM), e3)
        nearer = (distance < least) & (number < codes)[None, :]  # never for NaN
        least = tl.where(nearer, distance, least)
        nearest = tl.where(nearer, number[None, :], nearest)

    lowest = tl.min(least, axis=1)
    index = tl.min(tl.where(least == lowest[:, None], nearest, 2147483647), axis=1)
    tl.store(index_ptr + token, index.to(tl.int64), mask=exists)
    near = lowest < float("inf")
    for k in range(0, DIM):
        value = tl.load(codebook_ptr + index.to(tl.int64) * DIM + k, mask=exists).to(tl.float32)
        value = tl.where(near, value, float("nan"))
        tl.store(code_ptr + place + k * dim_stride, value.to(code_ptr.dtype.element_ty), mask=exists)


def vq_nearest(z: torch.Tensor, codebook: torch.Tensor, index: torch.Tensor, code: torch.Tensor) -> None:
    """Launch on the current stream of z's device; arguments as the operator's schema has them, already checked."""
    if z.numel() == 0:
        return
    dim, tokens = z.shape[1], index.numel()
    positions = tokens // z.shape[0]
    strides = (dim * positions, positions, 1) if z.is_contiguous() else (dim * positions, 1, dim)
    with torch.cuda.device_of(z):
        vq_nearest_kernel[(triton.cdiv(tokens, TOKENS),)](
            *(z, codebook, index, code, tokens, positions, codebook.shape[0], *strides),
            DIM=dim,
            TOKENS=TOKENS,
            CODES=CODES,
        )
