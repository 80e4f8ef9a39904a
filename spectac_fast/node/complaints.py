"""The log of what peers do wrong, which is no way to fill a disk: beyond some lines a minute they are counted."""

from __future__ import annotations

import logging
import math
import threading
import time

_log = logging.getLogger(__name__)

_MOST_LINES, _WITHIN_S = 20, 60.0


class Complaints:
    """For any number of threads."""

    def __init__(self) -> None:
        self._lock, self._since, self._number = threading.Lock(), -math.inf, 0

    def say(self, sentence: str) -> None:
        """Log the sentence, or only count it."""
        now = time.monotonic()
        with self._lock:
            if now - self._since >= _WITHIN_S:
                self._say_how_many()
                self._since, self._number = now, 0
            self._number += 1
            if self._number <= _MOST_LINES:
                _log.warning("%s", sentence)

    def end(self) -> None:
        """Say what was only counted."""
        with self._lock:
            self._say_how_many()
            self._number = 0

    def _say_how_many(self) -> None:
        if self._number > _MOST_LINES:
            _log.warning("%d more connections were closed or turned away", self._number - _MOST_LINES)
