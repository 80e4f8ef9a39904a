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
def _sources(output, axis, TAPS: tl.constexpr):
    """Position of each output along an axis, its first source pixel and the sum of its shares."""
    n, _, step, origin, reach = axis
    end = tl.cast(n - 1, tl.int64) << 32
    position = tl.minimum(tl.maximum(output.to(tl.int64) * step + origin, 0), end)
    first = ((position - reach) >> 32) + 1
    total = position * 0
    for k in range(TAPS):
        total += _share(position, reach, first + k, n)
    return position, first, total.to(tl.float32)


@triton.jit
def _mixed(ptr, within, mask, rows, columns, TAPS: tl.constexpr):
    """The resampled float32 values of a block of outputs; without taps the values as they are."""
    if TAPS[0] == 0:
        return tl.load(ptr + within, mask=mask, other=0).to(tl.float32)
    height, _, _, _, row_reach = rows
    width, out_width, _, _, column_reach = columns
    row, row_first, row_total = _sources(within // out_width, rows, TAPS[0])
    column, column_first, column_total = _sources(within % out_width, columns, TAPS[1])
    result = (within * 0).to(tl.float32)
    for j in range(TAPS[1]):
        column_share = _share(column, column_reach, column_first + j, width)
        mixed = (within * 0).to(tl.float32)
        for i in range(TAPS[0]):
            row_share = _share(row, row_reach, row_first + i, height)
            at = (row_first + i) * width + column_first + j
            value = tl.load(ptr + at, mask=mask & (row_share > 0) & (column_share > 0), other=0).to(tl.float32)
            mixed = tl.fma(tl.div_rn(row_share.to(tl.float32), row_total), value, mixed)
        more = tl.fma(tl.div_rn(column_share.to(tl.float32), column_total), mixed, result)
        result = tl.where(column_share > 0, more, result)
    return result


@triton.jit
def _block(ptr, rows, columns, TAPS: tl.constexpr, BLOCK: tl.constexpr):
    """(slice, outputs of a slice, those of this program, which of these there are, their values)."""
    elements = rows[1] * columns[1]
    blocks = tl.cdiv(elements, BLOCK)
    slice_index = (tl.program_id(0) // blocks).to(tl.int64)
    within = (tl.program_id(0) % blocks) * BLOCK + tl.arange(0, BLOCK)
    mask = within < elements
    value = _mixed(ptr + slice_index * rows[0] * columns[0], within, mask, rows, columns, TAPS)
    return slice_index, elements, within, mask, value


@triton.jit
def window_counts_kernel(
    counts_ptr,  # uint16, int16 or float32 [B, C, height, width]
    out_ptr,  # [B, C, out_height, out_width]
    gain,
    channels,
    out_stride,  # elements from one member of the batch to the next
    rows,  # source pixels along the axis, outputs, step, origin, reach
    columns,
    TAPS: tl.constexpr,  # most source pixels of an output along rows and columns
    BLOCK: tl.constexpr,
):
    slice_index, elements, within, mask, value = _block(counts_ptr, rows, columns, TAPS, BLOCK)
    start = slice_index // channels * out_stride + slice_index % channels * elements
    tl.store(out_ptr + start + within, (value * gain - 1.0).to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def unwindow_counts_kernel(
    x_ptr,  # float32, bfloat16 or float16 [B, C, height, width]
    counts_ptr,  # uint16 or int16 [B, C, out_height, out_width]
    saturated_ptr,  # int64 [B, C, 3], zeros
    gain,
    largest,
    rows,  # as above
    columns,
    TAPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    slice_index, elements, within, mask, value = _block(x_ptr, rows, columns, TAPS, BLOCK)
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


def _plan(source: torch.Tensor, target: torch.Tensor, steps: list[int]) -> tuple[tuple[int], tuple, dict[str, object]]:
    """(grid, what the kernels take as rows and columns, their constants)."""
    (height, width), (out_height, out_width) = source.shape[2:], target.shape[2:]
    axes = (height, out_height, *steps[:3]), (width, out_width, *steps[3:])
    if all(n == outputs and step == 1 << 32 and origin == 0 for n, outputs, step, origin, _ in axes):
        taps, block = (0, 0), BLOCK
    else:
        taps, block = tuple(-(-2 * reach // (1 << 32)) for *_, reach in axes), RESAMPLED_BLOCK
    slices = target.shape[0] * target.shape[1]
    return (slices * triton.cdiv(out_height * out_width, block),), axes, {"TAPS": taps, "BLOCK": block}


def window_counts(counts: torch.Tensor, gain: float, *rest: int | torch.Tensor) -> None:
    """Launch on the current stream of counts' device; arguments as the operator's schema has them, already checked."""
    *steps, out = rest
    if out.numel() == 0:
        return
    grid, axes, constants = _plan(counts, out, steps)
    with torch.cuda.device_of(counts):
        # Fused, the window would be one rounding here and two elsewhere.
        window_counts_kernel[grid](
            counts, out, gain, out.shape[1], out.stride(0), *axes, **constants, enable_fp_fusion=False
        )


def unwindow_counts(x: torch.Tensor, gain: float, *rest: int | torch.Tensor) -> None:
    """Launch on the current stream of x's device; arguments as the operator's schema has them, already checked."""
    *steps, counts, saturated = rest
    saturated.zero_()
    if counts.numel() == 0:
        return
    grid, axes, constants = _plan(x, counts, steps)
    largest = float(torch.iinfo(counts.dtype).max)
    with torch.cuda.device_of(x):
        unwindow_counts_kernel[grid](x, counts, saturated, gain, largest, *axes, **constants)
