"""Folders and patterns -> files: each once, and a sentence for whatever cannot be looked into."""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

# Takes a sentence about something that could not be searched or read.
Trouble = Callable[[str], None]

# Where the letters DICM end, after the preamble.
PART10 = 132
ARCHIVE = ".zip"
_ENDINGS = {".dcm", ".dicom", ".ima"}


def dicom_files(folder: Path, trouble: Trouble) -> tuple[list[Path], list[Path]]:
    """Every DICOM Part 10 file below `folder`, sorted; told by the four letters after the preamble, not by the name.

    Apart, what is `left_out`: those whose names begin with a dot, other systems' by-products and the remains of killed
    runs, and zip archives. `trouble` gets a sentence for each file and folder that cannot be read, and for each file
    that is DICOM by its name alone: a copy that was cut off may be empty.
    """
    found: tuple[list[Path], list[Path]] = ([], [])
    for path in files_below(folder, trouble):
        head = _head(path, trouble)
        if head is not None and is_part10(head, path, trouble):
            found[_is_hidden(path)].append(path)
        elif path.suffix.lower() == ARCHIVE and not _is_hidden(path):
            found[1].append(path)
    return found


def left_out(path: Path) -> str:
    """The sentence for a hidden DICOM file, or for an archive."""
    reason = "its name begins with a dot" if _is_hidden(path) else "an archive is opened where it is named"
    return f"{path}: left out, since {reason}; name the file itself to have it corrected."


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".")


def is_part10(head: bytes, path: Path, trouble: Trouble) -> bool:
    """Whether a file of that name begins as DICOM Part 10 says, in `PART10` bytes; a sentence if it only says so."""
    if head[128:] == b"DICM":
        return True
    if path.suffix.lower() in _ENDINGS and not _is_hidden(path):
        trouble(f"{path}: expected DICOM, as its name says, found a file that does not begin so.")
    return False


def _head(path: Path, trouble: Trouble) -> bytes | None:
    """The preamble of a file and the letters after it; None, and a sentence, where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(PART10)
    except OSError as error:
        trouble(f"{path}: cannot be read ({error.strerror}).")
        return None


def files_below(folder: Path, trouble: Trouble) -> list[Path]:
    """Every regular file below `folder`, sorted; links are followed, and whatever several lead to comes once."""
    found: dict[tuple[int, int], Path] = {}
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    # What is there itself comes first, so that a file keeps its own path whatever links to it.
    while waiting:
        links: list[Path] = []
        for path in waiting:
            links += _collect(path, found, entered, trouble)
        waiting = sorted(links)
    return sorted(found.values())


def _collect(
    start: Path, found: dict[tuple[int, int], Path], entered: set[tuple[int, int]], trouble: Trouble
) -> list[Path]:
    """Put the files at and below `start` into `found`; returns the links that were come upon."""
    links: list[Path] = []
    stack = [start]
    while stack:
        path = stack.pop()
        try:
            status = path.stat()
            key = (status.st_dev, status.st_ino)
            if stat.S_ISREG(status.st_mode):
                found.setdefault(key, path)
            elif stat.S_ISDIR(status.st_mode) and key not in entered:
                entered.add(key)
                with os.scandir(path) as entries:
                    for entry in entries:
                        (links if entry.is_symlink() else stack).append(path / entry.name)
            elif not stat.S_ISDIR(status.st_mode):
                trouble(f"{path}: cannot be read (a pipe, a socket or a device).")
        except OSError as error:
            trouble(f"{path}: cannot be searched ({error.strerror}).")
    return links


def is_pattern(path: Path) -> bool:
    """Whether a path has wildcards and is not the name of something."""
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def matches(pattern: Path, trouble: Trouble) -> list[Path]:
    """What matches a pattern, sorted, with the meaning of `glob.glob(recursive=True)`.

    But a folder that a link leads back to is entered once, so that ** comes to an end.
    """
    parts = pattern.parts
    plain = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    base = Path(*parts[:plain])
    return sorted(set(_matching(base, parts[plain:], set(), trouble))) if os.path.isdir(base) else []


def _matching(
    folder: Path, parts: tuple[str, ...], entered: set[tuple[int, int, int]], trouble: Trouble
) -> Iterator[Path]:
    if not parts:
        yield folder
    elif not glob.has_magic(parts[0]):
        if os.path.lexists(folder / parts[0]):
            yield from _matching(folder / parts[0], parts[1:], entered, trouble)
    elif parts[0] == "**":
        # ** at the end matches what is below, files too.
        yield from _matching(folder, parts[1:], entered, trouble)
        for path in _listed(folder, entered, len(parts), trouble):
            if not _is_hidden(path):
                if path.is_dir():
                    yield from _matching(path, parts, entered, trouble)
                elif len(parts) == 1:
                    yield path
    else:
        for path in _listed(folder, entered, len(parts), trouble):
            visible = not _is_hidden(path) or parts[0].startswith(".")
            if visible and fnmatch.fnmatch(path.name, parts[0]):
                yield from _matching(path, parts[1:], entered, trouble)


def _listed(folder: Path, entered: set[tuple[int, int, int]], left: int, trouble: Trouble) -> list[Path]:
    """What is in the folder, sorted; nothing where so many parts of the pattern were tried there before."""
    try:
        status = folder.stat()
        key = (status.st_dev, status.st_ino, left)
        if key in entered or not stat.S_ISDIR(status.st_mode):
            return []
        entered.add(key)
        return sorted(folder.iterdir())
    except OSError as error:
        trouble(f"{folder}: cannot be searched ({error.strerror}).")
        return []
