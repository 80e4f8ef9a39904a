"""The CUDA kernels of csrc/ on a CPU. `emulated()` gives them as operators beside the package's own, and what the
machine they run on has seen; `backend="native"` means them while `Emulated.in_place()` lasts.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from emulation.build import REPORTS, SOURCES, library, run, why_not
from spectac_fast import ops  # noqa: F401  (registers the operators)
from spectac_fast._op import Op

__all__ = ["FORWARD", "KIND", "REVERSE", "SOURCES", "Emulated", "Reported", "emulated", "why_not"]

# Kind of build: that of a sanitizer only where it was loaded first, as `make race` does it.
KIND = os.environ.get("SPECTAC_EMULATED", "plain")

# Orders of threads and blocks; any other number is the seed of a random one.
FORWARD, REVERSE = 0, 1

_library = torch.library.Library("spectac_fast_emulated", "DEF")

# As `nm -C` lists a kernel: address, name with template arguments, type of the first argument.
_SYMBOL = r"([0-9a-f]+) [tT] (?:void )?sf::\(anonymous namespace\)::(\w+_kernel(?:<.*>)?)\(sf::(\w+).*\)"


class Reported(RuntimeError):
    """A sanitizer has something to say of a launch."""


class Emulated:
    """A loaded library of emulated kernels. operators: {name: what torch calls}."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: dict[Path, int] = {}
        self.operators = {}
        for op in Op.all():
            _library.define(str(op.default._schema).removeprefix("spectac_fast::"))
        torch.ops.load_library(path)
        for op in Op.all():
            if torch._C._dispatch_has_kernel_for_dispatch_key(f"spectac_fast_emulated::{op.name}", "CPU"):
                self.operators[op.name] = getattr(torch.ops.spectac_fast_emulated, op.name).default
        self._machine = ctypes.CDLL(str(path))
        self._machine.emulated_order.argtypes = [ctypes.c_uint64]
        self._machine.emulated_remove_barrier.argtypes = [ctypes.c_char_p, ctypes.c_uint32]
        self._machine.emulated_probe.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
        self._machine.emulated_watch(f"{REPORTS}.{os.getpid()}".encode())
        for answer in ("failure", "launches", "barriers", "probe"):
            getattr(self._machine, f"emulated_{answer}").restype = ctypes.c_char_p

    @contextlib.contextmanager
    def in_place(self, order: int = FORWARD) -> Iterator[None]:
        """Every operator's default is the emulated one.

        Raises at the end if a launch failed and nobody said so, or if a sanitizer reports something.
        """
        before = {name: Op._all[name].default for name in self.operators}
        self._machine.emulated_order(order)
        self.failure()
        self.reports()
        for name, operator in self.operators.items():
            Op._all[name].default = operator
        try:
            # What torch makes for scratch holds NaN.
            with _filled():
                yield
        finally:
            for name, operator in before.items():
                Op._all[name].default = operator
        if failure := self.failure():
            raise RuntimeError(f"a launch failed and nobody said so: {failure}")
        if reports := self.reports():
            raise Reported(reports[:2000])

    @contextlib.contextmanager
    def without_barrier(self, file: str, line: int) -> Iterator[None]:
        """As if the __syncthreads() of this line of a file, such as csrc/cuda/tile.cuh, were not there."""
        self._machine.emulated_remove_barrier(file.encode(), line)
        try:
            yield
        finally:
            self._machine.emulated_remove_barrier(b"", 0)

    def failure(self) -> str:
        """What was wrong with a launch since the last question, or nothing."""
        return self._machine.emulated_failure().decode()

    def probe(self, name: str, order: int = FORWARD) -> tuple[str, torch.Tensor]:
        """What was wrong with a kernel of probes/, or nothing; what it left, of 4096 floats that were -1."""
        left = torch.full((4096,), -1.0)
        self._machine.emulated_order(order)
        said = self._machine.emulated_probe(name.encode(), left.data_ptr()).decode()
        self.failure()
        return said, left

    def encode(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """float32 [n] as the kernels round it: bfloat16 and float16. What a pair of them has otherwise is NaN."""
        halves = torch.empty(2, len(values), dtype=torch.int16)
        self._machine.emulated_encode(_at(values), ctypes.c_int64(len(values)), _at(halves[0]), _at(halves[1]))
        return halves[0].view(torch.bfloat16), halves[1].view(torch.float16)

    def decode(self, halves: torch.Tensor) -> torch.Tensor:
        """float16 [n] as the kernels read it: float32."""
        values = torch.empty(len(halves))
        self._machine.emulated_decode(_at(halves), ctypes.c_int64(len(halves)), _at(values))
        return values

    def forget(self) -> None:
        """Begin again to count launches and to note barriers."""
        self._machine.emulated_forget()

    def reports(self) -> str:
        """What a sanitizer has written since the last question, or nothing."""
        found = ""
        for path in sorted(REPORTS.parent.glob(f"{REPORTS.name}*.{os.getpid()}")):
            text = path.read_text(errors="replace")
            found += text[self._read.get(path, 0) :]
            self._read[path] = len(text)
        # Said once, of any program with fibers; it is told of every switch.
        return re.sub(r".*doesn't fully support makecontext.*\n", "", found)

    def barriers(self) -> set[tuple[str, int]]:
        """(file, line) of every __syncthreads() that was come to."""
        places = [line.rpartition(":") for line in self._machine.emulated_barriers().decode().splitlines()]
        return {(file, int(line)) for file, _, line in places}

    def launches(self) -> dict[str, int]:
        """{kernel: times it was launched}."""
        names = self._kernels()
        counts = [line.split() for line in self._machine.emulated_launches().decode().splitlines()]
        return {names[int(address)]: int(count) for address, count in counts}

    def kernels(self) -> set[str]:
        """Every kernel that was compiled, such as `nearest_kernel<true>(NearestCall)`."""
        return set(self._kernels().values())

    def _kernels(self) -> dict[int, str]:
        found = {}
        for line in run("nm", "-C", self._path).splitlines():
            if match := re.fullmatch(_SYMBOL, line):
                found[int(match[1], 16)] = f"{match[2]}({match[3]})"
        return found


def _at(values: torch.Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.data_ptr())


@contextlib.contextmanager
def _filled() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@functools.cache
def emulated() -> Emulated:
    """The kernels, compiled if need be. SPECTAC_EMULATED: the kind of build, such as thread for ThreadSanitizer."""
    return Emulated(library(KIND))
