"""Studies under way, on disk: a study moves from folder to folder by rename, so a killed node goes on where it was.

    incoming/STUDY/OBJECT.dcm    received, waiting until the study is stable
    correcting/JOB/...           taken to be corrected
    outgoing/JOB/...             corrected, waiting to be sent
    corrected/JOB/...            corrected, where there is nowhere to send to
    dead/JOB/...                 what could not be corrected or sent, with the reason in reason.txt

STUDY and OBJECT are hashes of UIDs, so no name from the network becomes a path and no name identifies anyone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from spectac_fast.errors import SetupError

_REASON = "reason.txt"
_STAGES = ("incoming", "correcting", "outgoing", "corrected", "dead")


class Spool:
    """The folders below `root`, for one process at a time until `close`; its threads may share it.

    Raises SetupError where the folders cannot be made, or are another node's.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.Lock()
        # What each study in incoming/ held when last looked at, and since when it has held just that.
        self._seen: dict[str, tuple[frozenset[tuple[str, int, int]], float]] = {}
        self._owned = FileLock(root / ".lock")
        try:
            for name in _STAGES:
                (root / name).mkdir(parents=True, exist_ok=True)
            self._owned.acquire(blocking=False)
            self._recover()
        except Timeout:
            raise SetupError(f"{root}: expected a spool of no other node, found one that is in use.") from None
        except OSError as error:
            raise SetupError(f"{root}: cannot keep studies here ({error.strerror}).") from None

    def close(self) -> None:
        """Let another node have the folders."""
        self._owned.release()

    def receive(self, study: str, instance: str, content: bytes) -> None:
        """Keep one object: it is on disk when this returns. Raises OSError, and nothing is kept then."""
        folder = self.root / "incoming" / _key(study)
        # Written outside, because the folder may be taken away to be corrected meanwhile.
        partial = self.root / "incoming" / f".{_key(instance)}.{threading.get_ident()}.tmp"
        try:
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with self._lock:
                folder.mkdir(exist_ok=True)
                os.replace(partial, folder / f"{_key(instance)}.dcm")
            _sync(folder)
            # The folder may be new.
            _sync(folder.parent)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def take_stable(self, seconds: float) -> Path | None:
        """Move the study unchanged for longest, at least `seconds`, to correcting/; None if there is none.

        What counts is how long this node has seen the same objects: the clock of the machine may be set meanwhile.
        """
        now = time.monotonic()
        with self._lock:
            seen = {}
            for folder in self._visible("incoming"):
                holds = _holds(folder)
                if not holds:
                    # Its first object was not kept, or not yet.
                    continue
                before, since = self._seen.get(folder.name, (None, now))
                seen[folder.name] = (holds, since if holds == before else now)
            self._seen = seen
            oldest = min(seen, key=lambda name: seen[name][1], default=None)
            if oldest is None or now - seen[oldest][1] < seconds:
                return None
            # A study that comes in again is another job: the first may still be under way.
            job = self.root / "correcting" / f"{oldest}.{time.time_ns()}"
            os.replace(self.root / "incoming" / oldest, job)
        _sync(job.parent)
        return job

    def correcting(self) -> list[Path]:
        """Jobs that were under way when the node was stopped."""
        return self._visible("correcting")

    def outgoing(self) -> list[Path]:
        """Jobs that wait to be sent, in the order in which they came."""
        return sorted(self._visible("outgoing"), key=lambda job: job.name.partition(".")[2])

    def draft(self, job: Path) -> Path:
        """An empty folder for the corrected files of `job`, which nobody sends yet."""
        draft = self.root / "outgoing" / f".{job.name}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        return draft

    def finish(self, job: Path, draft: Path, *, send: bool, failed: str = "") -> None:
        """Hand `draft` on; `job` is done with, or goes to dead/ with the sentences of `failed`."""
        target = self.root / ("outgoing" if send else "corrected") / job.name
        # There already after a kill between the two steps: with the same bytes, some of them perhaps being sent.
        if any(draft.rglob("*.dcm")) and not target.exists():
            # The source goes away next: the names in the draft must last before it, as the files do.
            for folder, _, _ in os.walk(draft):
                _sync(Path(folder))
            os.replace(draft, target)
            _sync(target.parent)
        else:
            shutil.rmtree(draft)
        if failed:
            self.bury(job, failed)
        else:
            _remove(job)

    def bury(self, job: Path, reason: str) -> None:
        """Move `job` to dead/ with the reason. Raises OSError, and it stays, where the disk has no room for that."""
        # First the reason: whatever is in dead/ says why.
        (job / _REASON).write_text(reason.rstrip("\n") + "\n")
        grave = self.root / "dead" / job.name
        if grave.exists():
            grave = grave.with_name(f"{grave.name}.{time.time_ns()}")
        os.replace(job, grave)

    def sent(self, job: Path) -> None:
        """Remove what is left of a job whose objects were all sent; what no sender takes goes to dead/."""
        left = [path for path in job.rglob("*") if path.is_file() and path.name != _REASON]
        if left:
            self.bury(job, f"{len(left)} files that are no DICOM objects were not sent.")
        else:
            _remove(job)

    def has_room(self, reserve: int) -> bool:
        """Whether more than `reserve` bytes are free."""
        return shutil.disk_usage(self.root).free > reserve

    def _visible(self, stage: str) -> list[Path]:
        return [each for each in (self.root / stage).iterdir() if each.is_dir() and not each.name.startswith(".")]

    def _recover(self) -> None:
        """Remove what a killed node left half-written; all of it can be made again."""
        for stage in ("incoming", "correcting", "outgoing"):
            for left in (self.root / stage).glob(".*"):
                remove: Callable[[Path], None] = shutil.rmtree if left.is_dir() else os.unlink
                with contextlib.suppress(OSError):
                    remove(left)
        for folder in self._visible("incoming"):
            # Only where it is empty.
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(job: Path) -> None:
    """At once, by a name that nobody looks for: a job of which only a part is left would be taken for another."""
    gone = job.with_name(f".{job.name}.gone")
    os.replace(job, gone)
    shutil.rmtree(gone, ignore_errors=True)


def _key(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def _holds(folder: Path) -> frozenset[tuple[str, int, int]]:
    """Name, file and time of every object in the folder: any that is added or replaced changes it."""
    with os.scandir(folder) as entries:
        return frozenset((each.name, each.inode(), each.stat().st_mtime_ns) for each in entries)


def _sync(folder: Path) -> None:
    """Make the names in the folder as lasting as the files; its removal meanwhile is somebody's progress."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
