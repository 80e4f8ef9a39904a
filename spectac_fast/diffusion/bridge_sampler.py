"""Many samples of a bridge in few batches: a network, a process and a solver made ready to be called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .bridge import BrownianBridge
from .buckets import SIZES, padded_size, runs
from .graph import MODES, Graphs, run_graphed
from .reduction import REDUCTIONS, KeptSamples, RunningMoments
from .sampler import Denoiser, check_condition
from .solvers import StepTable, solver_table


class BridgeSampler:
    """Samples of a bridge, K for each condition, in batches of few fixed sizes.

    denoiser:  (x, t, y) -> the network's output in the process's objective; x float32 [b, C, H, W], t int64 [b].
    process:   the bridge.
    steps:     number of network evaluations, the timesteps themselves, or a finished table of `solver_table`.
    finish:    what becomes of every batch of samples before it is returned or reduced, [b, C, H, W] -> [b, ...]; for a
               latent bridge its decoder. None leaves them as they are.
    batch:     the largest batch the network sees, one of 2, 4, 8, 16, 32, 64; less needs less memory.
    graph:     how a CUDA device is driven: "trajectory" launches all evaluations as one graph, "step" each of them,
               "auto" the first for short tables and the second for long ones, "off" neither (diffusion/graph.py). For
               graphs the denoiser must read nothing back from the device and keep its tensors where they are.
    graphs:    recordings to share with other samplers; None keeps its own.
    options:   further arguments of `solver_table` (solver, order, eta, spacing, clip, ...).

    A batch is filled up with copies of its slices to one of those sizes. The noise of a sample is a function of its
    slice's seed and its number, the same bits in any batch; within a size, so is the sample wherever the network
    treats slices alike. Between sizes it differs by what the network's rounding does: with the shipped BBDM in float32
    on the CPU by less than 1e-6 (model units).

    Raises ValueError for arguments that make no table.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        process: BrownianBridge,
        steps: int | Sequence[int] | StepTable = 6,
        *,
        finish: Callable[[Tensor], Tensor] | None = None,
        batch: int = SIZES[-1],
        graph: str = "auto",
        graphs: Graphs | None = None,
        **options: Any,
    ) -> None:
        if batch not in SIZES:
            raise ValueError(f"batch must be one of {', '.join(map(str, SIZES))}, found {batch}.")
        if graph not in MODES:
            raise ValueError(f"graph must be one of {', '.join(MODES)}, found {graph!r}.")
        if isinstance(steps, StepTable) and options:
            raise ValueError(f"a finished table takes no further options, found {', '.join(options)}.")
        self.denoiser, self.finish, self.batch = denoiser, finish, batch
        self.graph, self.graphs = graph, Graphs() if graphs is None else graphs
        self.table = steps if isinstance(steps, StepTable) else solver_table(process, steps, **options)

    @torch.no_grad()
    def __call__(
        self,
        y: Tensor,
        seeds: Tensor | None = None,
        num_samples: int | None = None,
        reduce: str | None = None,
        *,
        context: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Samples given y, float32 [B, C, H, W], the bridge's end (C, H, W as `finish` leaves them, if there is one).

        seeds:        int64 [B], one per slice; None means 0 ... B-1.
        num_samples:  K >= 1 gives [K, B, C, H, W]; None is one sample without that axis.
        reduce:       "mean" gives the mean over the K samples, "mean_std" (mean, standard deviation; K >= 2), each
                      [B, C, H, W]; the samples are not kept. None keeps them.
        context:      what the denoiser gets in place of y, [B, ...].

        Raises ValueError for arguments outside these values.
        """
        check_condition(y, seeds)
        if not len(y):
            raise ValueError("y must hold at least one slice, found none.")
        count = 1 if num_samples is None else num_samples
        least = 2 if reduce == "mean_std" else 1
        if count < least:
            raise ValueError(f"num_samples must be at least {least}, found {count}.")
        if reduce is not None and reduce not in REDUCTIONS:
            raise ValueError(f"reduce must be None, {' or '.join(REDUCTIONS)}, found {reduce!r}.")
        if context is not None and len(context) != len(y):
            raise ValueError(f"context must have {len(y)} entries like y, found {len(context)}.")
        seeds = torch.arange(len(y), device=y.device) if seeds is None else seeds.to(y.device)
        context = y if context is None else context
        # Without noise every sample is the first.
        drawn = count if self.table.noise_rows else 1
        collected = RunningMoments(len(y), reduce == "mean_std") if reduce else KeptSamples(drawn, len(y))
        for part in runs(drawn * len(y), self.batch):
            values = self._batch(y, seeds, context, part)
            for rows, number, slices in _pieces(part, len(y)):
                collected.add(number, slices, values[rows])
        result = collected.result()
        if reduce is not None:
            return result
        assert isinstance(result, Tensor)
        return result[0] if num_samples is None else result.expand(count, *result.shape[1:]).contiguous()

    def _batch(self, y: Tensor, seeds: Tensor, context: Tensor, part: slice) -> Tensor:
        """Rows `part` of all samples laid end to end, each of all slices, as one batch [b, ...]."""
        size = padded_size(part.stop - part.start)
        # What fills the batch up are samples nobody asked for.
        filled = slice(part.start, part.start + size)
        of = torch.arange(filled.start, filled.stop, device=y.device) % len(y)
        found = run_graphed(
            self.graphs,
            self.graph if y.device.type == "cuda" else "off",
            self.denoiser,
            y[of],
            self.table,
            context=context[of],
            seeds=seeds[of],
            blocks=[(rows, number) for rows, number, _ in _pieces(filled, len(y))],
        )
        return found if self.finish is None else self.finish(found)


def _pieces(part: slice, slices: int) -> Iterator[tuple[slice, int, slice]]:
    """(its rows in the batch, number of the sample, which slices) of each sample of which `part` holds any."""
    start = part.start
    while start < part.stop:
        number, first = divmod(start, slices)
        stop = min(part.stop, (number + 1) * slices)
        yield slice(start - part.start, stop - part.start), number, slice(first, first + stop - start)
        start = stop
