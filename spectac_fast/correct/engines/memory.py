"""How many slices fit: a trial run measures what one needs, the machine says what there is."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from spectac_fast.models.engine.batches import SIZES

# On a CPU more slices at once are no faster (measured from 8 to 64), and the last batch is filled up with more.
_LARGEST_ON_CPU = 16
# The rest is for readers and writers, and for what an allocator cannot use.
_SHARE = 0.5
# Slices that memory is measured with: of one, another kernel may be chosen than of any more.
_TRIAL = 2
# What freed buffers may hold before they are given back: seldom enough to cost nothing.
_KEPT_BYTES = 32 << 20


class FreedMemory:
    """Gives back to the system what the C library keeps of freed buffers; call `check` after every batch.

    glibc seldom finds the place of a freed aligned buffer again for the next one (its bug 14581), and torch's are
    aligned: every run of a network leaves holes, about a megabyte of them. Once the process is 32 MiB larger than it
    was after the first batch since the last time, their pages are returned, so that its size follows what is in use
    however many batches run. Does nothing where the C library has no `malloc_trim`.
    """

    def __init__(self) -> None:
        self._trim: Callable[[int], object] | None = None
        with contextlib.suppress(AttributeError, OSError, TypeError):
            self._trim = ctypes.CDLL(None).malloc_trim
        self._usual: int | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy watches the process that it is in."""
        return FreedMemory, ()

    def check(self) -> None:
        resident = _status("VmRSS") if self._trim else None
        if resident is None or self._trim is None:
            return
        if self._usual is None:
            self._usual = resident
        elif resident > self._usual + _KEPT_BYTES:
            self._trim(0)
            # The next batch needs its buffers again: what it leaves is the usual size.
            self._usual = None


def choose_batch_size(trial: Callable[[int], object], device: torch.device) -> int:
    """The largest batch size of `SIZES` whose working memory fits in half of what is free.

    trial: runs the model on that many slices. It is called once, with two. Where the memory of a run
    cannot be measured (no Linux, no CUDA) eight is taken.
    """
    peak = _peak_bytes(lambda: trial(_TRIAL), device)
    free = _free_bytes(device)
    largest = SIZES[-1] if device.type == "cuda" else _LARGEST_ON_CPU
    if peak is None or free is None:
        return min(4 * _TRIAL, largest)
    fitting = [size for size in SIZES if size <= largest and size / _TRIAL * peak <= _SHARE * free]
    return fitting[-1] if fitting else SIZES[0]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of the model means that fewer slices might have fitted."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU allocator and the libraries under CUDA have no type of their own for it.
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "could not create a memory object")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def resident_bytes() -> int | None:
    """The largest resident memory of this process so far, or None where the system does not tell."""
    return _status("VmHWM")


def _peak_bytes(run: Callable[[], object], device: torch.device) -> int | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    start = _reset_peak()
    run()
    end = _status("VmHWM")
    return None if start is None or end is None else max(end - start, 0)


def _reset_peak() -> int | None:
    """Let VmHWM start again from the present size and return that; None where the system does not allow it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def _free_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What the allocator holds and does not use is free to us.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), None)
    limit = _group_limit()
    return limit if available is None else available if limit is None else min(available, limit)


def _group_limit() -> int | None:
    """What the control group (a container's limit) leaves; None without a limit."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{field}:")), None)
