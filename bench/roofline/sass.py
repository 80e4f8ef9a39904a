"""Machine code as a graph: how many instructions the longest way through a kernel has, and of which kind.

The instructions of a kernel are counted along the longest way from its beginning to its end, every loop as often as is
said of it. What a branch leaves out is thereby counted where it is the longer side: a bound from above. Three things
that no ordinary thread does are left out: calls (square roots and divisions of denormal numbers), what a warp does when
it has come apart at a barrier, and instructions beyond the end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf

_LINE = re.compile(r"^\s+/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;")
_LABEL = re.compile(r"\.L_x_\d+")


@dataclass(frozen=True)
class Instruction:
    """perhaps: a predicate stands before it. operands: as they are written. targets: addresses that they name."""

    address: int
    perhaps: bool
    opcode: str
    operands: str
    targets: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.opcode.partition(".")[0]


@dataclass(frozen=True)
class Loop:
    """From the first instruction of its body to the jump back."""

    first: int
    last: int


def functions(dump: str) -> dict[str, list[Instruction]]:
    """The kernels in what `nvdisasm --print-code` says: mangled name -> instructions."""
    lines: dict[str, list[str]] = {}
    for line in dump.splitlines():
        if line.startswith(".text.") and line.endswith(":"):
            lines[line[len(".text.") : -1]] = current = []
        elif lines:
            current.append(line)
    return {name: list(_instructions(of)) for name, of in lines.items()}


def _instructions(lines: Sequence[str]) -> Iterator[Instruction]:
    places: dict[str, int] = {}
    ahead: list[str] = []
    found = []
    for line in lines:
        if match := _LINE.match(line):
            address = int(match[1], 16)
            places |= dict.fromkeys(ahead, address)
            ahead.clear()
            found.append(Instruction(address, bool(match[2]), match[3], match[4]))
        elif label := re.fullmatch(r"(\.L_x_\d+):", line.strip()):
            ahead.append(label[1])
    for one in found:
        yield replace(one, targets=tuple(places[name] for name in _LABEL.findall(one.operands) if name in places))


def _next(code: Sequence[Instruction]) -> dict[int, list[int]]:
    """Address -> addresses that may be next; none at an end."""
    following = {one.address: other.address for one, other in pairwise(code)}
    joined: dict[str, int] = {}
    ways = {}
    for one in code:
        after = [following[one.address]] if one.address in following else []
        if one.name == "BSSY":
            joined[one.operands.partition(",")[0]] = one.targets[0]
        if one.opcode == "BRA.DIV" or one.name == "CALL":
            ways[one.address] = after
        elif one.name == "BRA":
            certain = not one.perhaps and "," not in one.operands
            ways[one.address] = [*one.targets, *([] if certain else after)]
        elif one.name == "BSYNC":
            ways[one.address] = [joined[one.operands.strip()], *(after if one.perhaps else [])]
        elif one.name in ("EXIT", "RET"):
            ways[one.address] = after if one.perhaps else []
        elif one.name == "BRX":
            ways[one.address] = list(one.targets)
        else:
            ways[one.address] = after
    return ways


def _reached(ways: dict[int, list[int]], start: int) -> set[int]:
    seen, waiting = {start}, [start]
    while waiting:
        for other in ways[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def loops(code: Sequence[Instruction]) -> list[Loop]:
    """The loops of a kernel, by where they begin."""
    ways = _next(code)
    ends: dict[int, int] = {}
    for address in _reached(ways, code[0].address):
        for other in ways[address]:
            if other <= address:
                ends[other] = max(address, ends.get(other, 0))
    return [Loop(first, ends[first]) for first in sorted(ends)]


def longest(code: Sequence[Instruction], turns: Sequence[float], avoided: Container[str] = ()) -> Counter[str]:
    """Opcode -> how often a thread issues it on the longest way, whose loops take so many turns.

    turns: of every loop of `loops`, counted anew at each turn of a loop around it. avoided: opcodes that the way must
    not meet. Raises ValueError for another number of loops, the compiler having made others than were thought of, and
    where there is no such way.
    """
    known = loops(code)
    if len(known) != len(turns):
        places = ", ".join(f"{one.first:#x} to {one.last:#x}" for one in known) or "none"
        raise ValueError(f"expected {len(turns)} loops, found {len(known)}: {places}")
    weight = {
        one.address: _product(t for loop, t in zip(known, turns) if loop.first <= one.address <= loop.last)
        for one in code
    }
    ways, opcodes = _next(code), {one.address: one.opcode for one in code}
    # Jumps back are what the turns stand for; without them the addresses are in order.
    best: dict[int, tuple[float, int | None]] = {}
    for address in sorted(_reached(ways, code[0].address), reverse=True):
        ahead = [(best[other][0], other) for other in ways[address] if other > address]
        most, after = max(ahead, default=(0.0, None))
        best[address] = (-inf if opcodes[address] in avoided else most + weight[address]), after
    if best[code[0].address][0] == -inf:
        raise ValueError(f"expected a way without {avoided}, found none")
    counts: Counter[str] = Counter()
    at: int | None = code[0].address
    while at is not None:
        counts[opcodes[at]] += weight[at]  # type: ignore[assignment]
        at = best[at][1]
    return counts


def _product(numbers: Iterator[float]) -> float:
    result = 1.0
    for number in numbers:
        result *= number
    return result
