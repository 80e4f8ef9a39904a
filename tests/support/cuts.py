"""A process that is cut off, or finds no room, at a chosen one of all its steps that change what is on the disk."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import threading
from pathlib import Path


def kill():
    """As a power cut: nothing is told, nothing is cleared away."""
    os.kill(os.getpid(), signal.SIGKILL)


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Steps:
    """Counts the steps below `root` from 1 on, and calls `act` in the place of each of which `at(number)` holds.

    A step is a file made or a piece written to it, a folder made, a name changed or removed, and an fsync. The first
    half of a piece is written before `act`: so end files. needing_room: only steps count that may need more of the
    disk. names: what each step was, with the name of what it was done to.
    """

    def __init__(self, root, at, act, *, needing_room=False):
        self._root, self._at, self._act, self._needing_room = os.path.realpath(root), at, act, needing_room
        self._lock, self.names = threading.Lock(), []

    def install(self, put=setattr):
        """For good, or for as long as `put`, which is called as setattr is, says."""
        for name in ("mkdir", "replace", "rename", "fsync"):
            put(os, name, self._wrapped(getattr(os, name), name))
        if not self._needing_room:
            for name in ("unlink", "remove", "rmdir"):
                put(os, name, self._wrapped(getattr(os, name), name))
        opening = self._opening(builtins.open)
        put(builtins, "open", opening)
        put(io, "open", opening)

    def due(self, name, place):
        """Whether the step that comes now is one to act at."""
        if os.path.commonpath([self._root, place]) != self._root:
            return False
        with self._lock:
            self.names.append(f"{name} {os.path.relpath(place, self._root)}")
            return self._at(len(self.names))

    def act(self):
        self._act()

    def _wrapped(self, real, name):
        def wrapped(*args, **options):
            place = _place(args[1] if name in ("replace", "rename") else args[0], options.get("dir_fd"))
            changes = name != "mkdir" or not os.path.lexists(place)
            if changes and self.due(name, place):
                self._act()
            return real(*args, **options)

        return wrapped

    def _opening(self, real):
        def wrapped(file, mode="r", *args, **options):
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return real(file, mode, *args, **options)
            place = _place(file, None)
            if self.due("open", place):
                self._act()
            return _Counted(real(file, mode, *args, **options), place, self)

        return wrapped


class _Counted:
    """A file each piece of which is a step."""

    def __init__(self, file, place, steps):
        self._file, self._place, self._steps = file, place, steps

    def __getattr__(self, name):
        return getattr(self._file, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __iter__(self):
        return iter(self._file)

    def write(self, content):
        if self._steps.due("write", self._place):
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            self._steps.act()
        return self._file.write(content)


def _place(path, folder):
    """The real path of what a call names, the last link unresolved."""
    if isinstance(path, int):
        return os.path.realpath(f"/proc/self/fd/{path}")
    path = Path(os.fsdecode(path))
    if folder is not None and not path.is_absolute():
        path = Path(os.path.realpath(f"/proc/self/fd/{folder}")) / path
    return os.path.join(os.path.realpath(path.parent), path.name)
