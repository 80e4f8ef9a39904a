"""group_norm_silu in Triton: one program per group, which reads it twice: for the moments, then to write the result.

Tiles are [channels, positions]; strides make the same kernel serve both layouts. The formulas and the meaning of every
argument stand in spectac_fast/ops/group_norm_silu.py.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

TILE = 4096
"""Elements of a tile: 32 for each of the 128 threads that run a program."""


@triton.jit
def _values(ptr, row, channel, mask, absent):
    if ptr is None:
        return tl.full(channel.shape, absent, tl.float32)
    else:
        return tl.load(ptr + row + channel, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _activate(v, ACTIVATION: tl.constexpr):
    # Comparisons instead of min and max: NaN passes through.
    if ACTIVATION == "silu":
        return v / (1.0 + tl.exp(-v))
    elif ACTIVATION == "relu":
        return tl.where(v < 0.0, 0.0, v)
    elif ACTIVATION == "leaky_relu":
        return tl.where(v < 0.0, 0.2 * v, v)
    else:
        return v


@triton.jit
def group_norm_silu_kernel(
    x_ptr,
    weight_ptr,  # [C] or None, and so bias
    bias_ptr,
    scale_ptr,  # [B, C] or None, and so shift
    shift_ptr,
    out_ptr,
    groups,
    width,  # channels of a group
    spatial,
    sample_stride,
    channel_stride,
    position_stride,
    scale_stride,
    shift_stride,
    eps,
    ACTIVATION: tl.constexpr,
    CHANNELS: tl.constexpr,
    POSITIONS: tl.constexpr,
):
    sample = (tl.program_id(0) // groups).to(tl.int64)
    first = (tl.program_id(0) % groups) * width
    start = sample * sample_stride + first.to(tl.int64) * channel_stride
    within_c = tl.arange(0, CHANNELS)[:, None]
    within_s = tl.arange(0, POSITIONS)[None, :]

    # The mean is kept as `centre`, its first value, and the small `rest` beyond it; tiles join as in Chan, Golub and
    # LeVeque (1983), each from deviations about its own mean.
    count = 0.0
    centre = 0.0
    rest = 0.0
    m2 = 0.0
    for c0 in range(0, width, CHANNELS):
        for s0 in range(0, spatial, POSITIONS):
            mask = (c0 + within_c < width) & (s0 + within_s < spatial)
            at = (c0 + within_c).to(tl.int64) * channel_stride + (s0 + within_s).to(tl.int64) * position_stride
            x = tl.load(x_ptr + start + at, mask=mask, other=0.0).to(tl.float32)
            n = (tl.minimum(width - c0, CHANNELS) * tl.minimum(spatial - s0, POSITIONS)).to(tl.float32)
            about = tl.sum(x) / n
            d = tl.where(mask, x - about, 0.0)
            left = tl.sum(d)
            offset = left / n
            tile_m2 = tl.sum(d * d) - left * offset
            centre = tl.where(count == 0.0, about, centre)
            apart = (about - centre) + offset - rest
            share = n / (count + n)
            m2 += tile_m2 + apart * apart * count * share
            rest += apart * share
            count += n
    rstd = 1.0 / tl.sqrt(m2 / count + eps)

    for c0 in range(0, width, CHANNELS):
        channel = first + c0 + within_c
        inside = c0 + within_c < width
        gain = 1.0 + _values(scale_ptr, sample * scale_stride, channel, inside, 0.0)
        slope = rstd * _values(weight_ptr, 0, channel, inside, 1.0) * gain
        level = tl.fma(
            _values(bias_ptr, 0, channel, inside, 0.0),
            gain,
            _values(shift_ptr, sample * shift_stride, channel, inside, 0.0),
        )
        level = tl.fma(-rest, slope, level)
        for s0 in range(0, spatial, POSITIONS):
            mask = inside & (s0 + within_s < spatial)
            at = (c0 + within_c).to(tl.int64) * channel_stride + (s0 + within_s).to(tl.int64) * position_stride
            x = tl.load(x_ptr + start + at, mask=mask, other=0.0).to(tl.float32)
            y = _activate(tl.fma(x - centre, slope, level), ACTIVATION)
            tl.store(out_ptr + start + at, y.to(out_ptr.dtype.element_ty), mask=mask)


def group_norm_silu(
    x: torch.Tensor,
    groups: int,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    eps: float,
    activation: str,
    out: torch.Tensor,
) -> None:
    """Launch on the current stream of x's device; arguments as the operator's schema has them, already checked."""
    if x.numel() == 0:
        return
    batch, channels = x.shape[:2]
    width, spatial = channels // groups, x[0, 0].numel()
    last = not x.is_contiguous()
    strides = (channels * spatial, 1, channels) if last else (channels * spatial, spatial, 1)
    # Whichever index runs along memory gets as much of the tile as it can use.
    side = triton.next_power_of_2(width if last else spatial)
    side = min(side, TILE)
    other = min(triton.next_power_of_2(spatial if last else width), TILE // side)
    tile_channels, positions = (side, other) if last else (other, side)
    rows = [0 if t is None else t.stride(0) for t in (scale, shift)]
    with torch.cuda.device_of(x):
        group_norm_silu_kernel[(batch * groups,)](
            *(x, weight, bias, scale, shift, out),
            *(groups, width, spatial, *strides, *rows, eps),
            ACTIVATION=activation,
            CHANNELS=tile_channels,
            POSITIONS=positions,
        )
