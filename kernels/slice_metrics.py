"""slice_metrics in Triton: one kernel mixes pixels down the columns, one mixes the moments along the rows.

The formulas stand in spectac_fast/ops/slice_metrics.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from spectac_fast.kernels.moments import TILE, WARPS, WEIGHTS, mix_columns, mix_rows, programs


@triton.jit(do_not_specialize=["windows_down", "windows_across"])
def mix_rows_kernel(
    moments_ptr,  # float32 [planes, 4, width, stride], of mix_columns_kernel
    map_ptr,  # float32 [planes, windows_down, windows_across] or None
    ssim_ptr,  # float64 [programs]
    windows_down,
    windows_across,
    width,
    stride,
    scales,  # of a mean and of a variance
    weights,
    TAPS: tl.constexpr,
    TILE: tl.constexpr,
):
    plane, across, down, stored, mx, my, d, c = mix_rows(
        moments_ptr, windows_across, width, stride, weights, TAPS, TILE
    )
    mean_scale, variance_scale = scales
    dm = mean_scale * (mx - my)
    luminance = 1e-4 + (mean_scale * mx) * (2.0 * mean_scale * my)
    structure = 9e-4 + 2.0 * variance_scale * c
    other = (luminance + dm * dm) * (structure + variance_scale * d)
    # Rounded to nearest: the plain quotient of two equal numbers may miss one.
    ssim = tl.div_rn(luminance * structure, other)

    window = stored & (down < windows_down)
    tl.store(ssim_ptr + tl.program_id(0), tl.sum(tl.where(window, ssim, 0.0).to(tl.float64)))
    if map_ptr is not None:
        tl.store(map_ptr + (plane * windows_down + down) * windows_across + across, ssim, mask=window)


def slice_metrics(
    x: torch.Tensor,
    y: torch.Tensor,
    data_range: float,
    taps: int,
    sample_covariance: bool,
    ssim_map: torch.Tensor | None,
) -> torch.Tensor:
    """Launch on the current stream of x's device; arguments as the operator's schema has them, already checked."""
    if x.dtype == torch.float64:
        raise RuntimeError("slice_metrics: back end 'triton' does not compute in float64.")
    samples, channels, height, width = x.shape
    down, across = height - taps + 1, width - taps + 1
    if samples * channels == 0:
        return x.new_empty(0, 3, dtype=torch.float64)
    norm = taps**2 / (taps**2 - 1) if sample_covariance else 1.0
    scales = 1 / data_range, norm / data_range**2
    constants = {"TAPS": taps, "TILE": TILE, "num_warps": WARPS}
    with torch.cuda.device_of(x):
        moments, squares = mix_columns(x, y, taps)
        stride = moments.shape[-1]
        ssim = x.new_empty(samples, channels * programs(across, stride), dtype=torch.float64)
        mix_rows_kernel[(ssim.numel(),)](
            moments, ssim_map, ssim, down, across, width, stride, scales, WEIGHTS[taps], **constants
        )
    mean_square = squares.sum(dim=1) / (channels * height * width)
    psnr = 10 * torch.log10(data_range**2 / mean_square)
    return torch.stack([ssim.sum(dim=1) / (channels * down * across), psnr, mean_square.sqrt()], dim=1)
