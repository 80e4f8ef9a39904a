"""How long a test waits for something that may hang: far longer than it takes on any machine, busy or slow."""

from __future__ import annotations

import time
from collections.abc import Callable

HANGS_S = 1800.0


def until(condition: Callable[[], object], pause_s: float = 0.02) -> None:
    """Return when the condition holds."""
    end = time.monotonic() + HANGS_S
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pause_s)
