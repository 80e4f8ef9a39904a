"""window_counts and unwindow_counts in Triton: one program per block of a slice's outputs.

The formulas and the meaning of every argument stand in spectac_fast/ops/window_counts.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 1024
"""Outputs of a program without resampling: eight for each of the 128 threads that run it."""

RESAMPLED_BLOCK = 128
"""With resampling: positions and weights are 64 bits wide, and more outputs would not fit in the registers."""


@triton.jit
def _share(position, reach, source, n):
    """Weight of a source pixel before division by the sum, in 2^-32 pixels; 0 where there is none."""
    share = reach - tl.abs(position - (source << 32))
    return tl.where((source >= 0) & (source < n), tl.maximum(share, 0), 0)


@triton.jit
def _axis(output, n, step, origin, reach, TAPS: tl.constexpr):
    """Position of each output, its first source pixel and the sum of its shares."""
    end = (n - 1).to(tl.int64) << 32
    position = tl.minimum(tl.maximum(output.to(tl.int64) * step + origin, 0), end)
    first = ((position - reach) >> 32) + 1
    total = position * 0
    for k in range(TAPS):
        total += _share(position, reach, first + k, n)
    return position, first, total.to(tl.float32)


@triton.jit
def _mixed(
    ptr,
    within,
    mask,
    height,
    width,
    out_width,
    row_step,
    row_origin,
    row_reach,
    column_step,
    column_origin,
    column_reach,
    ROW_TAPS: tl.constexpr,
    COLUMN_TAPS: tl.constexpr,
):
    """The resampled float32 values of a block of outputs; without taps the values as they are."""
    if ROW_TAPS == 0:
        return tl.load(ptr + within, mask=mask, other=0).to(tl.float32)
    row, row_first, row_total = _axis(within // out_width, height, row_step, row_origin, row_reach, ROW_TAPS)
    column, column_first, column_total = _axis(
        within % out_width, width, column_step, column_origin, column_reach, COLUMN_TAPS
    )
    result = (within * 0).to(tl.float32)
    for j in range(COLUMN_TAPS):
        column_share = _share(column, column_reach, column_first + j, width)
        mixed = (within * 0).to(tl.float32)
        for i in range(ROW_TAPS):
            row_share = _share(row, row_reach, row_first + i, height)
            at = (row_first + i) * width + column_first + j
            value = tl.load(ptr + at, mask=mask & (row_share > 0) & (column_share > 0), other=0).to(tl.float32)
            mixed = tl.fma(tl.div_rn(row_share.to(tl.float32), row_total), value, mixed)
        more = tl.fma(tl.div_rn(column_share.to(tl.float32), column_total), mixed, result)
        result = tl.where(column_share > 0, more, result)
    return result


@triton.jit
def window_counts_kernel(
    counts_ptr,  # uint16, int16 or float32 [B, C, height, width]
    out_ptr,  # [B, C, out_height, out_width]
    gain,
    channels,
    height,
    width,
    out_height,
    out_width,
    out_stride,  # elements from one member of the batch to the next
    row_step,
    row_origin,
    row_reach,
    column_step,
    column_origin,
    column_reach,
    ROW_TAPS: tl.constexpr,
    COLUMN_TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    elements = out_height * out_width
    blocks = tl.cdiv(elements, BLOCK)
    slice_index = (tl.program_id(0) // blocks).to(tl.int64)
    within = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = within < elements
    source = counts_ptr + slice_index * height * width
    value = _mixed(
        source,
        within,
        mask,
        height,
        width,
        out_width,
        row_step,
        row_origin,
        row_reach,
        column_step,
        column_origin,
        column_reach,
        ROW_TAPS,
        COLUMN_TAPS,
    )
    start = slice_index // channels * out_stride + slice_index % channels * elements
    tl.store(out_ptr + start + within, (value * gain - 1.0).to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def unwindow_counts_kernel(
    x_ptr,  # float32, bfloat16 or float16 [B, C, height, width]
    counts_ptr,  # uint16 or int16 [B, C, out_height, out_width]
    saturated_ptr,  # int64 [B, C, 3], zeros
    gain,
    largest,
    height,
    width,
    out_height,
    out_width,
    row_step,
    row_origin,
    row_reach,
    column_step,
    column_origin,
    column_reach,
    ROW_TAPS: tl.constexpr,
    COLUMN_TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    elements = out_height * out_width
    blocks = tl.cdiv(elements, BLOCK)
    slice_index = (tl.program_id(0) // blocks).to(tl.int64)
    within = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = within < elements
    source = x_ptr + slice_index * height * width
    value = _mixed(
        source,
        within,
        mask,
        height,
        width,
        out_width,
        row_step,
        row_origin,
        row_reach,
        column_step,
        column_origin,
        column_reach,
        ROW_TAPS,
        COLUMN_TAPS,
    )
    asked = (value + 1.0) * gain
    nan = asked != asked
    kept = tl.where(asked > -1.0, tl.where(asked < largest + 1.0, asked, largest + 1.0), -1.0)
    # Adding 1.5 * 2^23 leaves no room for a fraction, and rounds it half to even.
    rounded = (kept + 12582912.0) - 12582912.0
    below = (rounded < 0) & (asked < 0)
    above = rounded > largest
    stored = tl.where(below | nan, 0.0, tl.where(above, largest, rounded))
    tl.store(counts_ptr + slice_index * elements + within, stored.to(tl.int32).to(counts_ptr.dtype.element_ty), mask)
    # Whole numbers: the order in which programs arrive does not show.
    tally = saturated_ptr + slice_index * 3
    tl.atomic_add(tally, tl.sum((below & mask).to(tl.int64)))
    tl.atomic_add(tally + 1, tl.sum((above & mask).to(tl.int64)))
    tl.atomic_add(tally + 2, tl.sum((nan & mask).to(tl.int64)))


def _plan(source: torch.Tensor, target: torch.Tensor, axes: tuple[int, ...]) -> tuple[int, int, int]:
    """Most source pixels of an output along rows and columns, 0 where nothing is, and outputs of a program."""
    same = source.shape[2:] == target.shape[2:]
    if same and all(step == 1 << 32 and origin == 0 for step, origin in (axes[:2], axes[3:5])):
        return 0, 0, BLOCK
    return *(-(-2 * reach // (1 << 32)) for reach in (axes[2], axes[5])), RESAMPLED_BLOCK


def window_counts(counts: torch.Tensor, gain: float, *rest: int | torch.Tensor) -> None:
    """Launch on the current stream of counts' device; arguments as the operator's schema has them, already checked."""
    *axes, out = rest
    if out.numel() == 0:
        return
    batch, channels, height, width = out.shape
    rows, columns, block = _plan(counts, out, tuple(axes))
    grid = (batch * channels * triton.cdiv(height * width, block),)
    sizes = channels, *counts.shape[2:], height, width, out.stride(0)
    options = {"ROW_TAPS": rows, "COLUMN_TAPS": columns, "BLOCK": block}
    with torch.cuda.device_of(counts):
        # Fused, the window would be one rounding here and two elsewhere.
        window_counts_kernel[grid](counts, out, gain, *sizes, *axes, **options, enable_fp_fusion=False)


def unwindow_counts(x: torch.Tensor, gain: float, *rest: int | torch.Tensor) -> None:
    """Launch on the current stream of x's device; arguments as the operator's schema has them, already checked."""
    *axes, counts, saturated = rest
    saturated.zero_()
    if counts.numel() == 0:
        return
    batch, channels, height, width = counts.shape
    rows, columns, block = _plan(x, counts, tuple(axes))
    grid = (batch * channels * triton.cdiv(height * width, block),)
    largest = float(torch.iinfo(counts.dtype).max)
    sizes = *x.shape[2:], height, width
    options = {"ROW_TAPS": rows, "COLUMN_TAPS": columns, "BLOCK": block}
    with torch.cuda.device_of(x):
        unwindow_counts_kernel[grid](x, counts, saturated, gain, largest, *sizes, *axes, **options)
