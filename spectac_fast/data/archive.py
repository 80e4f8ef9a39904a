"""Zip archives -> their DICOM files; nothing is unpacked, and a member that cannot be used costs only itself."""

from __future__ import annotations

import functools
import lzma
import mmap
import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from spectac_fast.data.search import ARCHIVE, PART10, Trouble, is_part10
from spectac_fast.errors import InputError

# More than a hospital's year; a list of them still fits in memory.
MAX_MEMBERS = 200_000
# What zipfile raises: for an encrypted member and an unknown method RuntimeError, for a missing one KeyError.
_DAMAGED = (
    OSError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError, KeyError,
    ValueError, EOFError, OverflowError, MemoryError,
)  # fmt: skip
_ENCRYPTED = 0x1
# A member's header, its entry in the directory, the directory's end; the bit that says that a name is UTF-8.
_HEADER, _ENTRY, _END, _UTF8 = b"PK\3\4", b"PK\1\2", b"PK\5\6", 0x08


def is_archive(path: Path) -> bool:
    return os.path.isfile(path) and path.suffix.lower() == ARCHIVE


def dicom_members(archive: Path, trouble: Trouble) -> Iterator[Path]:
    """The DICOM files in an archive, as the archive's path and the member's name, in the order of the names.

    `trouble` gets a sentence for each that is not given: damaged, encrypted, hidden, named twice, leading outside.
    """
    try:
        with _zip_file(archive) as opened:
            members = sorted((info for info in opened.infolist() if not info.is_dir()), key=lambda i: i.filename)
            if len(members) > MAX_MEMBERS:
                trouble(f"{archive}: expected at most {MAX_MEMBERS} files, found {len(members)}.")
                return
            times = Counter(info.filename for info in members)
            for info in members:
                if _is_dicom(opened, info, archive, trouble):
                    fault = _fault(info.filename, times)
                    if fault:
                        trouble(f"{archive / _shown(info.filename)}: {fault}")
                    else:
                        yield archive / info.filename
    except _DAMAGED as error:
        trouble(f"{archive}: the archive cannot be read ({_called(error)}).")


def _is_dicom(opened: zipfile.ZipFile, info: zipfile.ZipInfo, archive: Path, trouble: Trouble) -> bool:
    try:
        with opened.open(info) as file:
            return is_part10(file.read(PART10), archive / _shown(info.filename), trouble)
    except _DAMAGED as error:
        reason = "encrypted" if info.flag_bits & _ENCRYPTED else _called(error)
        trouble(f"{archive / _shown(info.filename)}: cannot be read from its archive ({reason}).")
        return False


def _called(error: Exception) -> str:
    """The kind of an error; some modules call theirs just "error"."""
    kind = type(error)
    return kind.__name__ if kind.__name__ != "error" else f"{kind.__module__}.error"


def _fault(name: str, times: Counter[str]) -> str:
    """Why a member is not taken by its name; empty where it is."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        return "expected a name within its archive, found one that leads out of it."
    if path.name.startswith("."):
        return "left out, since its name begins with a dot."
    if times[name] > 1:
        return f"expected one member of this name, found {times[name]}."
    # Another spelling of a member's path, by which it would not be found again.
    return "" if str(path) == name else "expected a plain name, found one with empty or single-dot parts."


def _shown(name: str) -> str:
    """A member's name as part of a path below its archive."""
    return name.lstrip("/")


def member(archive: Path, path: Path) -> bytes:
    """The bytes of a member that `dicom_members` gave; raises InputError for a damaged one."""
    from spectac_fast.formats.dicom import check_size

    try:
        opened = _opened(archive)
        info = opened.getinfo(path.relative_to(archive).as_posix())
        check_size(path, info.file_size)
        with opened.open(info) as file:
            # The size in the directory may be a lie; what is read stays below the limit all the same.
            return file.read(info.file_size)
    except _DAMAGED as error:
        raise InputError(f"{path}: cannot be read from its archive ({_called(error)}).") from None


@functools.lru_cache(maxsize=2)
def _opened(archive: Path) -> zipfile.ZipFile:
    """Kept open: the directory of an archive of ten thousand files is not to be read ten thousand times."""
    return _zip_file(archive)


def _zip_file(archive: Path) -> zipfile.ZipFile:
    """The archive; one whose names are not in the UTF-8 that it claims is read by the older code page."""
    try:
        return zipfile.ZipFile(archive)
    except UnicodeDecodeError:
        # It reads, seeks and tells, which is all of a file that is asked for.
        return zipfile.ZipFile(_without_claims(archive))  # type: ignore[call-overload]


class _Mapped(mmap.mmap):
    def seekable(self) -> bool:
        return True


def _without_claims(archive: Path) -> _Mapped:
    """The archive's bytes, of which those in memory say of no member that its name is UTF-8."""
    with open(archive, "rb") as file:
        mapped = _Mapped(file.fileno(), 0, access=mmap.ACCESS_COPY)
    end = mapped.rfind(_END)
    size, offset = struct.unpack_from("<2L", mapped, end + 12)
    at = end - size
    # What stands before an archive moves all of it.
    moved = at - offset
    while 0 <= at < end and mapped[at : at + 4] == _ENTRY:
        mapped[at + 9] &= ~_UTF8
        (header,) = struct.unpack_from("<L", mapped, at + 42)
        if mapped[header + moved : header + moved + 4] == _HEADER:
            mapped[header + moved + 7] &= ~_UTF8
        at += 46 + sum(struct.unpack_from("<3H", mapped, at + 28))
    return mapped
