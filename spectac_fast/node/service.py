"""The node at work: a receiver, one thread that corrects and one that sends, with the spool between them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.correct import correct_files
from spectac_fast.errors import SetupError, SpectacError, UsageError
from spectac_fast.node.forward import Away, Destination, Refused
from spectac_fast.node.receive import Receiver
from spectac_fast.node.spool import Spool

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator

_log = logging.getLogger(__name__)

_LONGEST_WAIT = 300.0


class Node:
    """Receives NC series, corrects each study when it is stable, and sends the AC series on.

    Args:
        receiver: where series come from; its spool holds what is under way.
        translator, steps, samples, seed: as for `correct_files`.
        destination: where AC series go; None leaves them in the spool's corrected/.
        stable_s: a study without a new object for so long is complete.
        first_wait_s: after a failure to send; each further wait is twice as long, up to five minutes.
        give_up_s: a job that could not be sent for so long goes to dead/.

    Killed at any moment and started again on the same spool, it goes on: objects have deterministic UIDs, so that one
    sent twice is one at the receiver.
    """

    def __init__(
        self,
        receiver: Receiver,
        translator: Translator,
        *,
        destination: Destination | None = None,
        steps: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        stable_s: float = 20.0,
        first_wait_s: float = 1.0,
        give_up_s: float = 48 * 3600.0,
    ) -> None:
        self.receiver, self.translator, self.destination = receiver, translator, destination
        self.spool: Spool = receiver.spool
        self._options = {"steps": steps, "samples": samples, "seed": seed}
        self.stable_s, self.first_wait_s, self.give_up_s = stable_s, first_wait_s, give_up_s
        self.error: Exception | None = None
        self._stop, self._sendable = threading.Event(), threading.Event()
        self._sendable.set()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin; raises SetupError where the port cannot be had."""
        self.receiver.start()
        work = [self._correct_all, *([self._send_all] if self.destination else [])]
        self._threads = [threading.Thread(target=self._guarded, args=(each,), daemon=True) for each in work]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Until `end` is called elsewhere or a thread cannot go on; raises what stopped it."""
        self._stop.wait()
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Let `wait` return; may be called by a signal handler."""
        self._stop.set()
        self._sendable.set()

    def stop(self) -> None:
        """Take nothing more, finish the study and the object under way."""
        self.end()
        self.receiver.stop()
        for thread in self._threads:
            thread.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.error = error
            self.end()

    def _correct_all(self) -> None:
        for job in self.spool.correcting():
            self._correct(job)
        while not self._stop.is_set():
            job = self.spool.take_stable(self.stable_s)
            if job is not None:
                self._correct(job)
            else:
                self._stop.wait(min(0.5, self.stable_s))

    def _correct(self, job: Path) -> None:
        if self._stop.is_set():
            return
        draft = self.spool.draft(job)
        try:
            report = correct_files([job], draft, self.translator, **self._options)
            failed = report.failed
        except (SetupError, UsageError):
            raise
        except SpectacError as reason:
            failed = [str(reason)]
        for left in [path for path in draft.rglob("*") if path.is_file() and path.suffix != ".dcm"]:
            left.unlink()
        self.spool.finish(job, draft, send=self.destination is not None, failed="\n".join(failed))
        _log.info("study %s: corrected%s", job.name, f", {len(failed)} failed" if failed else "")
        self._sendable.set()

    def _send_all(self) -> None:
        waits: dict[Path, tuple[float, float, float]] = {}
        while not self._stop.is_set():
            self._sendable.clear()
            now = time.monotonic()
            for job in self.spool.outgoing():
                first, due, wait = waits.get(job, (now, now, self.first_wait_s))
                if due > now or self._stop.is_set():
                    continue
                try:
                    self.destination.send(sorted(job.rglob("*.dcm")))
                except Refused as reason:
                    self._give_up(job, str(reason))
                except Away as reason:
                    if time.monotonic() - first > self.give_up_s:
                        self._give_up(job, str(reason))
                    else:
                        _log.warning("%s; again in %.0f s", reason, wait)
                        waits[job] = (first, time.monotonic() + wait, min(2 * wait, _LONGEST_WAIT))
                        continue
                else:
                    _remove_empty(job)
                    _log.info("study %s: sent", job.name)
                waits.pop(job, None)
            self._sendable.wait(min(self.first_wait_s, 1.0))

    def _give_up(self, job: Path, reason: str) -> None:
        _log.error("%s", reason)
        self.spool.bury(job, reason)


def _remove_empty(job: Path) -> None:
    for folder in sorted((each for each in job.rglob("*") if each.is_dir()), reverse=True):
        folder.rmdir()
    job.rmdir()
