"""The node at work: a receiver, one thread that corrects and one that sends, with the spool between them."""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectac_fast.correct import correct_files
from spectac_fast.errors import InputError, NoInputError, SetupError, SpectacError, UsageError
from spectac_fast.formats.series import NOTHING, Told
from spectac_fast.node.forward import Away, Destination
from spectac_fast.node.receive import Receiver
from spectac_fast.node.spool import Spool

if TYPE_CHECKING:
    from spectac_fast.correct.physics.reconstructor import Reconstructor
    from spectac_fast.models.translator import Translator

_log = logging.getLogger(__name__)

_LONGEST_WAIT = 300.0


class Node:
    """Receives NC series, corrects each study when it is stable, and sends the AC series on.

    Args:
        receiver: where series come from; its spool holds what is under way.
        translator, steps, samples, seed, told: as for `correct_files`.
        projections: makes slices of the projections in a study, which are sent as the AC series are; None leaves
            projections alone.
        destination: where AC series go; None leaves them in the spool's corrected/.
        stable_s: a study without a new object for so long is complete.
        first_wait_s: after a failure to send; each further wait is twice as long, up to five minutes.
        give_up_s: a job that could not be sent for so long goes to dead/.

    Killed at any moment and started again on the same spool, it goes on: objects have deterministic UIDs, so that one
    sent twice is one at the receiver. A disk that is full, memory that is short and a receiver that is away are waited
    for; a job that will never do goes to dead/ with the reason.
    """

    def __init__(
        self,
        receiver: Receiver,
        translator: Translator,
        *,
        projections: Reconstructor | None = None,
        destination: Destination | None = None,
        steps: int | None = None,
        samples: int | None = None,
        seed: int = 0,
        told: Told = NOTHING,
        stable_s: float = 20.0,
        first_wait_s: float = 1.0,
        give_up_s: float = 48 * 3600.0,
    ) -> None:
        self.receiver, self.translator, self.destination = receiver, translator, destination
        self.projections = projections
        self.spool: Spool = receiver.spool
        self._options: dict[str, Any] = {"steps": steps, "samples": samples, "seed": seed, "told": told}
        self.stable_s, self.first_wait_s, self.give_up_s = stable_s, first_wait_s, give_up_s
        self.error: Exception | None = None
        self._stop, self._sendable = threading.Event(), threading.Event()
        self._sendable.set()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin; raises SetupError where the port cannot be had."""
        self.receiver.start()
        work: list[Callable[[], None]] = [self._correct_all]
        if self.destination:
            work.append(functools.partial(self._send_all, self.destination))
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
        self.spool.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.error = error
            self.end()

    def _correct_all(self) -> None:
        retry = _Retry(self.first_wait_s, self.give_up_s)
        while not self._stop.is_set():
            job = self._next(retry)
            if job is not None:
                self._persist(retry, job, self._correct)
                self._sendable.set()
            else:
                self._stop.wait(min(0.5, self.stable_s))

    def _next(self, retry: _Retry) -> Path | None:
        """A job to correct: one that was under way when the node was stopped, or that failed; else a stable study."""
        try:
            waiting = [job for job in self.spool.correcting() if retry.is_due(job)]
            return waiting[0] if waiting else self.spool.take_stable(self.stable_s)
        except OSError as error:
            _log.error("the spool cannot be used (%s)", error.strerror)
            return None

    def _correct(self, job: Path) -> None:
        draft = self.spool.draft(job)
        failed, nothing = list[str](), list[str]()
        routes = [self._by_images, *([self._by_projections] if self.projections is not None else [])]
        for route in routes:
            try:
                failed += route(job, draft)
            except InputError as reason:
                failed.append(str(reason))
            except NoInputError as reason:
                nothing.append(str(reason))
        # What one route has no use for is the other's.
        failed += nothing if len(nothing) == len(routes) else []
        for left in [path for path in draft.rglob("*") if path.is_file() and path.suffix != ".dcm"]:
            left.unlink()
        self.spool.finish(job, draft, send=self.destination is not None, failed="\n".join(failed))
        _log.info("study %s: corrected%s", job.name, f", {len(failed)} failed" if failed else "")

    def _by_images(self, job: Path, draft: Path) -> list[str]:
        """Correct the NC slices of a study; sentences on what failed."""
        return correct_files([job], draft, self.translator, **self._options).failed

    def _by_projections(self, job: Path, draft: Path) -> list[str]:
        """Reconstruct the projections of a study; sentences on what failed. Raises NoInputError where it has none."""
        assert self.projections is not None
        results = list(self.projections.run(self.projections.plan([job], draft / "reconstructed")))
        for warning in (text for result in results for text in result.warnings):
            _log.warning("%s", warning)
        failed = [text for result in results for text in result.failed]
        if not failed and not any(result.written for result in results):
            raise NoInputError(f"{job}: expected projections (NM TOMO), found none.")
        return failed

    def _send_all(self, destination: Destination) -> None:
        send = functools.partial(self._send, destination)
        retry = _Retry(self.first_wait_s, self.give_up_s)
        while not self._stop.is_set():
            self._sendable.clear()
            try:
                jobs = self.spool.outgoing()
            except OSError as error:
                _log.error("the spool cannot be used (%s)", error.strerror)
                jobs = []
            for job in jobs:
                if retry.is_due(job) and not self._stop.is_set():
                    self._persist(retry, job, send)
            self._sendable.wait(min(self.first_wait_s, 1.0))

    def _send(self, destination: Destination, job: Path) -> None:
        destination.send(sorted(job.rglob("*.dcm")))
        self.spool.sent(job)
        _log.info("study %s: sent", job.name)

    def _persist(self, retry: _Retry, job: Path, work: Callable[[Path], None]) -> None:
        """Do the work on a job; what may pass with time is tried again, and what will not is set aside with its reason.

        One job never ends the node; options that no study can be corrected with do.
        """
        try:
            work(job)
        except UsageError:
            raise
        except (Away, SetupError, OSError, MemoryError) as reason:
            sentence = _sentence(job, reason)
            wait = retry.postpone(job)
            if wait is not None:
                _log.warning("%s; again in %.0f s", sentence, wait)
                return
        except Exception as reason:
            sentence = _sentence(job, reason)
        else:
            retry.forget(job)
            return
        _log.error("%s", sentence)
        try:
            self.spool.bury(job, sentence)
        except OSError as error:
            _log.error("study %s: cannot be set aside (%s)", job.name, error.strerror)
            retry.postpone(job)
        else:
            retry.forget(job)


class _Retry:
    """When jobs are due again: each wait is twice as long as the one before, up to five minutes."""

    def __init__(self, first_wait_s: float, give_up_s: float) -> None:
        self._first_wait_s, self._give_up_s = first_wait_s, give_up_s
        self._waits: dict[Path, tuple[float, float, float]] = {}

    def is_due(self, job: Path) -> bool:
        return job not in self._waits or self._waits[job][1] <= time.monotonic()

    def postpone(self, job: Path) -> float | None:
        """Seconds until the job is due again; None where it was tried for long enough."""
        now = time.monotonic()
        first, _, wait = self._waits.get(job, (now, now, self._first_wait_s))
        self._waits[job] = (first, now + wait, min(2 * wait, _LONGEST_WAIT))
        return wait if now - first <= self._give_up_s else None

    def forget(self, job: Path) -> None:
        self._waits.pop(job, None)


def _sentence(job: Path, reason: BaseException) -> str:
    """What happened, without values of a file: errors that are not of this package may quote them."""
    if isinstance(reason, SpectacError):
        return str(reason)
    return f"study {job.name}: {getattr(reason, 'strerror', None) or type(reason).__name__}"
