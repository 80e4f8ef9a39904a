"""ssim_loss in Triton: moments as for slice_metrics, then slopes, spread along the rows and gathered down the columns.

Each step leaves its result with rows and columns exchanged, so that the next one's taps are whole rows apart. The
formulas stand in spectac_fast/ops/ssim_loss.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from spectac_fast.kernels.moments import TILE, WARPS, WEIGHTS, mix_columns, mix_rows, padded, place_of, programs, weight

TAPS = 11


@triton.jit(do_not_specialize=["windows_down", "windows_across"])
def slopes_kernel(
    x_ptr,  # float32 [planes, height, width]
    y_ptr,
    moments_ptr,  # float32 [planes, 4, width, stride], of mix_columns_kernel
    slopes_ptr,  # float32 [planes, 4, windows_across, stride]: from_x, from_y, p, q, each with its columns as rows
    ssim_ptr,  # float64 [programs]
    windows_down,
    windows_across,
    width,
    stride,
    pixels,  # of a plane
    scales,  # of a mean and of a variance
    weights,
    TAPS: tl.constexpr,
    TILE: tl.constexpr,
):
    plane, across, down, stored, raw_x, raw_y, d, c = mix_rows(
        moments_ptr, windows_across, width, stride, weights, TAPS, TILE
    )
    mean_scale, variance_scale = scales

    origin_x = tl.load(x_ptr + plane * pixels)
    origin_y = tl.load(y_ptr + plane * pixels)
    mx = mean_scale * raw_x
    my = mean_scale * raw_y
    me = mean_scale * (raw_x - raw_y)
    luminance = 1e-4 + mx * (2.0 * my)
    structure = 9e-4 + 2.0 * variance_scale * c
    a = luminance + me * me
    b = structure + variance_scale * d
    p = variance_scale * (2.0 * luminance / (a * b))
    q = p * (variance_scale * d) / b
    slope = mean_scale * (2.0 * me * structure / (a * b))
    pull = p * ((raw_x - raw_y) - (origin_x - origin_y))
    from_x = slope * (mx * me / a - 1.0) + pull - q * (raw_x - origin_x)
    from_y = slope * (my * me / a + 1.0) - pull - q * (raw_y - origin_y)

    window = stored & (down < windows_down)
    ssim = tl.div_rn(luminance * structure, a * b)
    tl.store(ssim_ptr + tl.program_id(0), tl.sum(tl.where(window, ssim, 0.0).to(tl.float64)))
    to = slopes_ptr + (plane * 4 * windows_across + across) * stride + down
    step = windows_across.to(tl.int64) * stride
    tl.store(to, from_x, mask=stored)
    tl.store(to + step, from_y, mask=stored)
    tl.store(to + 2 * step, p, mask=stored)
    tl.store(to + 3 * step, q, mask=stored)


@triton.jit(do_not_specialize=["windows_down", "windows_across"])
def spread_kernel(
    slopes_ptr,  # float32 [maps, windows_across, stride]
    spread_ptr,  # float32 [maps, windows_down, wide]: for every column of pixels, the sum over its windows
    windows_down,
    windows_across,
    width,
    stride,
    wide,
    weights,
    TAPS: tl.constexpr,
    TILE: tl.constexpr,
):
    plane, column, down = place_of(width, stride, TILE)
    total = tl.zeros(TILE, tl.float32)
    for tap in tl.static_range(TAPS):
        across = column - tap
        mask = (across >= 0) & (across < windows_across) & (down < stride)
        part = tl.load(slopes_ptr + (plane * windows_across + across) * stride + down, mask=mask, other=0.0)
        total = tl.fma(weight(tap, TAPS, weights), part, total)
    kept = (column < width) & (down < windows_down)
    tl.store(spread_ptr + (plane * windows_down + down) * wide + column, total, mask=kept)


@triton.jit(do_not_specialize=["windows_down"])
def gather_kernel(
    x_ptr,  # float32 [planes, height, width], and so the gradients, which may be None
    y_ptr,
    spread_ptr,  # float32 [planes, 4, windows_down, wide]
    grad_x_ptr,
    grad_y_ptr,
    windows_down,
    height,
    width,
    wide,
    share,
    weights,
    TAPS: tl.constexpr,
    TILE: tl.constexpr,
):
    plane, row, column = place_of(height, width, TILE)
    step = windows_down.to(tl.int64) * wide
    from_x = tl.zeros(TILE, tl.float32)
    from_y = from_x
    p = from_x
    q = from_x
    for tap in tl.static_range(TAPS):
        down = row - tap
        mask = (down >= 0) & (down < windows_down) & (column < wide)
        part = spread_ptr + (plane * 4 * windows_down + down) * wide + column
        k = weight(tap, TAPS, weights)
        from_x = tl.fma(k, tl.load(part, mask=mask, other=0.0), from_x)
        from_y = tl.fma(k, tl.load(part + step, mask=mask, other=0.0), from_y)
        p = tl.fma(k, tl.load(part + 2 * step, mask=mask, other=0.0), p)
        q = tl.fma(k, tl.load(part + 3 * step, mask=mask, other=0.0), q)

    inside = (row < height) & (column < width)
    first = plane * height * width
    at = first + row * width + column
    x = tl.load(x_ptr + at, mask=inside, other=0.0)
    y = tl.load(y_ptr + at, mask=inside, other=0.0)
    origin_x = tl.load(x_ptr + first)
    origin_y = tl.load(y_ptr + first)
    pull = ((x - y) - (origin_x - origin_y)) * p
    if grad_x_ptr is not None:
        tl.store(grad_x_ptr + at, share * (from_x - pull + (x - origin_x) * q), mask=inside)
    if grad_y_ptr is not None:
        tl.store(grad_y_ptr + at, share * (from_y + pull + (y - origin_y) * q), mask=inside)


def ssim_loss(
    x: torch.Tensor, y: torch.Tensor, data_range: float, need_x: bool, need_y: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Launch on the current stream of x's device; arguments as the operator's schema has them, already checked."""
    if x.dtype == torch.float64:
        raise RuntimeError("ssim_loss: back end 'triton' does not compute in float64.")
    height, width = x.shape[2:]
    planes, down, across = x.shape[0] * x.shape[1], height - TAPS + 1, width - TAPS + 1
    grad_x, grad_y = (torch.empty_like(x) if needed else None for needed in (need_x, need_y))
    stride, wide = padded(down), padded(width)
    slopes = x.new_empty(planes, 4, across, stride)
    ssim = x.new_empty(planes * programs(across, stride), dtype=torch.float64)
    constants = {"TAPS": TAPS, "TILE": TILE, "num_warps": WARPS}
    weights, scales = WEIGHTS[TAPS], (1 / data_range, 1 / data_range**2)
    windows = planes * down * across
    if planes:
        with torch.cuda.device_of(x):
            moments, squares = mix_columns(x, y, TAPS)
            sizes = down, across, width, stride, height * width
            slopes_kernel[ssim.shape](x, y, moments, slopes, ssim, *sizes, scales, weights, **constants)
            if need_x or need_y:
                spread = x.new_empty(planes, 4, down, wide)
                grid = (planes * 4 * programs(width, stride),)
                spread_kernel[grid](slopes, spread, down, across, width, stride, wide, weights, **constants)
                images = x, y, spread, grad_x, grad_y
                gather_kernel[(squares.numel(),)](
                    *images, down, height, width, wide, -1 / windows, weights, **constants
                )
    loss = 1 - ssim.sum() / windows if windows else ssim.sum() / 0
    grad_x, grad_y = (x.new_empty(0) if gradient is None else gradient for gradient in (grad_x, grad_y))
    return loss.to(x.dtype), grad_x, grad_y
