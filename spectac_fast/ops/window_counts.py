"""Counts as they are stored to the values a network sees, at its pixel size, and back.

    window:    x = m(counts) (2 / scale) - 1                           [0, scale] -> [-1, 1]; hotter pixels stay above 1
    unwindow:  counts = round((m(x) + 1) (scale / 2)), half to even, then held within what the integer type can store

m resamples each axis by millimetres: both grids share the centre of the field, and an output is the mean of its source
pixels under a triangle whose half width is the larger of the two pixel sizes (linear interpolation when pixels shrink,
an antialiased average when they grow). Beyond the outermost pixel centres the field continues as it ends, and a uniform
field keeps its value. Where the pixel sizes are equal m changes nothing, and the window is two float32 operations, each
rounded: the bytes of `spectac_fast.data.scale`.

Positions are integers in units of 2^-32 source pixels, so that every back end finds the same weights: output i lies at
p = step i + origin, held within the source, and source j weighs max(0, reach - |p - j 2^32|) of the sum over all j.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import NETWORK_DTYPES, check_blocks, check_tensor, check_writing

STORED_DTYPES = (torch.uint16, torch.int16)
MOST_GROWTH = 4.0
"""A pixel may grow so many times in one pass: eight source pixels per axis and output."""

SATURATED = ("below", "above", "nan")
"""Columns of what `unwindow_counts` tallies."""

_ONE = 1 << 32
# A thousandth of a pixel of rounding must not add a row.
_SPARE = 1e-3

_AXES = "int row_step, int row_origin, int row_reach, int column_step, int column_origin, int column_reach"
_WINDOW = f"window_counts(Tensor counts, float gain, {_AXES}, Tensor(a!) out) -> ()"
_UNWINDOW = f"unwindow_counts(Tensor x, float gain, {_AXES}, Tensor(a!) counts, Tensor(b!) saturated) -> ()"


def _mix(values: Tensor, dim: int, count: int, step: int, origin: int, reach: int) -> Tensor:
    """Resample one axis of a float64 tensor to `count` outputs."""
    n = values.shape[dim]
    output = torch.arange(count, device=values.device)
    position = (output * step + origin).clamp(0, (n - 1) * _ONE)[:, None]
    width = -(-2 * reach // _ONE)
    source = ((position - reach) >> 32) + 1 + torch.arange(width, device=values.device)
    share = (reach - (position - (source << 32)).abs()).clamp(min=0)
    share = torch.where((source >= 0) & (source < n), share, 0).double()
    weight = share / share.sum(1, keepdim=True)
    taken = values.index_select(dim, source.clamp(0, n - 1).flatten()).unflatten(dim, (count, width))
    weight = weight.reshape(count, width, *[1] * (values.dim() - 1 - dim))
    # A pixel without weight is not part of the mean, not even its NaN.
    return torch.where(weight > 0, weight * taken, 0.0).sum(dim + 1)


def _resample(values: Tensor, height: int, width: int, axes: tuple[int, ...]) -> Tensor:
    rows = values.dim() - 2
    return _mix(_mix(values.double(), rows, height, *axes[:3]), rows + 1, width, *axes[3:]).float()


def _window_reference(counts: Tensor, gain: float, *rest: Any) -> None:
    *axes, out = rest
    height, width = out.shape[-2:]
    out.copy_(_resample(counts, height, width, tuple(axes)) * gain - 1.0)


def _unwindow_reference(x: Tensor, gain: float, *rest: Any) -> None:
    *axes, counts, saturated = rest
    largest = torch.iinfo(counts.dtype).max
    height, width = counts.shape[-2:]
    rounded = ((_resample(x, height, width, tuple(axes)) + 1.0) * gain).round()
    tallies = [flag.sum((-2, -1)) for flag in (rounded < 0, rounded > largest, rounded.isnan())]
    saturated.copy_(torch.stack(tallies, -1))
    counts.copy_(rounded.nan_to_num(0.0).clamp(0, largest).to(torch.int32))


def _draw(device: torch.device, *shape: int) -> Tensor:
    return torch.rand(shape, device=device)


def _window_samples(device: torch.device) -> Iterator[dict[str, Any]]:
    """Calls that between them use every argument: equal, growing and shrinking pixels, a slice of a larger input."""
    counts = (_draw(device, 2, 8, 16) * 900).to(torch.int32)
    yield {"counts": counts.to(torch.uint16), "scale": 700.0}
    yield {"counts": counts.to(torch.int16), "scale": 700.0, "pixel_mm": (4.0, 9.0), "model_mm": 6.8}
    doubled = torch.zeros(2, 2, 5, 12, dtype=torch.bfloat16, device=device)
    more = {"pixel_mm": 6.4, "model_mm": (10.24, 9.3), "out": doubled[:, :1]}
    yield {"counts": counts[:, None].float(), "scale": 1.5, "dtype": torch.bfloat16} | more


def _unwindow_samples(device: torch.device) -> Iterator[dict[str, Any]]:
    x = _draw(device, 2, 1, 7, 9) * 4 - 2
    yield {"x": x, "scale": 60000.0}
    yield {"x": x.half(), "scale": 40000.0, "dtype": torch.int16, "size": (9, 6), "pixel_mm": (5.0, 9.0)} | {
        "model_mm": 6.8
    }


window_op = Op(
    _WINDOW,
    reference=_window_reference,
    triton="spectac_fast.kernels.window_counts:window_counts",
    samples=_window_samples,
)
unwindow_op = Op(
    _UNWINDOW,
    reference=_unwindow_reference,
    triton="spectac_fast.kernels.window_counts:unwindow_counts",
    samples=_unwindow_samples,
)

Millimetres = float | tuple[float, float]


def window_counts(
    counts: Tensor,
    *,
    scale: float,
    pixel_mm: Millimetres = 1.0,
    model_mm: Millimetres = 1.0,
    dtype: torch.dtype = torch.float32,
    out: Tensor | None = None,
    backend: str | None = None,
) -> Tensor:
    """Counts -> what a network sees: [0, scale] becomes [-1, 1] at the network's pixel size.

    counts:    uint16, int16 or float32, [S, H, W] or [B, C, H, W], any values.
    scale:     counts that become +1; positive and finite.
    pixel_mm:  pixel size of the counts, mm; one number or (row, column).
    model_mm:  pixel size of the result, likewise; at most 4 times as large. Equal sizes: nothing is resampled.
    dtype:     float32, bfloat16 or float16, of the result.
    out:       where to write it; may be a channel slice of a larger contiguous tensor.
    backend:   "reference", "native" or "triton"; None lets the dispatcher choose.

    Returns [..., h, w] with h = ceil(H pixel_mm / model_mm), w likewise: the whole field is covered. NaN in a pixel
    that has weight makes the result NaN. There is no gradient. Raises TypeError for a wrong dtype, ValueError for a
    wrong shape, device, layout, scale or pixel size, RuntimeError where a gradient would be needed or the back end
    cannot run.
    """
    op = "window_counts"
    if backend is None and counts.dim() in (3, 4) and window_op.may_try(counts, out) and 0 < scale < math.inf:
        shape = counts.shape
        size, axes = _kept_windowed(shape[-2:], pixel_mm, model_mm)
        written = counts.new_empty((*shape[:-2], *size), dtype=dtype) if out is None else out
        if written.dtype == dtype and written.shape[-2:] == size and written.dim() == len(shape):
            try:
                window_op.default(counts, 2.0 / scale, *axes, written)
                return written
            except (RuntimeError, TypeError):
                pass  # Either something is wrong, which is said below, or the counts only lie otherwise.
    _check_source(op, "counts", counts, (*STORED_DTYPES, torch.float32))
    check_writing(op, {"counts": counts}, {"out": out})
    _check_scale(op, scale)
    size, axes = _windowed(counts.shape[-2:], pixel_mm, model_mm)
    if dtype not in NETWORK_DTYPES:
        raise TypeError(f"{op}: dtype must be float32, bfloat16 or float16, found {str(dtype).removeprefix('torch.')}.")
    out = _output(op, "out", out, counts, "counts", (*counts.shape[:-2], *size), dtype)
    window_op(_four(counts).contiguous(), 2.0 / scale, *axes, _four(out), backend=backend)
    return out


def _windowed(
    source: tuple[int, int], pixel_mm: Millimetres, model_mm: Millimetres
) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Size of the result, and its axes, for counts of this size."""
    op = "window_counts"
    pixels, models = _check_millimetres(op, pixel_mm, model_mm)
    fitting = [math.ceil(n * mm / to - _SPARE) for n, mm, to in zip(source, pixels, models)]
    rows, columns = (max(1, n) if n_in else 0 for n, n_in in zip(fitting, source))
    size = rows, columns
    return size, tuple(_axes(op, source, size, pixels, models))


_kept_windowed = lru_cache(maxsize=64)(_windowed)


def unwindow_counts(
    x: Tensor,
    *,
    scale: float,
    size: tuple[int, int] | None = None,
    pixel_mm: Millimetres = 1.0,
    model_mm: Millimetres = 1.0,
    dtype: torch.dtype = torch.uint16,
    backend: str | None = None,
) -> tuple[Tensor, Tensor]:
    """What a network gave -> counts as they are stored, and how many of them could not be.

    x:         float32, bfloat16 or float16, [S, h, w] or [B, C, h, w]; [-1, 1] becomes [0, scale].
    scale:     counts of +1; positive and finite.
    size:      (rows, columns) of the result; None: those of x, which needs equal pixel sizes.
    pixel_mm:  pixel size of the result, mm; one number or (row, column). It may be at most 4 times that of x.
    model_mm:  pixel size of x, likewise.
    dtype:     uint16 or int16. Counts are not negative in either.
    backend:   "reference", "native" or "triton"; None lets the dispatcher choose.

    Returns (counts [..., rows, columns], saturated int64 [..., 3]). Counts are rounded half to even. saturated counts
    per slice, in the order of `SATURATED`, the pixels that rounded below 0 and became 0, those above what the dtype
    holds, which became its largest value, and those that were NaN and became 0. There is no gradient. Raises as
    `window_counts` does.
    """
    op = "unwindow_counts"
    ordinary = backend is None and x.dim() in (3, 4) and dtype in STORED_DTYPES
    if ordinary and unwindow_op.may_try(x) and 0 < scale < math.inf:
        shape, axes = _kept_unwindowed(x.shape[-2:], size, pixel_mm, model_mm)
        counts, saturated = _tallied(x, shape, dtype)
        try:
            unwindow_op.default(x, scale / 2.0, *axes, counts, saturated)
            return counts, saturated
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or x only lies otherwise.
    _check_source(op, "x", x, NETWORK_DTYPES)
    check_writing(op, {"x": x}, {})
    _check_scale(op, scale)
    if dtype not in STORED_DTYPES:
        raise TypeError(f"{op}: dtype must be uint16 or int16, found {str(dtype).removeprefix('torch.')}.")
    shape, axes = _unwindowed(x.shape[-2:], size, pixel_mm, model_mm)
    counts, saturated = _tallied(x, shape, dtype)
    tallies = saturated[:, None] if x.dim() == 3 else saturated
    unwindow_op(_four(x).contiguous(), scale / 2.0, *axes, _four(counts), tallies, backend=backend)
    return counts, saturated


def _unwindowed(
    source: tuple[int, int], size: tuple[int, int] | None, pixel_mm: Millimetres, model_mm: Millimetres
) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Size of the counts, and their axes, for images of this size."""
    op = "unwindow_counts"
    pixels, models = _check_millimetres(op, pixel_mm, model_mm)
    if size is None and pixels != models:
        raise ValueError(f"{op}: size must be given where pixel_mm and model_mm differ, found None.")
    wanted = tuple(source) if size is None else tuple(size)
    if len(wanted) != 2 or min(wanted) < 0 or (0 in source and 0 not in wanted):
        raise ValueError(f"{op}: size must be (rows, columns) that x can fill, found {wanted}.")
    return wanted, tuple(_axes(op, source, wanted, models, pixels))


_kept_unwindowed = lru_cache(maxsize=64)(_unwindowed)


def _tallied(x: Tensor, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    slices = x.shape[:-2]
    return x.new_empty(slices + size, dtype=dtype), x.new_empty((*slices, len(SATURATED)), dtype=torch.int64)


def _four(tensor: Tensor) -> Tensor:
    """[S, H, W] as [S, 1, H, W]."""
    return tensor.unsqueeze(1) if tensor.dim() == 3 else tensor


def _axes(
    op: str, size: tuple[int, ...], to: tuple[int, ...], mm: tuple[float, float], to_mm: tuple[float, float]
) -> Iterator[int]:
    """Step, origin and reach of both axes, in 2^-32 source pixels."""
    for n, m, source, target in zip(size, to, mm, to_mm):
        ratio = target / source
        if ratio > MOST_GROWTH:
            raise ValueError(f"{op}: pixels must not grow more than {MOST_GROWTH:g} times, found {ratio:g}.")
        yield from (round(ratio * _ONE), round(((n - 1) - (m - 1) * ratio) / 2 * _ONE), round(max(1.0, ratio) * _ONE))


def _check_source(op: str, name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...]) -> None:
    if tensor.dim() not in (3, 4):
        raise ValueError(f"{op}: {name} must be [S, H, W] or [B, C, H, W], found shape {list(tensor.shape)}.")
    check_tensor(op, name, tensor, tensor, tensor.shape, dtypes, name)


def _check_scale(op: str, scale: float) -> None:
    if not 0 < scale < math.inf:
        raise ValueError(f"{op}: scale must be positive and finite, found {scale}.")


def _check_millimetres(op: str, *given: Millimetres) -> list[tuple[float, float]]:
    pairs = []
    for name, value in zip(("pixel_mm", "model_mm"), given):
        pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
        if len(pair) != 2 or not all(0 < mm < math.inf for mm in pair):
            raise ValueError(f"{op}: {name} must be one or two positive, finite sizes in mm, found {value}.")
        pairs.append(pair)
    return pairs


def _output(
    op: str, name: str, out: Tensor | None, like: Tensor, of: str, shape: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    if out is None:
        return torch.empty(shape, dtype=dtype, device=like.device)
    check_tensor(op, name, out, like, shape, (dtype,), of)
    check_blocks(op, name, out)
    return out
