"""Result files: they appear complete or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectac_fast.errors import SetupError


def output_folder(path: Path) -> Path:
    """Make a folder for results and check that files can be written there.

    Raises:
        SetupError: it cannot be made or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise SetupError(f"{path}: expected a folder to write results to, found {error.strerror.lower()}.") from error
    return path


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; it becomes ``path`` on success and vanishes on failure."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
