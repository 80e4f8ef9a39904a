"""slice_metrics in Triton: one kernel mixes pixels down the columns, one mixes the moments along the rows.

Between the two, the moments lie in memory with rows and columns exchanged, so that either kernel's taps are whole rows
apart and every access is wide. The formulas stand in spectac_fast/ops/slice_metrics.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

ROWS = 16
"""Windows a program handles along the axis that it mixes."""

COLUMNS = 64
"""Windows a program handles along the other axis; a multiple of the four that a thread holds."""

WEIGHTS = {
    7: (1 / 7, 1 / 7, 1 / 7, 1 / 7, 0.0, 0.0),
    11: (0.266011724862, 0.213005537711, 0.10936068951, 0.0360007721284, 0.00759875813524, 0.00102838008448),
}
"""Weights of the taps from the middle outwards: uniform over 7, a Gaussian of sigma 1.5 over 11."""

WARPS = 8
"""Of a program: so each of their threads holds four windows, as many as one access moves."""

ALIGNMENT = 16
"""Elements: moments are stored with their rows padded to whole 64 bytes."""


@triton.jit
def weight(TAP: tl.constexpr, TAPS: tl.constexpr, k0, k1, k2, k3, k4, k5):
    """Weight of one tap; k0 is the middle one's."""
    DISTANCE: tl.constexpr = TAP - TAPS // 2 if TAP > TAPS // 2 else TAPS // 2 - TAP
    if DISTANCE == 0:
        k = k0
    elif DISTANCE == 1:
        k = k1
    elif DISTANCE == 2:
        k = k2
    elif DISTANCE == 3:
        k = k3
    elif DISTANCE == 4:
        k = k4
    else:
        k = k5
    return k


@triton.jit
def place_of(rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """(plane, row indices [ROWS, 1], column indices [1, COLUMNS]) of this program."""
    across = tl.cdiv(columns, COLUMNS)
    down = tl.cdiv(rows, ROWS)
    place = tl.program_id(0)
    plane = (place // (across * down)).to(tl.int64)
    place = place % (across * down)
    row = (place // across) * ROWS + tl.arange(0, ROWS)
    column = (place % across) * COLUMNS + tl.arange(0, COLUMNS)
    return plane, row[:, None], column[None, :]


@triton.jit
def mix_columns_kernel(
    x_ptr,  # [planes, height, width] of any pixel type
    y_ptr,
    moments_ptr,  # float32 [planes, 4, width, stride]: mx, my, d, c, each with its columns as rows
    squares_ptr,  # float64 [programs]
    height,
    width,
    stride,
    k0,
    k1,
    k2,
    k3,
    k4,
    k5,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    plane, row, column = place_of(height, width, ROWS, COLUMNS)
    inside = column < width
    at = (plane * height + row) * width + column

    middle = inside & (row + TAPS // 2 < height)
    m_x = tl.load(x_ptr + at + TAPS // 2 * width, mask=middle, other=0).to(tl.float32)
    m_y = tl.load(y_ptr + at + TAPS // 2 * width, mask=middle, other=0).to(tl.float32)
    sx = tl.zeros([ROWS, COLUMNS], tl.float32)
    sy = sx
    qd = sx
    qc = sx
    for tap in tl.static_range(TAPS):
        mask = inside & (row + tap < height)
        x = tl.load(x_ptr + at + tap * width, mask=mask, other=0).to(tl.float32)
        y = tl.load(y_ptr + at + tap * width, mask=mask, other=0).to(tl.float32)
        if tap == 0:
            error = x.to(tl.float64) - y.to(tl.float64)
            tl.store(squares_ptr + tl.program_id(0), tl.sum(error * error))
        k = weight(tap, TAPS, k0, k1, k2, k3, k4, k5)
        dx = x - m_x
        dy = y - m_y
        sx = tl.fma(k, dx, sx)
        sy = tl.fma(k, dy, sy)
        qd = tl.fma(k * (dx - dy), dx - dy, qd)
        qc = tl.fma(k * dx, dy, qc)

    sd = sx - sy
    # Rows of windows that the plane does not have fill the padding of the stride and are ignored by the next kernel.
    kept = inside & (row < stride)
    kind = width.to(tl.int64) * stride
    to = moments_ptr + (plane * 4 * width + column) * stride + row
    tl.store(to, m_x + sx, mask=kept)
    tl.store(to + kind, m_y + sy, mask=kept)
    tl.store(to + 2 * kind, qd - sd * sd, mask=kept)
    tl.store(to + 3 * kind, qc - sx * sy, mask=kept)


@triton.jit
def mix_rows(
    at, kind, stride, stored, k0, k1, k2, k3, k4, k5, TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """(mx, my, d, c) of windows whose first parts lie at `at`; `kind` elements on lies the next kind of moment."""
    middle = at + TAPS // 2 * stride
    m_x = tl.load(middle, mask=stored, other=0.0)
    m_y = tl.load(middle + kind, mask=stored, other=0.0)
    sx = tl.zeros([ROWS, COLUMNS], tl.float32)
    sy = sx
    qd = sx
    qc = sx
    for tap in tl.static_range(TAPS):
        part = at + tap * stride
        k = weight(tap, TAPS, k0, k1, k2, k3, k4, k5)
        dx = tl.load(part, mask=stored, other=0.0) - m_x
        dy = tl.load(part + kind, mask=stored, other=0.0) - m_y
        d = tl.load(part + 2 * kind, mask=stored, other=0.0)
        c = tl.load(part + 3 * kind, mask=stored, other=0.0)
        sx = tl.fma(k, dx, sx)
        sy = tl.fma(k, dy, sy)
        qd = tl.fma(k, tl.fma(dx - dy, dx - dy, d), qd)
        qc = tl.fma(k, tl.fma(dx, dy, c), qc)

    sd = sx - sy
    return m_x + sx, m_y + sy, qd - sd * sd, qc - sx * sy


@triton.jit(do_not_specialize=["windows_down", "windows_across"])
def mix_rows_kernel(
    moments_ptr,  # as above; what was a column is a row here
    map_ptr,  # float32 [planes, windows_down, windows_across] or None
    ssim_ptr,  # float64 [programs]
    windows_down,
    windows_across,
    width,
    stride,
    mean_scale,
    variance_scale,
    k0,
    k1,
    k2,
    k3,
    k4,
    k5,
    TAPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    plane, across, down = place_of(windows_across, stride, ROWS, COLUMNS)
    stored = (down < stride) & (across < windows_across)
    kind = width.to(tl.int64) * stride
    at = moments_ptr + (plane * 4 * width + across) * stride + down

    mx, my, d, c = mix_rows(at, kind, stride, stored, k0, k1, k2, k3, k4, k5, TAPS, ROWS, COLUMNS)
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
    planes, down, across = samples * channels, height - taps + 1, width - taps + 1
    stride = triton.cdiv(down, ALIGNMENT) * ALIGNMENT
    if planes == 0:
        return x.new_empty(0, 3, dtype=torch.float64)
    moments = x.new_empty(planes, 4, width, stride, dtype=torch.float32)
    first = triton.cdiv(height, ROWS) * triton.cdiv(width, COLUMNS)
    second = triton.cdiv(across, ROWS) * triton.cdiv(stride, COLUMNS)
    squares = x.new_empty(samples, channels * first, dtype=torch.float64)
    ssim = x.new_empty(samples, channels * second, dtype=torch.float64)
    norm = taps**2 / (taps**2 - 1) if sample_covariance else 1.0
    sizes = {"TAPS": taps, "ROWS": ROWS, "COLUMNS": COLUMNS, "num_warps": WARPS}
    with torch.cuda.device_of(x):
        mix_columns_kernel[(planes * first,)](x, y, moments, squares, height, width, stride, *WEIGHTS[taps], **sizes)
        scales = 1 / data_range, norm / data_range**2
        mix_rows_kernel[(planes * second,)](
            moments, ssim_map, ssim, down, across, width, stride, *scales, *WEIGHTS[taps], **sizes
        )
    mean_square = squares.sum(dim=1) / (channels * height * width)
    psnr = 10 * torch.log10(data_range**2 / mean_square)
    return torch.stack([ssim.sum(dim=1) / (channels * down * across), psnr, mean_square.sqrt()], dim=1)
