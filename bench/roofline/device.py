"""What a GPU can do at most, from its maker's papers: bytes a second, and instructions of each kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

SOURCES = (
    "4.8 TB/s and 67 TFLOPS of FP32 are in NVIDIA's data sheet of the H200 SXM;",
    "132 multiprocessors, of four schedulers each, which issue one instruction for 32 threads a clock, in its paper on "
    "the Hopper architecture (the H200 has the chip of the H100 SXM5);",
    "the clock, 1.98 GHz, follows from both (67e12 / (132 * 128 * 2));",
    "what a multiprocessor completes a clock, by the kind of instruction, is in the CUDA C++ programming guide, table "
    '"Throughput of native arithmetic instructions", column 9.0;',
    "shared memory gives 128 bytes a clock (the same guide);",
    "what a launch takes is a round number from experience with such GPUs, not from a paper.",
)

BANDWIDTH = 4.8e12  # bytes a second
MULTIPROCESSORS = 132
CLOCK = 67e12 / (MULTIPROCESSORS * 128 * 2)
LAUNCH_US = 3.5

# Kind -> instructions that a multiprocessor completes a clock, each of 32 threads.
RATES = {
    "issue": 4.0,
    "float": 4.0,
    "multiply-add of integers": 2.0,
    "integer and logic": 2.0,
    "double": 2.0,
    "conversion": 2.0,
    "special function": 0.5,
    "memory": 1.0,
}

_KINDS = {
    "float": ("FADD", "FMUL", "FFMA"),
    "multiply-add of integers": ("IMAD",),
    "double": ("DADD", "DMUL", "DFMA", "DSETP"),
    "conversion": ("I2F", "F2I", "I2FP", "F2F", "F2FP", "FRND"),
    "special function": ("MUFU",),
    "memory": ("LDG", "STG", "LDS", "STS", "LDC", "LDL", "STL", "ATOMG", "ATOMS", "RED", "REDUX", "SHFL"),
}
# What the schedulers issue without one of the pipes above: jumps, barriers, what a warp computes once for all threads.
_NO_PIPE = (
    "BRA",
    "BRX",
    "BSSY",
    "BSYNC",
    "BREAK",
    "EXIT",
    "BAR",
    "NOP",
    "WARPSYNC",
    "CALL",
    "RET",
    "S2R",
    "S2UR",
    "CS2R",
    "BMOV",
)


def clocks(counts: Mapping[str, float]) -> dict[str, float]:
    """Kind -> clocks of a multiprocessor for one warp that issues each opcode so often, were it alone the bound."""
    busy = dict.fromkeys(RATES, 0.0)
    for opcode, count in counts.items():
        kind = kind_of(opcode)
        busy["issue"] += count / RATES["issue"]
        if kind:
            busy[kind] += count * _words(opcode) / RATES[kind]
    return busy


def kind_of(opcode: str) -> str | None:
    """A key of `RATES`, or None for what takes none of its pipes."""
    name = opcode.partition(".")[0]
    for kind, names in _KINDS.items():
        if name in names:
            return kind
    return None if name in _NO_PIPE or name.startswith("U") else "integer and logic"


def _words(opcode: str) -> int:
    """Of four bytes a thread; a wide access of shared or global memory takes its turns."""
    width = re.search(r"\.(64|128)\b", opcode)
    return int(width[1]) // 32 if width and opcode.startswith(("LD", "ST")) else 1


@dataclass(frozen=True)
class Bound:
    """What holds a launch back. microseconds: the least it can take on that account."""

    kind: str
    microseconds: float


def bounds(transferred: float, warps: float, counts: Mapping[str, float]) -> list[Bound]:
    """Memory and every kind of instruction, the worst first."""
    found = [Bound("bandwidth", transferred / BANDWIDTH * 1e6)]
    for kind, busy in clocks(counts).items():
        found.append(Bound(kind, warps * busy / (MULTIPROCESSORS * CLOCK) * 1e6))
    return sorted(found, key=lambda bound: -bound.microseconds)
