"""Named phases of the work, for profilers: NVTX ranges for nsys and ncu, or ranges of torch's profiler. Off by default.

The phases are read, normalise, encode, network, step, decode, denormalise and write. SPECTAC_NVTX=1 turns NVTX on from
the start.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

PHASES = ("read", "normalise", "encode", "network", "step", "decode", "denormalise", "write")

# One object for all: with tracing off a phase costs two calls that do nothing.
_OFF = nullcontext()
_range: Callable[[str], AbstractContextManager[object]] | None = None


def phase(name: str) -> AbstractContextManager[object]:
    """`with phase("network"):` marks what runs inside, where something listens."""
    return _OFF if _range is None else _range(name)


@contextmanager
def tracing(range_of: Callable[[str], AbstractContextManager[object]]) -> Iterator[None]:
    """Phases become `range_of(name)` within, for example `torch.profiler.record_function`; for all threads."""
    global _range
    before, _range = _range, range_of
    try:
        yield
    finally:
        _range = before


class PhaseClock:
    """Adds up what phases take: `with tracing(clock.range): ...`. Phases of several threads each count in full.

    seconds, calls: by phase. wait: called at both ends of a phase; for a device that runs ahead, its synchronisation.
    """

    def __init__(self, wait: Callable[[], object] = lambda: None) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)
        self._wait, self._lock = wait, threading.Lock()

    @contextmanager
    def range(self, name: str) -> Iterator[None]:
        self._wait()
        started = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            with self._lock:
                self.seconds[name] += time.perf_counter() - started
                self.calls[name] += 1


def nvtx_range(name: str) -> AbstractContextManager[object]:
    """An NVTX range in the domain spectac_fast."""
    import nvtx

    return nvtx.annotate(name, domain="spectac_fast")


if os.environ.get("SPECTAC_NVTX") == "1":
    _range = nvtx_range
