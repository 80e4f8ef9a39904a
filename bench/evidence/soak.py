"""What a long run holds: studies through `spectac correct`, its memory, files and threads seen from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.evidence.studies import write_studies

SLICES = 10


@dataclass(frozen=True)
class Held:
    """What a process held when so many slices were done: resident MiB, open file descriptors, threads."""

    done: int
    resident: float
    files: int
    threads: int


@dataclass(frozen=True)
class Soak:
    """A run as seen from outside. slices: of all studies. held: in the order of time, from the first slice on."""

    studies: int
    slices: int
    seconds: float
    exit_code: int
    written: int
    held: tuple[Held, ...]

    def largest(self, what: str) -> float:
        """Of one field of `Held`."""
        return max(getattr(each, what) for each in self.held)

    def grown(self, what: str) -> float:
        """By how much the second half's largest exceeds the first half's."""
        halves: tuple[list[float], list[float]] = ([], [])
        for each in self.held:
            halves[each.done > self.slices // 2].append(getattr(each, what))
        first, second = (max(half, default=float("nan")) for half in halves)
        return second - first

    def at(self, share: float) -> Held:
        """When that share of the slices was done."""
        return min(self.held, key=lambda each: abs(each.done - share * self.slices))

    def figures(self) -> str:
        sizes = ", ".join(f"{self.at(share).resident:.0f}" for share in (0.1, 0.5, 1.0))
        return (
            f"{self.written} files of {self.studies} studies, {self.slices} slices, in {self.seconds:.0f} s: resident "
            f"{sizes} MiB after 10, 50, 100 % of them, at most {self.largest('resident'):.0f}; at most "
            f"{self.largest('files')} open files and {self.largest('threads')} threads; the second half's largest "
            f"are {self.grown('resident'):+.0f} MiB, {self.grown('files'):+} files and {self.grown('threads'):+} "
            "threads from the first half's"
        )


def soak(
    folder: Path, studies: int = 1000, *, slices: int | None = SLICES, model: str = "bbdm", device: str = "cpu"
) -> Soak:
    """Make `studies` below `folder`, of so many slices (None: whole ones), and correct them.

    Needs Linux, which tells what a process holds.
    """
    total = write_studies(folder / "in", studies, slices=slices)
    words = ["correct", "-i", folder / "in", "-o", folder / "out", "-m", model, "-d", device, "--progress", "json"]
    started, found = time.perf_counter(), []
    with subprocess.Popen(
        [sys.executable, "-m", "spectac_fast.cli", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        for line in process.stderr or ():
            # One object a second; the process may be gone after the last.
            if line.startswith("{") and (now := held(process.pid, int(json.loads(line)["done"]))):
                found.append(now)
    written = len(list((folder / "out").rglob("*_DL-AC.dcm")))
    return Soak(studies, total, time.perf_counter() - started, process.returncode, written, tuple(found))


def held(process: int | str = "self", done: int = 0) -> Held | None:
    """What a process holds, None where it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        files = len(os.listdir(f"/proc/{process}/fd"))
    except OSError:
        return None
    said = dict(line.split(":", 1) for line in lines)
    if "VmRSS" not in said:
        return None
    return Held(done, int(said["VmRSS"].split()[0]) / 2**10, files, int(said["Threads"]))
