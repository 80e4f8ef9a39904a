"""sampler_step in Triton: one program per block of a slice, four consecutive elements per Philox counter.

The formulas and the meaning of every argument stand in spectac_fast/ops/sampler_step.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from spectac_fast.kernels.philox import counter_normal

QUADS = 256
"""Counters a program handles; a multiple of the 128 threads that run it."""


@triton.jit
def _load(ptr, offsets, mask):
    return tl.load(ptr + offsets, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _add(total, coefficient_ptr, value):
    return tl.fma(tl.load(coefficient_ptr), value, total)


@triton.jit
def _clamp(value, lo, hi):
    # Comparisons instead of min and max: NaN passes through.
    return tl.where(value < lo, lo, tl.where(value > hi, hi, value))


@triton.jit(do_not_specialize=["step", "sample"])
def sampler_step_kernel(
    x_ptr,  # float32 [B, elements], and so all others; absent ones are None
    f_ptr,
    y_ptr,
    row_ptr,  # float32 [14]
    h1_ptr,
    h2_ptr,
    seeds_ptr,  # int64 [B]
    noise_ptr,
    anchor_ptr,
    x_next_ptr,
    x0_ptr,
    net_ptr,
    elements,
    net_stride,  # elements from one slice of the network's input to the next
    step,
    sample,
    lo,
    hi,
    QUADS: tl.constexpr,
):
    blocks = tl.cdiv(elements, 4 * QUADS)
    slice_index = (tl.program_id(0) // blocks).to(tl.int64)
    quad = (tl.program_id(0) % blocks) * QUADS + tl.arange(0, QUADS)
    within = quad[:, None] * 4 + tl.arange(0, 4)[None, :]
    mask = within < elements
    at = slice_index * elements + within

    x = _load(x_ptr, at, mask)
    d = _add(tl.load(row_ptr) * x, row_ptr + 1, _load(f_ptr, at, mask))
    if y_ptr is not None:
        y = _load(y_ptr, at, mask)
        d = _add(d, row_ptr + 2, y)
    d = _clamp(d, lo, hi)
    if h1_ptr is not None:
        h1 = _load(h1_ptr, at, mask)
    if h2_ptr is not None:
        h2 = _load(h2_ptr, at, mask)

    if anchor_ptr is not None:
        xa = _add(tl.load(row_ptr + 9) * _load(anchor_ptr, at, mask), row_ptr + 10, d)
        if h1_ptr is not None:
            xa = _add(xa, row_ptr + 11, h1)
        if h2_ptr is not None:
            xa = _add(xa, row_ptr + 12, h2)
        if y_ptr is not None:
            xa = _add(xa, row_ptr + 13, y)
        tl.store(anchor_ptr + at, xa, mask=mask)
    else:
        xa = x

    following = _add(tl.load(row_ptr + 3) * xa, row_ptr + 4, d)
    if h1_ptr is not None:
        following = _add(following, row_ptr + 5, h1)
    if h2_ptr is not None:
        following = _add(following, row_ptr + 6, h2)
    if y_ptr is not None:
        following = _add(following, row_ptr + 7, y)
    if noise_ptr is not None:
        following = _add(following, row_ptr + 8, _load(noise_ptr, at, mask))
    if seeds_ptr is not None:
        n0, n1, n2, n3 = counter_normal(tl.load(seeds_ptr + slice_index), quad, step, sample, 0)
        eps = tl.reshape(tl.join(tl.join(n0, n2), tl.join(n1, n3)), (QUADS, 4))
        following = _add(following, row_ptr + 8, eps)

    tl.store(x_next_ptr + at, following, mask=mask)
    if x0_ptr is not None:
        tl.store(x0_ptr + at, d, mask=mask)
    if net_ptr is not None:
        tl.store(net_ptr + slice_index * net_stride + within, following.to(net_ptr.dtype.element_ty), mask=mask)


def sampler_step(
    x: torch.Tensor,
    f: torch.Tensor,
    y: torch.Tensor | None,
    row: torch.Tensor,
    h1: torch.Tensor | None,
    h2: torch.Tensor | None,
    seeds: torch.Tensor | None,
    noise: torch.Tensor | None,
    step: int,
    sample: int,
    lo: float,
    hi: float,
    anchor: torch.Tensor | None,
    x_next: torch.Tensor,
    x0: torch.Tensor | None,
    net_input: torch.Tensor | None,
) -> None:
    """Launch on the current stream of x's device; arguments as the operator's schema has them, already checked."""
    if x.numel() == 0:
        return
    elements = x[0].numel()
    net_stride = elements if net_input is None else net_input.stride(0)
    tensors = (x, f, y, row, h1, h2, seeds, noise, anchor, x_next, x0, net_input)
    grid = (x.shape[0] * triton.cdiv(elements, 4 * QUADS),)
    with torch.cuda.device_of(x):
        sampler_step_kernel[grid](*tensors, elements, net_stride, step, sample, lo, hi, QUADS=QUADS)
