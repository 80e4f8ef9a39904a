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
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .sampler import Denoiser, numbers_on, prepared, run_table
from .solvers import StepTable

MODES = ("auto", "trajectory", "step", "off")

_log = logging.getLogger(__name__)
# Rows of the longest table that is recorded as a whole: a graph of some thousand kernels.
_LONGEST = 32
_WARM_UPS = 3
# CUDA refuses much of what a second thread does while one captures.
_CAPTURE = threading.Lock()

Function = Callable[..., Tensor]


class Recording(Protocol):
    """A recorded call: `replay` copies the inputs to where it reads them and returns a result nobody overwrites."""

    bytes: int

    def replay(self, inputs: Sequence[Tensor]) -> Tensor: ...


class CudaRecording:
    """function(*inputs) as a CUDA graph of its own memory; RuntimeError where the function cannot be recorded.

    `bytes`: of device memory that the graph and its inputs keep.
    """

    def __init__(self, function: Function, inputs: Sequence[Tensor]) -> None:
        device = inputs[0].device
        # What is made under inference mode could not be written to outside of it, by a later replay.
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
            self._inputs = [tensor.clone() for tensor in inputs]
            # Of this device: torch's own stream for captures is of the device that was the first to capture.
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            # Libraries set themselves up in the first calls, which a recording must not see.
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    function(*self._inputs)
            torch.cuda.current_stream(device).wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            # Other threads may read and write studies meanwhile, with copies of their own.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                # Here, because a capture begins by giving back what the allocator had kept.
                before = torch.cuda.memory_reserved(device)
                self._output = function(*self._inputs)
                grown = torch.cuda.memory_reserved(device) - before
            self._done = torch.cuda.Event()
            self._done.record(torch.cuda.current_stream(device))
        self._device = device
        self.bytes = max(0, grown) + sum(tensor.nbytes for tensor in self._inputs)

    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        stream = torch.cuda.current_stream(self._device)
        # Inputs and output lie in one place: a caller on another stream waits until the last one has its copy.
        stream.wait_event(self._done)
        for own, given in zip(self._inputs, inputs):
            own.copy_(given)
        self._graph.replay()
        result = self._output.clone()
        self._done.record(stream)
        return result


class Graphs:
    """Recordings of functions by their inputs' shapes, the least recently used dropped when they exceed a budget.

    budget: bytes of device memory. record: makes a `Recording` of a function and its inputs.

    A call is recorded when it comes a second time, so that shapes that come once cost nothing extra. What cannot be
    recorded is reported once and never tried again; where memory was short, it is tried again after ever more calls.
    Calls from several threads wait for each other, and in one process one recording is made at a time.
    """

    def __init__(
        self, budget: int = 2 << 30, record: Callable[[Function, Sequence[Tensor]], Recording] = CudaRecording
    ) -> None:
        self.budget, self._record = budget, record
        self._recordings: OrderedDict[Hashable, tuple[Function, Recording]] = OrderedDict()
        # By owner, so that nothing is remembered of networks that have gone and whose addresses others may get.
        self._seen: WeakKeyDictionary[Any, dict[Hashable, _Attempts]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process too, begins without recordings: they hold this one's memory."""
        return Graphs, (self.budget, self._record)

    @property
    def bytes(self) -> int:
        """Of all recordings together."""
        return sum(recording.bytes for _, recording in self._recordings.values())

    def call(self, owner: Any, key: Hashable, function: Function, inputs: Sequence[Tensor]) -> Tensor | None:
        """function(*inputs) by replay; None where there is no recording, and the caller runs it itself.

        owner: what the function belongs to, hashed by identity. key: tells its functions apart; equal keys mean the
        same function. What the function reads beside its inputs must stay where it is for as long as the function
        lives, which is here as long as its recording.
        """
        key = key, *((tuple(tensor.shape), tensor.dtype, tensor.device) for tensor in inputs)
        with self._lock:
            # A recording keeps its owner alive, so that no other owner has its address.
            place = id(owner), key
            if place not in self._recordings:
                attempts = self._seen.setdefault(owner, {}).setdefault(key, _Attempts())
                recording = self._recorded(attempts, function, inputs)
                if recording is None:
                    return None
                self._recordings[place] = function, recording
                while self.bytes > self.budget:
                    self._recordings.popitem(last=False)
            self._recordings.move_to_end(place)
            return self._recordings[place][1].replay(inputs)

    def _recorded(self, attempts: _Attempts, function: Function, inputs: Sequence[Tensor]) -> Recording | None:
        """A recording, if it is time for one and it can be made."""
        if attempts.refused:
            return None
        if attempts.calls_left:
            attempts.calls_left -= 1
            return None
        try:
            with _CAPTURE:
                recording = self._record(function, inputs)
        except torch.OutOfMemoryError:
            attempts.calls_left, attempts.wait = attempts.wait, 2 * attempts.wait
            return None
        except RuntimeError as error:
            attempts.refused = True
            _log.warning("not recorded as a CUDA graph, runs without: %s", str(error).partition("\n")[0])
            return None
        if recording.bytes > self.budget:
            attempts.refused = True
            _log.warning("a CUDA graph of %d bytes is above the budget of %d", recording.bytes, self.budget)
            return None
        return recording


@dataclass
class _Attempts:
    """Of one function: calls to come before it is recorded, calls to wait after the next shortage, or never again."""

    calls_left: int = 1
    wait: int = 16
    refused: bool = False


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
            kept[:] = step, numbers_on(table, y.device)
            return run_table(step, y, table, context=context, seeds=seeds, blocks=blocks)

        found = graphs.call(*_owned(denoiser, content, counters), trajectory, (y, context, seeds))
        if found is not None:
            return found
    if mode == "step" or (mode == "auto" and len(table) > _LONGEST):
        denoiser = _stepwise(graphs, denoiser)
    return run_table(denoiser, y, table, context=context, seeds=seeds, blocks=blocks)


def _owned(denoiser: Denoiser, *key: Hashable) -> tuple[Any, Hashable]:
    """(what a denoiser belongs to, the key of a function of it); a bound method is made anew at every look."""
    owner = getattr(denoiser, "__self__", denoiser)
    return owner, (getattr(denoiser, "__name__", None), *key)


def _stepwise(graphs: Graphs, denoiser: Denoiser) -> Denoiser:
    """The denoiser, each evaluation by replay; it is not prepared, because the context is one of the graph's inputs."""

    def step(x: Tensor, t: Tensor, context: Any) -> Tensor:
        found = graphs.call(*_owned(denoiser), denoiser, (x, t, context))
        return denoiser(x, t, context) if found is None else found

    return step
