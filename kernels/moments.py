"""Moments of two images over windows, for slice_metrics and ssim_loss in Triton: down the columns, then along the rows.

Between the two, the moments lie in memory with rows and columns exchanged, so that either one's taps are whole rows
apart and every access is wide. The formulas stand in spectac_fast/ops/slice_metrics.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

TILE = 16, 64
"""Windows a program handles along the axis that it mixes and along the other, a multiple of a thread's four."""

WEIGHTS = {
    7: (1 / 7,) * 4,
    11: (0.266011724862, 0.213005537711, 0.10936068951, 0.0360007721284, 0.00759875813524, 0.00102838008448),
}
"""Weights of the taps from the middle outwards: uniform over 7, a Gaussian of sigma 1.5 over 11."""

WARPS = 8
"""Of a program: so each of their threads holds four windows, as many as one access moves."""

ALIGNMENT = 16
"""Elements: moments are stored with their rows padded to whole 64 bytes."""


@triton.jit
def weight(TAP: tl.constexpr, TAPS: tl.constexpr, weights):
    """Weight of one tap; the first of `weights` is the middle one's."""
    DISTANCE: tl.constexpr = TAP - TAPS // 2 if TAP > TAPS // 2 else TAPS // 2 - TAP
    return weights[DISTANCE]


@triton.jit
def place_of(rows, columns, TILE: tl.constexpr):
    """(plane, row indices [TILE[0], 1], column indices [1, TILE[1]]) of this program."""
    across = tl.cdiv(columns, TILE[1])
    down = tl.cdiv(rows, TILE[0])
    place = tl.program_id(0)
    plane = (place // (across * down)).to(tl.int64)
    place = place % (across * down)
    row = (place // across) * TILE[0] + tl.arange(0, TILE[0])
    column = (place % across) * TILE[1] + tl.arange(0, TILE[1])
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
    weights,
    TAPS: tl.constexpr,
    TILE: tl.constexpr,
):
    plane, row, column = place_of(height, width, TILE)
    inside = column < width
    at = (plane * height + row) * width + column

    middle = inside & (row + TAPS // 2 < height)
    m_x = tl.load(x_ptr + at + TAPS // 2 * width, mask=middle, other=0).to(tl.float32)
    m_y = tl.load(y_ptr + at + TAPS // 2 * width, mask=middle, other=0).to(tl.float32)
    sx = tl.zeros(TILE, tl.float32)
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
        k = weight(tap, TAPS, weights)
        dx = x - m_x
        dy = y - m_y
        sx = tl.fma(k, dx, sx)
        sy = tl.fma(k, dy, sy)
        qd = tl.fma(k * (dx - dy), dx - dy, qd)
        qc = tl.fma(k * dx, dy, qc)

    sd = sx - sy
    # Rows of windows that the plane does not have fill the padding of the stride and are ignored by `mix_rows`.
    kept = inside & (row < stride)
    kind = tl.cast(width, tl.int64) * stride
    to = moments_ptr + (plane * 4 * width + column) * stride + row
    tl.store(to, m_x + sx, mask=kept)
    tl.store(to + kind, m_y + sy, mask=kept)
    tl.store(to + 2 * kind, qd - sd * sd, mask=kept)
    tl.store(to + 3 * kind, qc - sx * sy, mask=kept)


@triton.jit
def mix_rows(moments_ptr, windows_across, width, stride, weights, TAPS: tl.constexpr, TILE: tl.constexpr):
    """(plane, across, down, stored, mx, my, d, c) of this program's windows; what was a column is a row here.

    stored: which of the windows lie in the padded rows, those the plane has among them.
    """
    plane, across, down = place_of(windows_across, stride, TILE)
    stored = (down < stride) & (across < windows_across)
    kind = tl.cast(width, tl.int64) * stride
    at = moments_ptr + (plane * 4 * width + across) * stride + down

    middle = at + TAPS // 2 * stride
    m_x = tl.load(middle, mask=stored, other=0.0)
    m_y = tl.load(middle + kind, mask=stored, other=0.0)
    sx = tl.zeros(TILE, tl.float32)
    sy = sx
    qd = sx
    qc = sx
    for tap in tl.static_range(TAPS):
        part = at + tap * stride
        k = weight(tap, TAPS, weights)
        dx = tl.load(part, mask=stored, other=0.0) - m_x
        dy = tl.load(part + kind, mask=stored, other=0.0) - m_y
        d = tl.load(part + 2 * kind, mask=stored, other=0.0)
        c = tl.load(part + 3 * kind, mask=stored, other=0.0)
        sx = tl.fma(k, dx, sx)
        sy = tl.fma(k, dy, sy)
        qd = tl.fma(k, tl.fma(dx - dy, dx - dy, d), qd)
        qc = tl.fma(k, tl.fma(dx, dy, c), qc)

    sd = sx - sy
    return plane, across, down, stored, m_x + sx, m_y + sy, qd - sd * sd, qc - sx * sy


def padded(count: int) -> int:
    """Elements of a stored row of `count`."""
    return triton.cdiv(count, ALIGNMENT) * ALIGNMENT


def programs(rows: int, columns: int) -> int:
    """How many programs a plane takes, see `place_of`."""
    return triton.cdiv(rows, TILE[0]) * triton.cdiv(columns, TILE[1])


def mix_columns(x: torch.Tensor, y: torch.Tensor, taps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(moments, sums of squared errors [samples, programs]) of x and y [samples, channels, height, width].

    Launches on the current stream of the current device, which must be x's.
    """
    samples, channels, height, width = x.shape
    stride = padded(height - taps + 1)
    moments = x.new_empty(samples * channels, 4, width, stride, dtype=torch.float32)
    squares = x.new_empty(samples, channels * programs(height, width), dtype=torch.float64)
    constants = {"TAPS": taps, "TILE": TILE, "num_warps": WARPS}
    mix_columns_kernel[(squares.numel(),)](x, y, moments, squares, height, width, stride, WEIGHTS[taps], **constants)
    return moments, squares
