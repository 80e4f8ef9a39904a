"""What a user points at -> DICOM files: files, folders, DICOMDIR, zip archives and patterns.

A file that the user named is to be corrected or refused; one that was found in a folder, an archive, a DICOMDIR or by a
pattern may also be skipped.
"""

from __future__ import annotations

import functools
import glob
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spectac_fast.data.study import dicom_files
from spectac_fast.errors import InputError, NoInputError, NotApplicableError, SpectacError

# More than a hospital's year; a list of them still fits in memory.
MAX_MEMBERS = 200_000
_PART10 = 132
# An encrypted member raises RuntimeError, an unknown method NotImplementedError, a missing one KeyError.
_DAMAGED = (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, RuntimeError, KeyError, ValueError, EOFError)


@dataclass(frozen=True)
class Source:
    """One DICOM file.

    path: its own; for a member of an archive that of the archive followed by the member's name. named: the user named
    this very file. sha256: of its content when it was found. frames: as its header says. archive: the zip file it is
    in.
    """

    path: Path
    named: bool
    sha256: str = ""
    frames: int = 1
    archive: Path | None = None

    def content(self) -> bytes:
        """The bytes of the file. Raises as `data.dicom.file_content` does, InputError for a damaged archive."""
        from spectac_fast.data.dicom import file_content

        return file_content(self.path) if self.archive is None else _member(self.archive, self.path)


@dataclass
class Found:
    """What there is: the sources of each study, and sentences for what was skipped or cannot be used."""

    studies: list[list[Source]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def find_studies(inputs: Sequence[Path]) -> Found:
    """The DICOM files at `inputs`, grouped by Study Instance UID; studies in the order of their first files.

    Raises NoInputError if there is no file at all.
    """
    from spectac_fast.data.dicom import glance

    found, studies, missing = Found(), {}, 0
    for source in _sources(inputs, found):
        try:
            content = source.content()
            uid, frames = glance(source.path, content)
        except NoInputError as reason:
            missing += 1
            found.failed.append(str(reason))
        except SpectacError as reason:
            found_or_named(found, reason, source.named)
        else:
            digest = hashlib.sha256(content).hexdigest()
            studies.setdefault(uid, []).append(Source(source.path, source.named, digest, frames, source.archive))
    if not studies and missing == len(found.failed) and not found.skipped:
        raise NoInputError(f"{', '.join(map(str, inputs))}: expected DICOM files here, found none.")
    found.studies = list(studies.values())
    return found


def found_or_named(found: Found, reason: SpectacError, named: bool) -> None:
    """Put a refusal where it belongs: a sound file of another kind is skipped unless the user named it."""
    (found.skipped if isinstance(reason, NotApplicableError) and not named else found.failed).append(str(reason))


def common_root(inputs: Sequence[Path]) -> Path:
    """The folder that output paths are kept relative to: the deepest one that holds all inputs.

    An archive counts as a folder; of a pattern, what stands before its first wildcard.
    """
    return Path(os.path.commonpath([str(_folder(path.absolute())) for path in inputs]))


def _folder(path: Path) -> Path:
    if path.is_dir() or _is_archive(path):
        return path
    if _is_pattern(path):
        return next(parent for parent in path.parents if not glob.has_magic(str(parent)))
    return path.parent


def _sources(inputs: Sequence[Path], found: Found) -> Iterator[Source]:
    """Every candidate once; named ones first, so that naming a file wins over finding it."""
    expanded = [each for path in inputs for each in _expand(path.absolute(), found)]
    seen: set[Path] = set()
    for source in sorted(expanded, key=lambda source: not source.named):
        if source.path not in seen:
            seen.add(source.path)
            yield source


def _expand(path: Path, found: Found, named: bool = True) -> Iterator[Source]:
    if path.is_dir():
        # A directory file lists what the search finds anyway.
        yield from (Source(each, False) for each in dicom_files(path) if each.name != "DICOMDIR")
    elif _is_pattern(path):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        for match in matches:
            # Folders come up again under ** as their files do.
            if "**" not in path.parts or not match.is_dir():
                yield from _expand(match, found, named=False)
    elif path.name == "DICOMDIR" and path.is_file():
        yield from (Source(each, False) for each in _listed(path, found))
    elif _is_archive(path):
        yield from _members(path, found)
    else:
        yield Source(path, named)


def _is_pattern(path: Path) -> bool:
    return glob.has_magic(str(path)) and not os.path.lexists(path)


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".zip"


def _listed(path: Path, found: Found) -> Iterator[Path]:
    """The files that a DICOMDIR refers to, which lie in its folder or below."""
    from spectac_fast.data.dicom import directory_entries

    try:
        entries = directory_entries(path)
    except SpectacError as reason:
        found.failed.append(str(reason))
        return
    for parts in entries:
        # A directory comes from a disc of unknown origin and must not lead out of its folder.
        if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            found.failed.append(f"{path}: expected files in its own folder, found a reference that leaves it.")
            continue
        yield path.parent.joinpath(*parts)


def _members(archive: Path, found: Found) -> Iterator[Source]:
    """The DICOM files in a zip archive, in the order of their names; nothing is unpacked."""
    try:
        with zipfile.ZipFile(archive) as opened:
            members = sorted((info for info in opened.infolist() if not info.is_dir()), key=lambda i: i.filename)
            if len(members) > MAX_MEMBERS:
                raise InputError(f"{archive}: expected at most {MAX_MEMBERS} files, found {len(members)}.")
            for info in members:
                parts = Path(info.filename).parts
                if ".." in parts or Path(info.filename).is_absolute() or parts[-1].startswith("."):
                    continue
                with opened.open(info) as file:
                    if file.read(_PART10)[128:] == b"DICM":
                        yield Source(archive / info.filename, False, archive=archive)
    except InputError as reason:
        found.failed.append(str(reason))
    except _DAMAGED as error:
        found.failed.append(f"{archive}: the archive cannot be read ({type(error).__name__}).")


def _member(archive: Path, path: Path) -> bytes:
    from spectac_fast.data.dicom import check_size

    try:
        opened = _opened(archive)
        info = opened.getinfo(path.relative_to(archive).as_posix())
        check_size(path, info.file_size)
        with opened.open(info) as file:
            # The size in the directory may be a lie; what is read stays below the limit all the same.
            return file.read(info.file_size)
    except _DAMAGED as error:
        raise InputError(f"{path}: cannot be read from its archive ({type(error).__name__}).") from None


@functools.lru_cache(maxsize=2)
def _opened(archive: Path) -> zipfile.ZipFile:
    """Kept open: the directory of an archive of ten thousand files is not to be read ten thousand times."""
    return zipfile.ZipFile(archive)
