"""What is finished in an output folder: a line for every study, written before its files come into their places.

The line names the sources with their content hashes, the settings, and every output with its hash. It is written when
temporary files beside the outputs' places hold them already. A run that is killed at any moment therefore leaves, for
each study, either no line (it is corrected again), or a line and complete files, in their places or one rename away.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import stat
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Any

from spectac_fast.data.study import kind_of_output
from spectac_fast.errors import SetupError
from spectac_fast.outputs import OWN, Permit

try:
    import fcntl
except ImportError:  # Only POSIX systems can lock; elsewhere two runs into one folder are the user's care.
    fcntl = None  # type: ignore[assignment]

NAME = "spectac-manifest"
FORMAT = 1
# 0 where no network was at work.
_BATCH_SIZES = (0, 1, 2, 4, 8, 16, 32, 64)
# Bytes; of a study of thousands of files.
_LONGEST_LINE = 16 * 2**20

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """A corrected file: its path below the output folder, and the hash of its content."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Entry:
    """A finished study.

    settings: hash of everything but the sources that the bytes depend on. sources: name -> SHA-256 of the content.
    batch_size: of the network's runs. skipped, failed: sentences for the sources without output.
    """

    settings: str
    sources: Mapping[str, str]
    outputs: tuple[Output, ...]
    batch_size: int
    skipped: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, frozenset[tuple[str, str]]]:
        return self.settings, frozenset(self.sources.items())


@dataclass
class Manifest:
    """The manifests of an output folder: all of them are read, that of this shard is written.

    out: the folder. shard: (index from 1, number of shards). Raises SetupError for a manifest that cannot be read.
    """

    out: Path
    shard: tuple[int, int] = (1, 1)
    _entries: dict[Any, Entry] = field(default_factory=dict)
    _file: FileIO | None = None
    _writing: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        try:
            for path in sorted(self.out.glob(f"{NAME}*.jsonl")):
                self._read(path)
        except OSError as error:
            raise SetupError(f"{self.out}: cannot read the manifest here ({error.strerror}).") from error

    def _read(self, path: Path) -> None:
        _check_regular(path)
        foreign = 0
        with open(path, "rb") as file:
            # A line that is longer ends in pieces, none of which is an entry.
            while line := file.readline(_LONGEST_LINE):
                entry = _parse(line)
                if entry is not None:
                    self._entries[entry.key] = entry
                # The last line of a killed run has no end.
                foreign += entry is None and line.endswith(b"\n")
        if foreign:
            _log.warning("%s: %d lines are not as a run writes them; their studies are corrected again.", path, foreign)

    def batch_size(self, settings: str) -> int | None:
        """The batch size of earlier studies with these settings, with which the same bytes come out; None if none."""
        return next((entry.batch_size for entry in self._entries.values() if entry.settings == settings), None)

    def finished(self, settings: str, sources: Mapping[str, str]) -> Entry | None:
        """The entry of a study whose outputs are all in place, after finishing a rename that was interrupted."""
        entry = self._entries.get((settings, frozenset(sources.items())))
        if entry is None or not all(self._in_place(output) for output in entry.outputs):
            return None
        return entry

    def outputs(self) -> set[str]:
        """Every file that earlier runs made, with whatever settings."""
        return {output.file for entry in self._entries.values() for output in entry.outputs}

    def obstacle(self, path: Path, permit: Permit) -> str:
        """Why a corrected file may not be written to `path`, as `Permit.obstacle` says it; "" where it may.

        What an earlier run has put there is its own, whatever form it has.
        """
        sentence = permit.obstacle(path, kind_of_output(path))
        if not sentence or os.path.islink(path):
            return sentence
        digest = file_sha256(path)
        made = (output for entry in self._entries.values() for output in entry.outputs)
        return "" if any(self.out / each.file == path and each.sha256 == digest for each in made) else sentence

    def record(self, entry: Entry) -> None:
        """Write a line, unless it is there, and see it onto the disk.

        Raises OSError, and leaves no part of a line, where that fails.
        """
        if self._entries.get(entry.key) == entry:
            return
        line = json.dumps({"format": FORMAT, **asdict(entry)}, sort_keys=True).encode() + b"\n"
        with self._writing:
            file = self._opened()
            end = file.seek(0, os.SEEK_END)
            try:
                # A full disk may take a part of it before it says so.
                while line:
                    line = line[file.write(line) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
            self._entries[entry.key] = entry

    def lock(self) -> None:
        """Be the only run that writes this manifest; SetupError if another one does, or the folder is not writable."""
        with self._writing:
            self._opened()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> FileIO:
        if self._file is None:
            index, count = self.shard
            path = self.out / (f"{NAME}.jsonl" if count == 1 else f"{NAME}.{index}of{count}.jsonl")
            try:
                self.out.mkdir(parents=True, exist_ok=True)
                if os.path.lexists(path):
                    _check_regular(path)
                file = open(path, "ab+", buffering=0)  # noqa: SIM115
            except OSError as error:
                raise SetupError(f"{self.out}: cannot write the manifest here ({error.strerror}).") from error
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                raise SetupError(f"{path}: expected to be the only run that writes here, found another one.") from None
            self._file = file
            self._check_division()
            _end_line(file)
        return self._file

    def _check_division(self) -> None:
        """Raise SetupError where another run divides the studies into another number of shards, and so meets ours."""
        own = f".{self.shard[0]}of{self.shard[1]}" if self.shard[1] > 1 else ""
        for path in sorted(self.out.glob(f"{NAME}*.jsonl")):
            name = path.name[len(NAME) : -len(".jsonl")]
            if name.partition("of")[2] != own.partition("of")[2] and _is_locked(path):
                self.close()
                raise SetupError(
                    f"{self.out}: expected shards of one division, found another run whose manifest is {path.name}."
                )

    def _in_place(self, output: Output) -> bool:
        file = self.out / output.file
        if file_sha256(file) == output.sha256:
            return True
        for staged in staged_files(file):
            if file_sha256(staged) == output.sha256 and not self.obstacle(file, OWN):
                self.lock()
                os.replace(staged, file)
                return True
        return False


def staged_files(file: Path) -> list[Path]:
    """The temporary files (`formats.dicom.stage`) that wait for a rename to `file`, or were left by a killed run."""
    return list(file.parent.glob(f".{glob.escape(file.name)}.tmp-*"))


def settings_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings, whatever their order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str | None:
    """SHA-256 of a file's content, None where there is no such file: a pipe would be waited for without end."""
    if not os.path.isfile(path):
        return None
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _end_line(file: FileIO) -> None:
    """After a line that a killed run left half written, begin a new one."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")


def _is_locked(path: Path) -> bool:
    """Whether a run writes this manifest."""
    if fcntl is None:
        return False
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _check_regular(path: Path) -> None:
    """Raise SetupError for a manifest that is a link, a device, a pipe or a folder."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        raise SetupError(f"{path}: expected a manifest, a regular file, found something else.")


def _parse(line: bytes) -> Entry | None:
    """The entry of a line, or None for a torn, foreign or edited one: its study is then corrected again."""
    try:
        values = json.loads(line)
        if values.pop("format") != FORMAT:
            return None
        outputs = tuple(Output(**output) for output in values.pop("outputs"))
        skipped, failed = (tuple(values.pop(key)) for key in ("skipped", "failed"))
        entry = Entry(outputs=outputs, skipped=skipped, failed=failed, **values)
        return entry if _is_plausible(entry) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_plausible(entry: Entry) -> bool:
    """Whether everything in an entry is of the type and in the range in which a run writes it."""
    texts = [entry.settings, *entry.skipped, *entry.failed, *entry.sources.keys(), *entry.sources.values()]
    texts += [text for output in entry.outputs for text in (output.file, output.sha256)]
    if not all(isinstance(text, str) for text in texts) or type(entry.batch_size) is not int:
        return False
    below = [PurePosixPath(output.file) for output in entry.outputs]
    within = not any(path.is_absolute() or ".." in path.parts or "\0" in str(path) or not path.name for path in below)
    # Nothing is recorded of a study of which nothing was written.
    return bool(below) and within and entry.batch_size in _BATCH_SIZES
