"""Read, correct and write at the same time: threads beside the network, never more slices in memory than allowed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from spectac_fast.correct.engines.batcher import Batcher
from spectac_fast.correct.engines.network import Network
from spectac_fast.correct.study import Prepared
from spectac_fast.errors import InputError

Task = TypeVar("Task")
Result = TypeVar("Result")
Outputs = Sequence[NDArray[np.float32]]

# Slices of a stress and rest study in three planes: so many may be under way for every thread, and for the network.
_STUDY = 174


@dataclass
class Pipeline(Generic[Task, Result]):
    """Three stages that overlap: `read` in threads, the network here, `write` in threads.

    read:  task -> (what goes through the network, or None where there is nothing to correct; what `write` needs).
    write: (task, what read said, outputs per series, or why the model refused, or None) -> result.
    network: runs the batches. jobs: threads for reading, and as many for writing. ordered: results in the order of the
    tasks rather than as they come. stop: set it to end early: the batch under way is finished, what it completes is
    written, the rest is left alone. on_slices: called with the number of slices after each batch.

    `waited` is the time for which the network had nothing to do, in seconds. What is in memory is bounded: a task is
    read only while fewer than `limit` slices are under way, or when it is the only one.
    """

    read: Callable[[Task], tuple[Prepared | None, Any]]
    write: Callable[[Task, Any, Outputs | InputError | None], Result]
    network: Network
    jobs: int = 2
    ordered: bool = True
    stop: threading.Event = field(default_factory=threading.Event)
    on_slices: Callable[[int], None] | None = None
    waited: float = 0.0

    def run(self, tasks: Iterable[tuple[Task, int]]) -> Iterator[Result]:
        """Results for tasks, each given with its number of slices."""
        with (
            ThreadPoolExecutor(self.jobs, "read") as readers,
            ThreadPoolExecutor(self.jobs, "write") as writers,
        ):
            try:
                yield from _Run(self, iter(tasks), readers, writers).results()
            finally:
                # After an error or an interruption nothing new is begun; what is being written ends whole.
                readers.shutdown(wait=False, cancel_futures=True)
                writers.shutdown(wait=True, cancel_futures=True)


class _Run(Generic[Task, Result]):
    """The state of one run: tasks move from `_reading` through the batcher to `_writing`, and leave as results."""

    def __init__(
        self,
        pipeline: Pipeline[Task, Result],
        tasks: Iterator[tuple[Task, int]],
        readers: ThreadPoolExecutor,
        writers: ThreadPoolExecutor,
    ) -> None:
        self._p, self._tasks, self._readers, self._writers = pipeline, tasks, readers, writers
        self._next = next(tasks, None)
        self._batcher: Batcher[int] = Batcher(pipeline.network)
        self._reading: deque[tuple[int, Future]] = deque()
        self._writing: dict[int, Future[Result]] = {}
        # Number of a task, in the order of reading -> the task, its slices and what `read` said of it.
        self._under_way: dict[int, tuple[Task, int]] = {}
        self._said: dict[int, object] = {}
        self._count = 0

    def results(self) -> Iterator[Result]:
        while not self._p.stop.is_set():
            self._read_ahead()
            yield from self._finished()
            if self._batcher.full():
                self._correct()
            elif self._reading:
                self._accept(*self._reading.popleft())
            elif self._batcher.waiting():
                self._correct()
            elif self._writing:
                self._wait([self._writing[min(self._writing)]] if self._p.ordered else self._writing.values())
            elif not self._next:
                # Where everything under way has just left at once, the next round reads on.
                return
        yield from self._written()

    def _read_ahead(self) -> None:
        limit = _STUDY * (self._p.jobs + 1) + 4 * self._p.network.batch_size
        while self._next and (not self._under_way or self._slices() + self._next[1] <= limit):
            self._under_way[self._count] = self._next
            self._reading.append((self._count, self._readers.submit(self._p.read, self._next[0])))
            self._count += 1
            self._next = next(self._tasks, None)

    def _slices(self) -> int:
        return sum(slices for _, slices in self._under_way.values())

    def _accept(self, number: int, reading: Future) -> None:
        self._wait([reading])
        prepared, self._said[number] = reading.result()
        if prepared is None:
            self._hand_on(number, None)
        else:
            self._batcher.add(number, prepared)

    def _correct(self) -> None:
        slices, complete = self._batcher.run()
        for number, outputs in complete:
            self._hand_on(number, outputs)
        if self._p.on_slices:
            self._p.on_slices(slices)

    def _hand_on(self, number: int, outputs: Outputs | InputError | None) -> None:
        task, _ = self._under_way[number]
        self._writing[number] = self._writers.submit(self._p.write, task, self._said.pop(number), outputs)

    def _finished(self) -> Iterator[Result]:
        """Results that may leave now."""
        for number in sorted(self._writing):
            if self._writing[number].done() and not (self._p.ordered and number != min(self._under_way)):
                del self._under_way[number]
                yield self._writing.pop(number).result()

    def _written(self) -> Iterator[Result]:
        """After `stop`: what is complete, in order."""
        for number in sorted(self._writing):
            yield self._writing.pop(number).result()

    def _wait(self, futures: Iterable[Future]) -> None:
        started = time.perf_counter()
        wait(futures, return_when=FIRST_COMPLETED)
        self._p.waited += time.perf_counter() - started
