"""Running a solver's table: network, fused step, network, fused step, ... and the last prediction is the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectac_fast.ops import SAMPLING, counter_normal, sampler_step
from spectac_fast.tracing import phase

from .solvers import StepTable

Denoiser = Callable[[Tensor, Tensor, Tensor], Tensor]
# The step counter of the noise a diffusion starts from: one that no row of a table has.
_START = 2**32 - 1


@torch.no_grad()
def sample_bridge(
    denoiser: Denoiser,
    y: Tensor,
    table: StepTable,
    *,
    seeds: Tensor | None = None,
    noise: Tensor | None = None,
    sample: int = 0,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Tensor:
    """Sample the bridge from its condition; returns float32 of y's shape.

    denoiser:  (x, t, y) -> the network's output in the table's objective; x float32 [B, C, H, W], t int64 [B].
    y:         float32 [B, C, H, W], the condition, which is also the first state.
    seeds:     int64 [B], one per slice; None means 0 ... B-1. Equal seeds give equal noise whatever the batch.
    noise:     float32 [rows that draw noise, *y.shape], used in order instead of seeds.
    sample:    number of the sample drawn for the same seeds; another number gives independent noise.
    callback:  called after each evaluation with {"i", "n", "t", "m", "x", "denoised"}: row, number of rows, timestep,
               its m, the state the network saw and its prediction of x0. The tensors are reused later: copy to keep.

    Nothing is read back from the device between steps. Raises ValueError for shapes that do not fit.
    """
    _check(y, table, seeds, noise)
    if seeds is None:
        # A length would be one number for ever where the batch of an exported program is left open.
        seeds = torch.arange(y.shape[0], device=y.device)
    return run_table(
        denoiser, y, table, context=y, seeds=seeds, noise=noise, blocks=[(None, sample)], callback=callback
    )


def run_table(
    denoiser: Denoiser,
    y: Tensor,
    table: StepTable,
    *,
    context: Tensor,
    seeds: Tensor,
    noise: Tensor | None = None,
    blocks: Sequence[tuple[slice | None, int]] = ((None, 0),),
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Tensor:
    """The loop of `sample_bridge`, for several samples in one batch; arguments as there, and nothing is checked.

    context: what the denoiser gets as its third argument. blocks: (rows of the batch, number of their sample), which
    between them hold every row; None stands for all rows.
    """
    drawn = {} if noise is None else dict(zip(table.noise_rows, noise.unbind()))
    rows, times = numbers_on(table, y.device)
    # In memory of their own, where a network may look at them as it likes.
    told = times.expand(len(table), y.shape[0]).contiguous().unbind()
    with phase("network"):
        denoiser = prepared(denoiser, context, table)
    y = y.contiguous()
    x, spare = y, torch.empty_like(y)
    history: list[Tensor] = []
    free = [torch.empty_like(y) for _ in range(3)]
    anchor: Tensor | None = None
    for i, (t, uses) in enumerate(zip(table.t, table.uses)):
        with phase("network"):
            prediction = denoiser(x, told[i], context)
        denoised = free.pop()
        # Samples differ in their noise alone: a row without any is one call for all of them.
        with phase("step"):
            for part, sample in blocks if uses.noise and not drawn else ((None, 0),):
                sampler_step(
                    _rows(x, part),
                    _rows(prediction, part),
                    _rows(y, part) if uses.condition else None,
                    rows[i],
                    h1=_rows(history[0], part) if uses.first_before else None,
                    h2=_rows(history[1], part) if uses.second_before else None,
                    seeds=_rows(seeds, part) if uses.noise and not drawn else None,
                    noise=drawn.get(i),
                    step=i,
                    sample=sample,
                    clip=table.clip,
                    anchor=_rows(anchor, part) if uses.corrector else None,
                    x_next=_rows(spare, part),
                    x0=_rows(denoised, part),
                )
        if callback is not None:
            callback({"i": i, "n": len(table), "t": t, "m": table.m[i], "x": x, "denoised": denoised})
        if i + 1 < len(table) and table.corrector[i + 1] and not uses.corrector:
            # The next row redoes its step from this state; a corrected row leaves its own in the anchor. A copy that
            # torch.compile does not take for none: it would leave out a clone and, as the anchor is written later, make
            # one of open sizes again, at which Inductor fails (torch 2.13).
            anchor = x * 1.0
        x, spare = spare, (torch.empty_like(y) if x is y else x)
        if i == 0 and table.boots:
            free.append(denoised)
        else:
            history.insert(0, denoised)
            free.extend(history[2:])
            del history[2:]
    return denoised


def prepared(denoiser: Denoiser, context: Tensor, table: StepTable) -> Denoiser:
    """The denoiser of one trajectory: `denoiser.prepare(context, timesteps)` where it has such a method, else itself.

    So a network can do once what neither the state nor the row changes (`spectac_fast.engine`).
    """
    prepare = getattr(denoiser, "prepare", None)
    return denoiser if prepare is None else prepare(context, table.t)


def _rows(tensor: Tensor, part: slice | None) -> Tensor:
    return tensor if part is None else tensor[part]


class Numbers(NamedTuple):
    """A table's numbers on a device. rows: N of float32 [14]. times: int64 [N, 1]."""

    rows: tuple[Tensor, ...]
    times: Tensor


def numbers_on(table: StepTable, device: torch.device) -> Numbers:
    """Made once for each of the last tables and devices, and as long as someone keeps them."""
    return _numbers(table, device) if torch.compiler.is_compiling() else _kept_numbers(table, device)


def _numbers(table: StepTable, device: torch.device) -> Numbers:
    rows = torch.tensor(table.numbers, dtype=torch.float32).to(device)
    return Numbers(rows.unbind(), torch.tensor(table.t)[:, None].to(device))


_kept_numbers = lru_cache(maxsize=32)(_numbers)


def sample_diffusion(
    denoiser: Callable[[Tensor, Tensor], Tensor],
    shape: Sequence[int],
    table: StepTable,
    *,
    seeds: Tensor,
    start: Tensor | None = None,
    noise: Tensor | None = None,
    sample: int = 0,
    callback: Callable[[dict[str, Any]], None] | None = None,
) -> Tensor:
    """Sample a variance-preserving process (`vp_table`) from pure noise; returns float32 [B, *shape].

    denoiser: (x, t) -> prediction; x float32 [B, C, H, W], t int64 [B]. shape: (C, H, W).
    seeds:    int64 [B], one per slice, on the device to work on.
    start:    float32 [B, *shape], the first state; None draws it from the seeds, the same for every table.
    noise, sample, callback: as for `sample_bridge`; "m" is the level.
    """
    if start is None:
        start = start_noise(seeds, shape, sample)
    return sample_bridge(
        lambda x, t, _: denoiser(x, t),
        start,
        table,
        seeds=seeds if noise is None else None,
        noise=noise,
        sample=sample,
        callback=callback,
    )


def start_noise(seeds: Tensor, shape: Sequence[int], sample: int = 0) -> Tensor:
    """The first state of `sample_diffusion`, float32 [B, *shape], for seeds int64 [B]; the same for every table."""
    return counter_normal(seeds, tuple(shape), step=_START, sample=sample, purpose=SAMPLING)


def check_condition(y: Tensor, seeds: Tensor | None) -> None:
    """Raise ValueError unless y is float32 [B, C, H, W] and seeds, if given, int64 [B]."""
    if y.dim() != 4 or y.dtype != torch.float32:
        raise ValueError(f"y must be float32 [B, C, H, W], found {y.dtype} {list(y.shape)}.")
    if seeds is not None and (seeds.shape != y.shape[:1] or seeds.dtype != torch.int64):
        raise ValueError(f"seeds must be int64 [{len(y)}], found {seeds.dtype} {list(seeds.shape)}.")


def _check(y: Tensor, table: StepTable, seeds: Tensor | None, noise: Tensor | None) -> None:
    check_condition(y, seeds)
    if seeds is not None and noise is not None:
        raise ValueError("give seeds or noise, not both.")
    expected = [len(table.noise_rows), *y.shape]
    if noise is not None and list(noise.shape) != expected:
        raise ValueError(
            f"noise must have shape {expected}, one entry for each row that draws it, found {list(noise.shape)}."
        )
