"""Memory over a long run: a thousand small studies through `spectac correct`, its resident size seen from outside."""

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
class Soak:
    """A run as seen from outside. resident: (slices done, MiB) in the order of time, from the first slice on."""

    studies: int
    seconds: float
    exit_code: int
    written: int
    resident: tuple[tuple[int, float], ...]

    @property
    def largest(self) -> float:
        """MiB."""
        return max(mib for _, mib in self.resident)

    @property
    def grown(self) -> float:
        """MiB by which the second half's largest size exceeds the first half's."""
        half = self.studies * SLICES // 2
        first = max(mib for done, mib in self.resident if done <= half)
        return max((mib for done, mib in self.resident if done > half), default=float("nan")) - first

    def at(self, share: float) -> float:
        """MiB when that share of the slices was done."""
        return min(self.resident, key=lambda pair: abs(pair[0] - share * self.studies * SLICES))[1]

    def figures(self) -> str:
        sizes = ", ".join(f"{self.at(share):.0f}" for share in (0.1, 0.5, 1.0))
        return (
            f"{self.written} of {self.studies} studies of {SLICES} slices in {self.seconds:.0f} s: resident "
            f"{sizes} MiB after 10, 50, 100 % of them, at most {self.largest:.0f}; the second half's largest is "
            f"{self.grown:+.0f} MiB from the first half's"
        )


def soak(folder: Path, studies: int = 1000, *, model: str = "bbdm", device: str = "cpu") -> Soak:
    """Make `studies` below `folder` and correct them. Needs Linux, which tells a process's size."""
    write_studies(folder / "in", studies, slices=SLICES)
    words = ["correct", "-i", folder / "in", "-o", folder / "out", "-m", model, "-d", device, "--progress", "json"]
    started, resident = time.perf_counter(), []
    with subprocess.Popen(
        [sys.executable, "-m", "spectac_fast.cli", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        for line in process.stderr or ():
            # One object a second; the process may be gone after the last.
            size = resident_mib(process.pid)
            if line.startswith("{") and size:
                resident.append((int(json.loads(line)["done"]), size))
    written = len(list((folder / "out").rglob("*_DL-AC.dcm")))
    return Soak(studies, time.perf_counter() - started, process.returncode, written, tuple(resident))


def resident_mib(process: int | str = "self") -> float | None:
    """The resident size of a process, None where it is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 2**10 for line in lines if line.startswith("VmRSS:")), None)
