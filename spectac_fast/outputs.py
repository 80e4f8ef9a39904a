"""Where a file of this program may appear: in a new place, or over an older file that this program wrote itself.

What was given as an input, a manifest, a device, a folder and what a link leads to are never replaced; any other
regular file is where the user says so. Every writer asks here, and files appear whole or not at all.
"""

from __future__ import annotations

import glob
import gzip
import io
import json
import os
import secrets
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO, Any, Protocol

from spectac_fast._version import __version__
from spectac_fast.errors import SetupError, UsageError

# What files of this program say of themselves, each form in its own place.
PROGRAM = "spectac_fast"
NOTICE = "Research software, not a medical device: not for diagnosis."
# Names of the records of what is finished; a run appends to them, and nothing else may touch them.
_MANIFEST = "spectac-manifest"
# Nothing that this program writes and would have to recognise is larger.
_LARGEST = 2**30
# Of the larger files the mark stands at the beginning.
_HEAD = 2**20


def _page(content: bytes) -> bool:
    return f'<meta name="generator" content="{PROGRAM}'.encode() in content[:_HEAD]


def _picture(content: bytes) -> bool:
    """PNG with a text chunk, TIFF with a tag, that name the program."""
    head = content.startswith((b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*"))
    return head and any(mark in content for mark in (f"Software\0{PROGRAM}".encode(), f"{PROGRAM}\0".encode()))


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _json(content: bytes) -> bool:
    found = _parsed(content)
    if not isinstance(found, dict):
        return False
    card, head = found.get("card"), found.get("head")
    versions = PROGRAM in found or found.get("library_name") == PROGRAM or (isinstance(card, dict) and PROGRAM in card)
    return found.get("notice") == NOTICE or versions or (isinstance(head, dict) and "metric_profile" in head)


def _object(content: bytes) -> bool:
    """DICOM that this program encoded and of which it says that it also made the pixels."""
    written = content[128:132] == b"DICM" and PROGRAM.upper().encode() in content[132:1024]
    return written and f"{PROGRAM} project".encode() in content


def _weights(content: bytes) -> bool:
    length = int.from_bytes(content[:8], "little")
    return f'"{PROGRAM}":'.encode() in content[8 : 8 + min(length, _HEAD)]


def _checkpoint(content: bytes) -> bool:
    """An archive of torch.save with a record more than it writes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.endswith(f"/{PROGRAM}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, EOFError):
        return False


def mark_checkpoint(file: Path | IO[bytes]) -> None:
    """Say in an archive of torch.save whose it is, in a record of which torch.load takes no notice."""
    with zipfile.ZipFile(file, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(zipfile.ZipInfo(f"{folder}/{PROGRAM}"), __version__)


def _card(content: bytes) -> bool:
    """A model card, after what a hub puts before it."""
    return b"# Model card: " in content[:_HEAD] and b"not a medical device" in content[:_HEAD].lower()


def _table(content: bytes) -> bool:
    heads = (b"# NC to AC: results on ", b"row,region,metric,value,", b"patient,phase,plane,NC,AC,in no pair")
    return content.startswith(heads)


def _volume(content: bytes) -> bool:
    """NIfTI whose description names the program; the others' forms have no place for a name."""
    try:
        raw = zlib.decompressobj(31).decompress(content, 1024) if content.startswith(b"\x1f\x8b") else content[:1024]
    except (zlib.error, gzip.BadGzipFile):
        return False
    return f"By {PROGRAM}".encode() in raw


def _log(content: bytes) -> bool:
    """The diary of a training run: an object a line, each of a step; empty before the first."""
    first = _parsed(content.partition(b"\n")[0])
    return not content or (isinstance(first, dict) and "step" in first)


class Form(Protocol):
    """Tells files of this program from others."""

    def is_own(self, content: bytes) -> bool: ...


class Kind(Enum):
    """What is written, and how a file that this program wrote in that form is told by its content."""

    PAGE = (_page,)
    PICTURE = (_picture,)
    JSON = (_json,)
    OBJECT = (_object,)
    WEIGHTS = (_weights,)
    CHECKPOINT = (_checkpoint,)
    TABLE = (_table,)
    VOLUME = (_volume,)
    LOG = (_log,)
    CARD = (_card,)

    def is_own(self, content: bytes) -> bool:
        recognise: Callable[[bytes], bool] = self.value[0]
        return recognise(content)


@dataclass(frozen=True)
class Permit:
    """What a command may replace besides its own older files.

    inputs: what it was given to read, which it may not: files, folders with all below, archives, patterns. overwrite:
    whether the user said that files of others may be replaced.
    """

    inputs: tuple[Path, ...] = ()
    overwrite: bool = False

    def obstacle(self, path: Path, kind: Form | None) -> str:
        """The sentence on why no file may be written to `path`; "" where one may.

        kind: of the file; None where a file of this program cannot be told from others.
        """
        return _obstacle(path, kind, self.inputs, self.overwrite)

    def check(self, path: Path, kind: Form | None) -> None:
        """Raise UsageError, with that sentence, where a file that an option names may not be written."""
        sentence = self.obstacle(path, kind)
        if sentence:
            raise UsageError(sentence)


# New files, and the program's own.
OWN = Permit()


def _obstacle(path: Path, kind: Form | None, inputs: Sequence[Path], overwrite: bool) -> str:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        found = None
    except (OSError, ValueError) as error:
        return f"{path}: expected the name of a file to write, found {_reason(error)}."
    expected = f"{path}: expected a new file or one that {PROGRAM} wrote in this form"
    if is_manifest(path):
        return f"{expected}, found the name of a manifest, which is never replaced."
    if found is None:
        return ""
    if not stat.S_ISREG(found.st_mode):
        return f"{expected}, found {_called(found.st_mode)}, which is never replaced."
    if any(_is_same(path, each) for each in inputs):
        return f"{expected}, found an input, which is never replaced."
    if kind is not None and found.st_size <= _LARGEST and kind.is_own(_content(path)):
        return ""
    if any(_holds(each, path) for each in inputs):
        return f"{expected}, found one of another origin among the inputs, which is never replaced."
    return "" if overwrite else f"{expected}, found one of another origin; --overwrite replaces it."


def check_folder(path: Path) -> None:
    """Raise SetupError if `path` is not, or cannot become, a folder to write to. Makes nothing."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        raise SetupError(f"{path}: expected a folder to write to, found {_reason(error)}.") from None
    nearest = next(folder for folder in (path, *path.absolute().parents) if os.path.lexists(folder))
    if not nearest.is_dir():
        raise SetupError(f"{path}: expected a folder to write to, found that {nearest} is not a folder.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise SetupError(f"{path}: expected a folder to write to, found that {nearest} does not allow it.")


def output_folder(path: Path) -> Path:
    """Make a folder for results and check that files can be written there; raises SetupError where not."""
    check_folder(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise SetupError(f"{path}: expected a folder to write results to, found {_reason(error)}.") from None
    return path


def temporary(path: Path) -> Path:
    """A name beside `path` that nobody has or foresees: a link put there would lead what is written elsewhere."""
    return path.with_name(f".{path.name}.tmp-{secrets.token_hex(5)}")


def is_manifest(path: Path) -> bool:
    """Whether a path has the name of a record of what is finished."""
    return path.name.startswith(_MANIFEST) and path.suffix == ".jsonl"


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it becomes `path` on success and vanishes on failure."""
    part = temporary(path)
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _reason(error: OSError | ValueError) -> str:
    """What is wrong with a name or a place, to stand after "found"."""
    said = error.strerror if isinstance(error, OSError) else None
    return said[:1].lower() + said[1:] if said else "a name that no file can have"


def _called(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
        stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    }  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "something else")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        # What cannot be read cannot be told to be our own.
        return b""


def _is_same(path: Path, given: Path) -> bool:
    try:
        return os.path.samefile(path, given)
    except (OSError, ValueError):
        return False


def _holds(given: Path, path: Path) -> bool:
    """Whether an existing file is at or below what was given to be read: a folder, a disc's directory, a pattern."""
    target = os.path.realpath(path)
    if glob.has_magic(str(given)) and not os.path.lexists(given):
        return any(_is_same(path, Path(match)) for match in glob.iglob(str(given), recursive=True))
    folder = given.parent if given.name == "DICOMDIR" else given
    root = os.path.realpath(folder)
    return os.path.isdir(folder) and os.path.commonpath([root, target]) == root
