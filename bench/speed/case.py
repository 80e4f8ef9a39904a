"""What a benchmark of one operator is: calls doing the same work, the bytes that must move, and the goals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Call = Callable[[], object]

COPY = "copy"
"""The rival that every case has: a copy between preallocated buffers that moves as many bytes as the operator must."""


@dataclass(frozen=True)
class Goal:
    """`least`: how many times faster than `rival` ours has to be. `rival` may name a group: the fastest of it counts.

    rival: a key of `Case.rivals` or of `Case.groups`, or `COPY` (least 0.8 then means 80 % of the copy's bandwidth).
    threads: the CPU thread count it holds for; None on a GPU. A case carries both kinds: the one that does not belong
    to the device at hand is reported as not yet run.
    """

    rival: str
    least: float
    threads: int | None = 2


@dataclass(frozen=True)
class Case:
    """One operator at one size.

    ours: the call measured. rivals: name -> call doing the same, given the same inputs and, where ours has them, the
    same preallocated outputs. moved: bytes that must move, for GB/s and for the copy. missing: rivals that cannot run
    here -> why. groups: name -> names of rivals.
    """

    op: str
    size: str
    ours: Call
    rivals: Mapping[str, Call]
    moved: int
    goals: tuple[Goal, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
