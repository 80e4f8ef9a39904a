"""What a user points at -> DICOM files: files, folders, DICOMDIR, zip archives and patterns.

A file that the user named is to be corrected or refused; one that was found in a folder, an archive, a DICOMDIR or by a
pattern may also be skipped. NIfTI and npy files are taken where they are named or a pattern matches them.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from spectac_fast.data.archive import dicom_members, is_archive, member
from spectac_fast.data.copies import without_copies
from spectac_fast.data.search import dicom_files, is_pattern, left_out, matches
from spectac_fast.data.study import checked_nc, read_nc_series, read_nc_slices
from spectac_fast.errors import InputError, NoInputError, NotApplicableError, SetupError, SpectacError
from spectac_fast.formats.series import NOTHING, Series, Told, volume_ending
from spectac_fast.formats.volumes import glance as glance_volume
from spectac_fast.formats.volumes import read_volume

SHARED_UID = "series of another patient have the same Study Instance UID; they are kept apart."
SHARED_INSTANCE = "another file has its SOP Instance UID and other content; what is made of each has a UID of its own."


@dataclass(frozen=True)
class Source:
    """One DICOM, NIfTI or npy file.

    path: its own; for a member of an archive that of the archive followed by the member's name. named: the user named
    this very file. sha256: of its content when it was found. frames: as its header says. archive: the zip file it is
    in. slices: where a series has a file for every slice, all of them; path is then the first one's. told: what the
    user says of it. notes: sentences about what it was found among. instance: its SOP Instance UID, of several slices
    all of theirs.
    """

    path: Path
    named: bool
    sha256: str = ""
    frames: int = 1
    archive: Path | None = None
    slices: tuple[Source, ...] = ()
    told: Told = NOTHING
    notes: tuple[str, ...] = ()
    instance: str = ""

    def contents(self) -> tuple[bytes, ...]:
        """The bytes of the file, or of those of all slices.

        Raises as `formats.dicom.file_content` does, InputError for a damaged archive and for a file that has changed
        since it was found.
        """
        from spectac_fast.formats.dicom import check_size

        contents: tuple[bytes, ...] = ()
        for each in self.slices or (self,):
            contents = (*contents, each.content())
            check_size(self.path, sum(map(len, contents)))
        if _digest(contents) != self.sha256:
            raise InputError(f"{self.path}: expected a file at rest, found that it changed during the run.")
        return contents

    def series(self, contents: tuple[bytes, ...], *, force: bool) -> Series:
        """The NC series in `contents`; raises as `data.study.read_nc_series` and `formats.volumes.read_volume`."""
        if volume_ending(self.path):
            return checked_nc(read_volume(self.path, contents[0], self.told), force)
        if self.slices:
            files = [(each.path, content) for each, content in zip(self.slices, contents)]
            series = read_nc_slices(files, force=force, told=self.told)
        else:
            series = read_nc_series(self.path, contents[0], force=force, told=self.told)
        return replace(series, notes=(*self.notes, *series.notes))

    def content(self) -> bytes:
        """The bytes of one file as they are now."""
        from spectac_fast.formats.dicom import file_content

        return file_content(self.path) if self.archive is None else member(self.archive, self.path)


@dataclass
class Found:
    """What there is: the sources of each study, and sentences for what was skipped or cannot be used."""

    studies: list[list[Source]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def find_studies(inputs: Sequence[Path], told: Told = NOTHING, looked: Callable[[], None] | None = None) -> Found:
    """The DICOM files at `inputs`, grouped by Study Instance UID and patient; studies in the order of their first
    files.

    NIfTI and npy files among them are grouped by folder and name (`formats.volumes.glance`); told: of all these.
    looked: called for each file.
    Raises NoInputError if there is no file at all, SetupError for NIfTI without nibabel.
    """
    from spectac_fast.formats.dicom import glance, instance_uid, series_of_slice

    found, missing = Found(), 0
    contents: dict[str, set[str]] = {}
    studies: dict[tuple[str, str], list[Source]] = {}
    stacks: dict[tuple[str, str, str], list[Source]] = {}
    for source in _sources(inputs, found):
        if looked is not None:
            looked()
        try:
            content = source.content()
            volume = volume_ending(source.path)
            *study, frames = (glance_volume if volume else glance)(source.path, content)
            stack = series_of_slice(source.path, content) if frames == 1 and not volume else ""
        except NoInputError as reason:
            missing += 1
            found.failed.append(str(reason))
        except SetupError:
            raise
        except SpectacError as reason:
            found_or_named(found, reason, source.named)
        else:
            instance = "" if volume else instance_uid(source.path, content)
            known = Source(
                source.path, source.named, _digest((content,)), frames, source.archive, told=told, instance=instance
            )
            uid, patient = (*study, "")[:2]
            studies.setdefault((uid, patient), []).append(known)
            if instance:
                contents.setdefault(instance, set()).add(known.sha256)
            if stack:
                stacks.setdefault((uid, patient, stack), []).append(known)
    if not studies and missing == len(found.failed) and not found.skipped:
        raise NoInputError(f"{', '.join(map(str, inputs))}: expected DICOM files here, found none.")
    for (uid, patient, _), slices in stacks.items():
        for group in without_copies(slices):
            if len(group) > 1:
                _join(studies[uid, patient], group)
    reused = {uid for uid, held in contents.items() if len(held) > 1}
    shared = Counter(uid for uid, _ in studies)
    for (uid, _), sources in studies.items():
        notes = (SHARED_UID,) if uid and shared[uid] > 1 else ()
        found.studies.append([_noted(source, notes, reused) for source in sources])
    return found


def _noted(source: Source, notes: tuple[str, ...], reused: set[str]) -> Source:
    twin = any(each.instance in reused for each in source.slices or (source,))
    return replace(source, notes=(*notes, *([SHARED_INSTANCE] if twin else [])))


def _join(study: list[Source], slices: list[Source]) -> None:
    """Put one source in the place of those that hold one slice each of a series."""
    named, digest = any(each.named for each in slices), _joint(each.sha256 for each in slices)
    whole = replace(
        slices[0], named=named, sha256=digest, frames=len(slices), slices=tuple(slices), instance=_instances(slices)
    )
    study[study.index(slices[0])] = whole
    for each in slices[1:]:
        study.remove(each)


def _instances(slices: Sequence[Source]) -> str:
    return "\\".join(each.instance for each in slices)


def _digest(contents: Iterable[bytes]) -> str:
    """SHA-256 of one content as it is, of several through their own."""
    return _joint(hashlib.sha256(content).hexdigest() for content in contents)


def _joint(digests: Iterable[str]) -> str:
    each = list(digests)
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()


def found_or_named(found: Found, reason: SpectacError, named: bool) -> None:
    """Put a refusal where it belongs: a sound file of another kind is skipped unless the user named it."""
    (found.skipped if isinstance(reason, NotApplicableError) and not named else found.failed).append(str(reason))


def paths_of(inputs: str | Path | Iterable[str | Path]) -> list[Path]:
    """One path or several, as a list; ValueError for none, TypeError for what are no paths."""
    each = [inputs] if isinstance(inputs, (str, os.PathLike)) else list(inputs)
    if not each:
        raise ValueError("inputs: expected at least one path, found none.")
    return [Path(path) for path in each]


def common_root(inputs: Sequence[Path]) -> Path:
    """The folder that output paths are kept relative to: the deepest one that holds all inputs.

    An archive counts as a folder; of a pattern, what stands before its first wildcard.
    """
    return Path(os.path.commonpath([str(_folder(path.absolute())) for path in inputs]))


def _folder(path: Path) -> Path:
    if os.path.isdir(path) or is_archive(path):
        return path
    if is_pattern(path):
        return next(parent for parent in path.parents if not glob.has_magic(str(parent)))
    return path.parent


def _sources(inputs: Sequence[Path], found: Found) -> Iterator[Source]:
    """Every candidate once; named ones first, so that naming a file wins over finding it."""
    expanded = [each for path in inputs for each in _expand(path.absolute(), found)]
    seen: set[Path | tuple[int, int]] = set()
    for source in sorted(expanded, key=lambda source: not source.named):
        keys: set[Path | tuple[int, int]] = {source.path, *_identity(source)}
        # What was named under two names is two files, as the user sees it.
        if source.path not in seen and (source.named or not keys & seen):
            yield source
        seen |= keys


def _identity(source: Source) -> list[tuple[int, int]]:
    """Device and inode, which links to one file have in common; of an archive's members there is none."""
    try:
        status = os.stat(source.path)
    except (OSError, ValueError):
        return []
    return [(status.st_dev, status.st_ino)]


def _expand(path: Path, found: Found, named: bool = True) -> Iterator[Source]:
    from spectac_fast.formats.dicom import is_directory

    if os.path.isdir(path):
        # A directory file lists what the search finds anyway; under another name it is a file of another kind.
        files, hidden = dicom_files(path, found.failed.append)
        found.skipped += map(left_out, hidden)
        listing = [each for each in files if each.name == "DICOMDIR" and is_directory(each)]
        found.skipped += filter(None, (_missing(each, files) for each in listing))
        yield from (Source(each, False) for each in files if each not in listing)
    elif is_pattern(path):
        for match in matches(path, found.failed.append):
            # Folders come up again under ** as their files do.
            if "**" not in path.parts or not match.is_dir():
                yield from _expand(match, found, named=False)
    elif os.path.isfile(path) and is_directory(path):
        yield from (Source(each, False) for each in _listed(path, found))
    elif is_archive(path):
        yield from (Source(each, False, archive=path) for each in dicom_members(path, found.failed.append))
    else:
        yield Source(path, named)


def _missing(listing: Path, files: Sequence[Path]) -> str:
    """A sentence where a DICOMDIR lists what was not found with it, as on a disc that was copied in part."""
    from spectac_fast.formats.dicom import directory_entries

    try:
        entries = directory_entries(listing)
    except SpectacError as reason:
        return str(reason)
    # Discs name their files in capitals, systems that copy them as they like.
    here = {str(each).upper() for each in files}
    listed = [listing.parent.joinpath(*parts) for parts in entries]
    absent = [each for each in listed if str(each).upper() not in here and not os.path.exists(each)]
    return f"{listing}: it lists {len(entries)} files, of which {len(absent)} are not here." if absent else ""


def _listed(path: Path, found: Found) -> Iterator[Path]:
    """The files that a DICOMDIR refers to, which lie in its folder or below."""
    from spectac_fast.formats.dicom import directory_entries

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
