"""What `python -m bench throughput` measures of whole runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One batch through so many processes, each with the model and a part (`--shard`) of the studies.

    seconds: from the command to the end of the last process; first: until the first corrected file. Shares of the
    processes' time: start (Python, torch, the model), network (inside the model), waited (the model had nothing to do:
    input and output), other. resident: the largest of a process, MiB.
    """

    workers: int
    threads: int
    studies: int
    slices: int
    seconds: float
    first: float
    start: float
    network: float
    waited: float
    resident: int

    @property
    def other(self) -> float:
        return 1.0 - self.start - self.network - self.waited

    @property
    def studies_per_hour(self) -> float:
        return 3600 * self.studies / self.seconds

    @property
    def slices_per_second(self) -> float:
        return self.slices / self.seconds


@dataclass(frozen=True)
class OneStudy:
    """Seconds of one stress and rest study: the whole command, and a process that has the model already."""

    slices: int
    command: float
    warm: float
