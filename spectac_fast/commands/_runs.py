"""What commands that work through a night's files have in common: how they are stopped, and what is reported then."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.errors import SpectacError

if TYPE_CHECKING:
    from spectac_fast.correct.corrector import Corrector
    from spectac_fast.correct.physics.reconstructor import Reconstructor
    from spectac_fast.correct.report import Report
    from spectac_fast.outputs import Permit


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second ends the command at once."""
    stop = threading.Event()

    def ask(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def reported(report: Report, path: Path | None, by: Corrector | Reconstructor, permit: Permit) -> Iterator[None]:
    """Write the report to `path`, unless it is None, however the work within ends; it says what ended it."""
    failure: SpectacError | None = None
    try:
        yield
    except SpectacError as error:
        failure = error
        raise
    except KeyboardInterrupt:
        report.interrupted = True
        raise
    finally:
        if path:
            report.write(path, by, failure, permit)
