"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from spectac_fast.outputs import temporary


def stage_bytes(content: bytes | memoryview, path: Path) -> Path:
    """Write `content` to a temporary file beside `path`, onto the disk, and return it; the caller renames it.

    Missing folders are made. Raises OSError, and leaves nothing behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = temporary(path)
    try:
        with open(staged, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    return staged
