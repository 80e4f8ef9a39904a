"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def stage_bytes(content: bytes | memoryview, path: Path) -> Path:
    """Write `content` to a temporary file beside `path`, onto the disk, and return it; the caller renames it.

    Missing folders are made. Raises OSError, and leaves nothing behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with open(staged, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return staged
