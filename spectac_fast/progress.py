"""Progress on stderr: one line that redraws itself on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TextIO

_REDRAW_S = 0.1
_PLAIN_LINE_S = 5.0
_BAR = 24


class Progress:
    """Counts `total` steps of `unit` and shows how far they are and how long the rest will take.

    Args:
        total: number of steps expected; 0 is allowed and shows nothing.
        label: what is being done, shown in front.
        unit: what one step is ("slices", "cases").
        stream: where to write, stderr by default. A terminal gets a bar, anything else a line every five seconds.

    Use as a context manager; call `step` after each piece of work.
    """

    def __init__(self, total: int, label: str, unit: str, stream: TextIO | None = None) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._interval = _REDRAW_S if self._bar else _PLAIN_LINE_S
        self._note = ""
        self._width = 0
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = self._shown = time.monotonic()
        return self

    def step(self, n: int = 1, note: str = "") -> None:
        """Count `n` more steps; `note` replaces the remark behind the figures."""
        self.done += n
        self._note = note or self._note
        now = time.monotonic()
        if now - self._shown >= self._interval:
            self._shown = now
            self._show(now)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar or self.total <= 0:
            return
        self._show(time.monotonic())
        self._stream.write("\n")
        self._stream.flush()

    def _show(self, now: float) -> None:
        if self.total <= 0:
            return
        line = f"{self.label}: {self.done}/{self.total} {self.unit}{self._rest(now)}"
        if self._note:
            line += f"  {self._note}"
        if not self._bar:
            self._stream.write(line + "\n")
        else:
            filled = min(_BAR, _BAR * self.done // self.total)
            line = f"[{'#' * filled}{'.' * (_BAR - filled)}] {line}"
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        self._stream.flush()

    def _rest(self, now: float) -> str:
        if self.done <= 0:
            return ""
        elapsed = now - self._started
        if self.done >= self.total:
            return f" in {duration(elapsed)}"
        return f", {duration(elapsed / self.done * (self.total - self.done))} left"


def duration(seconds: float) -> str:
    """A duration for people: "7 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
