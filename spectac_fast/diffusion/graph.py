"""CUDA graphs: a trajectory, or one evaluation of its network, launched as one where the CPU would be too slow to.

At batch 1 a network of some hundred kernels waits for the processor that launches them. A graph is recorded once for
every shape and replayed with one launch. Two kinds: a whole trajectory, for short tables, and one evaluation of the
network, which reads its timestep from device memory and so serves any table. Seeds, condition and the table's rows lie
in device memory; the counters of the noise are part of the recording.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .sampler import Denoiser, plan, prepared, run_table
from .solvers import StepTable

MODES = ("auto", "trajectory", "step", "off")

_log = logging.getLogger(__name__)
# Rows of the longest table that is recorded as a whole: a graph of some thousand kernels.
_LONGEST = 32
_WARM_UPS = 3

Function = Callable[..., Tensor]


class Recording(Protocol):
    """A recorded call: `replay` copies the inputs to where it reads them and returns a result nobody overwrites."""

    bytes: int

    def replay(self, inputs: Sequence[Tensor]) -> Tensor: ...


class CudaRecording:
    """function(*inputs) as a CUDA graph of its own memory; RuntimeError where the function cannot be recorded."""

    def __init__(self, function: Function, inputs: Sequence[Tensor]) -> None:
        device = inputs[0].device
        with torch.cuda.device(device):
            before = torch.cuda.memory_reserved(device)
            self._inputs = [tensor.clone() for tensor in inputs]
            # Libraries set themselves up in the first calls, which a recording must not see.
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    function(*self._inputs)
            torch.cuda.current_stream(device).wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may read and write studies meanwhile, with copies of their own.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._output = function(*self._inputs)
            self.bytes = max(0, torch.cuda.memory_reserved(device) - before)

    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        for own, given in zip(self._inputs, inputs):
            own.copy_(given)
        self._graph.replay()
        return self._output.clone()


class Graphs:
    """Recordings of functions by their inputs' shapes, the least recently used dropped when they exceed a budget.

    budget: bytes of device memory. record: makes a `Recording` of a function and its inputs.

    A call is recorded when it comes a second time, so that shapes that come once cost nothing extra. What cannot be
    recorded is reported once and never tried again. Calls from several threads wait for each other.
    """

    def __init__(
        self, budget: int = 2 << 30, record: Callable[[Function, Sequence[Tensor]], Recording] = CudaRecording
    ) -> None:
        self.budget, self._record = budget, record
        self._recordings: OrderedDict[Hashable, tuple[Function, Recording]] = OrderedDict()
        self._seen: set[Hashable] = set()
        self._refused: set[Hashable] = set()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, begins without recordings: they hold this one's memory."""
        return Graphs, (self.budget, self._record)

    @property
    def bytes(self) -> int:
        """Of all recordings together."""
        return sum(recording.bytes for _, recording in self._recordings.values())

    def call(self, key: Hashable, function: Function, inputs: Sequence[Tensor]) -> Tensor | None:
        """function(*inputs) by replay; None where there is no recording, and the caller runs it itself.

        key: tells functions apart; equal keys mean the same function. What the function reads beside its inputs must
        stay where it is for as long as the function lives, which is here as long as its recording.
        """
        key = key, *((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in inputs)
        with self._lock:
            if key not in self._recordings and not self._prepare(key, function, inputs):
                return None
            self._recordings.move_to_end(key)
            return self._recordings[key][1].replay(inputs)

    def _prepare(self, key: Hashable, function: Function, inputs: Sequence[Tensor]) -> bool:
        """Whether there is now a recording for the key."""
        if key in self._refused:
            return False
        if key not in self._seen:
            self._seen.add(key)
            return False
        try:
            recording = self._record(function, inputs)
        except RuntimeError as error:
            self._refused.add(key)
            _log.warning("not recorded as a CUDA graph, runs without: %s", str(error).partition("\n")[0])
            return False
        if recording.bytes > self.budget:
            self._refused.add(key)
            _log.warning("a CUDA graph of %d bytes is above the budget of %d", recording.bytes, self.budget)
            return False
        self._recordings[key] = function, recording
        while self.bytes > self.budget:
            self._recordings.popitem(last=False)
        return True


def run_graphed(
    graphs: Graphs,
    mode: str,
    denoiser: Denoiser,
    y: Tensor,
    table: StepTable,
    *,
    context: Tensor,
    seeds: Tensor,
    blocks: Sequence[tuple[slice | None, int]],
) -> Tensor:
    """`run_table` through graphs: "trajectory", "step", "auto" (a trajectory where that can be recorded) or "off".

    What is not recorded runs without a graph; the result is the same.
    """
    if mode in ("auto", "trajectory") and len(table) <= _LONGEST:
        counters = tuple((part and (part.start, part.stop), sample) for part, sample in blocks)
        content = table.t, table.rows.tobytes(), table.corrector, table.boots, table.clip
        kept: list[Any] = []

        def trajectory(y: Tensor, context: Tensor, seeds: Tensor) -> Tensor:
            step = prepared(denoiser, context, table)
            # What a recording reads beside its inputs must live as long as it does.
            kept[:] = step, plan(table, y.device)
            return run_table(step, y, table, context=context, seeds=seeds, blocks=blocks)

        found = graphs.call((id(denoiser), content, counters), trajectory, (y, context, seeds))
        if found is not None:
            return found
    if mode == "step" or (mode == "auto" and len(table) > _LONGEST):
        denoiser = _stepwise(graphs, denoiser)
    return run_table(denoiser, y, table, context=context, seeds=seeds, blocks=blocks)


def _stepwise(graphs: Graphs, denoiser: Denoiser) -> Denoiser:
    """The denoiser, each evaluation by replay; it is not prepared, because the context is one of the graph's inputs."""

    def step(x: Tensor, t: Tensor, context: Any) -> Tensor:
        found = graphs.call(id(denoiser), denoiser, (x, t, context))
        return denoiser(x, t, context) if found is None else found

    return step
