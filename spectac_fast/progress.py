"""Progress on stderr: a line that redraws itself, plain lines every few seconds, JSON lines, or nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import TextIO

_REDRAW_S = 0.1
_PLAIN_LINE_S = 5.0
_JSON_LINE_S = 1.0
_BAR = 24

STYLES = ("auto", "plain", "json", "off")


class Progress:
    """Counts `total` steps of `unit` and shows how far they are and how long the rest will take.

    Args:
        total: number of steps expected; 0 is allowed and shows nothing; None where it is not known, as in a search.
        label: what is being done, shown in front.
        unit: what one step is ("slices", "cases").
        stream: where to write, stderr by default.
        style: "auto" draws a bar on a terminal and is "plain" elsewhere; "plain" writes a line every
            five seconds, "json" one object a second and a last one ({"label", "done", "total", "unit",
            "seconds_left", "note"}; null where total or time left are not known), "off" nothing.

    Use as a context manager, which draws the bar at once; call `step` after each piece of work, and `show` before a
    first one that will take long.
    """

    def __init__(
        self, total: int | None, label: str, unit: str, stream: TextIO | None = None, style: str = "auto"
    ) -> None:
        if style not in STYLES:
            raise ValueError(f"style must be one of {', '.join(STYLES)}, found {style!r}.")
        self.total, self.label, self.unit, self.style = total, label, unit, style
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        self._bar = style == "auto" and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._interval = _REDRAW_S if self._bar else _JSON_LINE_S if style == "json" else _PLAIN_LINE_S
        self._note = ""
        self._width = 0
        self._written = False
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = self._shown = time.monotonic()
        if self._bar:
            self._show(self._started)
        return self

    def show(self) -> None:
        """Say how far it is now, whenever that was said last."""
        self._shown = time.monotonic()
        self._show(self._shown)

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
        if self._bar or self.style == "json":
            self._show(time.monotonic())
        if self._bar and self._written:
            self._stream.write("\n")
            self._stream.flush()

    def _show(self, now: float) -> None:
        if self.total == 0 or self.style == "off":
            return
        self._written = True
        if self.style == "json":
            self._stream.write(self._object(now) + "\n")
        elif not self._bar:
            self._stream.write(self._line(now) + "\n")
        else:
            line = self._line(now) if self.total is None else f"[{self._filled()}] {self._line(now)}"
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        self._stream.flush()

    def _filled(self) -> str:
        filled = min(_BAR, _BAR * self.done // self.total) if self.total else 0
        return "#" * filled + "." * (_BAR - filled)

    def _line(self, now: float) -> str:
        if self.total is None:
            line = f"{self.label}: {self.done} {self.unit}"
        else:
            line = f"{self.label}: {self.done}/{self.total} {self.unit}{self._rest(now, self.total)}"
        return f"{line}  {self._note}" if self._note else line

    def _object(self, now: float) -> str:
        left = round(self._left(now, self.total), 1) if self.done > 0 and self.total is not None else None
        fields = {"label": self.label, "done": self.done, "total": self.total, "unit": self.unit}
        return json.dumps({**fields, "seconds_left": left, "note": self._note})

    def _left(self, now: float, total: int) -> float:
        return max(0.0, (now - self._started) / self.done * (total - self.done))

    def _rest(self, now: float, total: int) -> str:
        if self.done <= 0:
            return ""
        if self.done >= total:
            return f" in {duration(now - self._started)}"
        return f", {duration(self._left(now, total))} left"


def duration(seconds: float) -> str:
    """A duration for people: "7 s", "3 min 20 s", "2 h 05 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
