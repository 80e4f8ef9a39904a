"""Where a measurement puts its results: in a new place, or over its own results of an earlier time.

Results have many forms, so what is there is taken for an earlier time's where it has the form of what takes its place.
Every writer of this folder comes here.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectac_fast.errors import UsageError
from spectac_fast.outputs import OWN, PROGRAM, Kind, Permit, temporary

# What says in a picture whose it is.
MADE_BY = {"Software": PROGRAM}
_permit: ContextVar[Permit] = ContextVar("permit", default=OWN)


def allow(overwrite: bool) -> None:
    """Let results replace regular files of any origin from here on, or only earlier results."""
    _permit.set(Permit((), overwrite))


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to, which becomes `path`, with its folder made, on success.

    Where a file of another origin has the place, what was measured goes to a new name beside it, and UsageError says
    to which.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = temporary(path)
    try:
        yield part
        sentence = _permit.get().obstacle(path, _Alike(part.read_bytes()))
        target = _free(path) if sentence else path
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    if sentence:
        raise UsageError(f"{sentence} What was measured is in {target}.")


def write(path: Path, content: str | bytes) -> None:
    """Put text or bytes there, by `appearing`."""
    with appearing(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


@dataclass(frozen=True)
class _Alike:
    """Files of the form of `content`: JSON by its keys, arrays by their names, pictures by their mark, text by its
    first line."""

    content: bytes

    def is_own(self, content: bytes) -> bool:
        if content == self.content:
            return True
        if self.content.startswith(b"\x89PNG"):
            return Kind.PICTURE.is_own(content)
        if self.content.startswith(b"PK\3\4"):
            return _names(content) == _names(self.content) != []
        old, new = (_keys(each) for each in (content, self.content))
        if old or new:
            return bool(new) and 2 * len(old & new) >= max(1, len(old))
        return content.partition(b"\n")[0].strip() == self.content.partition(b"\n")[0].strip() != b""


def _keys(content: bytes) -> set[str]:
    """Of a JSON object, or of the first of a list of them; none of anything else."""
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError):
        return set()
    first = found[0] if isinstance(found, list) and found else found
    return set(first) if isinstance(first, dict) else set()


def _names(content: bytes) -> list[str]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return sorted(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return []


def _free(path: Path) -> Path:
    """A name beside `path` that nothing has."""
    number = 1
    while os.path.lexists(beside := path.with_name(f"{path.stem}-{number}{path.suffix}")):
        number += 1
    return beside
