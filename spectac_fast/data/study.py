"""A study in memory: stacks of slices with their geometry, read from DICOM and written back as corrected DICOM."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.search import dicom_files, left_out
from spectac_fast.data.settle import settled
from spectac_fast.errors import InputError, NoInputError, NotApplicableError, SetupError
from spectac_fast.formats.atomic import stage_bytes
from spectac_fast.formats.series import NOTHING, Provenance, Series, Told, volume_ending
from spectac_fast.outputs import OWN, Kind

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# At the end of the names of derived files: corrected counts, and their standard deviation.
MARKS = ("DL-AC", "DL-AC-SD")

# Bytes; file systems take 255, of which a temporary file needs some.
_LONGEST_NAME = 230
# A name or a place that one output cannot have; any other error is the state of the disk, which ends a run.
_OF_ONE_FILE = (
    errno.ENAMETOOLONG,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOTEMPTY,
    errno.ELOOP,
    errno.EILSEQ,
    errno.EINVAL,
    errno.EACCES,
    errno.EPERM,
)


@dataclass(frozen=True, eq=False)
class Study:
    """The NC series of one study, and what was found beside them.

    series: what can be corrected. skipped: (file, reason) for the sound files that are something else.
    root: the folder that output paths are kept relative to.
    """

    series: tuple[Series, ...]
    skipped: tuple[tuple[Path, str], ...] = ()
    root: Path = Path()


def read_study(path: Path | str) -> Study:
    """Read the NC series of one study from a file, or from a folder and everything below it.

    Accepts NM multi-frame reconstructions (RECON TOMO) in SA, VLA or HLA, whichever way they lie (`settle`). In a
    folder, sound files of another kind (already corrected, gated, projections, transaxial, other modalities) are left
    out and listed in `Study.skipped`.

    Raises:
        NoInputError: nothing there, or a folder without a single NC series.
        InputError: a file that cannot be used, or a folder that holds several studies.
    """
    path = Path(path)
    if path.is_dir():
        unread: list[str] = []
        files, hidden = dicom_files(path, unread.append)
        if unread:
            raise InputError(unread[0])
        study = read_series_files(files, root=path)
        study = replace(study, skipped=(*study.skipped, *((each, left_out(each)) for each in hidden)))
        if not study.series:
            found = f"{len(study.skipped)} DICOM files of other kinds" if study.skipped else "no DICOM file"
            raise NoInputError(f"{path}: expected NC slices (NM RECON TOMO) in this folder, found {found}.")
    else:
        study = Study((read_nc_series(path),), root=path.parent)
    uids = {series.header.StudyInstanceUID for series in study.series if series.header is not None}
    if len(uids) > 1:
        raise InputError(f"{path}: expected one study, found {len(uids)}; name the folder of one of them.")
    return replace(study, series=tuple(settled(study.series)))


def read_nc_series(path: Path, content: bytes | None = None, *, force: bool = False, told: Told = NOTHING) -> Series:
    """Read one file that must be an NC series; raises InputError, or NotApplicableError where it is something else.

    force: take transaxial and already corrected slices too; what is derived from them says so in its header. told: as
    for `formats.dicom.read_series`.
    """
    from spectac_fast.formats.dicom import read_series

    return checked_nc(read_series(path, content, force=force, told=told), force)


def read_nc_slices(files: Sequence[tuple[Path, bytes]], *, force: bool = False, told: Told = NOTHING) -> Series:
    """The same for files of one slice each, given as (path, content)."""
    from spectac_fast.formats.dicom import read_single_frames

    return checked_nc(read_single_frames(files, force=force, told=told), force)


def checked_nc(series: Series, force: bool) -> Series:
    """`series`, unless it is or may be corrected already and nothing forces it: NotApplicableError with the reasons."""
    if force or not series.attenuation_corrected:
        return series
    if series.doubt:
        raise NotApplicableError(
            f"{series.path}: expected a non-corrected (NC) series, found no agreement on whether it is one: "
            f"{series.doubt}; --kind nc or --kind ac says it."
        )
    raise NotApplicableError(
        f"{series.path}: already attenuation-corrected, expected a non-corrected (NC) series: "
        f"{'; '.join(series.evidence)}."
    )


def read_series_files(paths: Iterable[Path], root: Path) -> Study:
    """Read files that were found rather than named: what is not an NC series goes to `skipped`; damage still raises."""
    series, skipped = [], []
    for path in paths:
        try:
            series.append(read_nc_series(path))
        except NotApplicableError as reason:
            skipped.append((path, str(reason)))
    return Study(tuple(series), tuple(skipped), root)


def output_path(path: Path, root: Path, out: Path, mark: str = MARKS[0]) -> Path:
    """Where the corrected form of `path` goes: same place below `out` as below `root`, name marked `mark`.

    A name that would become too long for a file system ends in a hash of itself instead.
    """
    name, folder = path.name, path.parent
    ending = volume_ending(path) or ".dcm"
    stem = name[: -len(ending)] if name.lower().endswith(ending) else name
    room = _LONGEST_NAME - len(f"_{mark}{ending}".encode())
    encoded = os.fsencode(stem)
    if len(encoded) > room:
        digest = hashlib.sha256(encoded).hexdigest()[:16]
        # What is cut in two within a character is dropped.
        stem = f"{encoded[: room - 17].decode(errors='ignore')}-{digest}"
    name = f"{stem}_{mark}{ending}"
    with contextlib.suppress(ValueError):
        return out / folder.relative_to(root) / name
    return out / name


def kind_of_output(path: Path) -> Kind | None:
    """What the name of a derived file says of how to tell it from others; npy has no place for a mark."""
    ending = volume_ending(path)
    return Kind.OBJECT if not ending else None if ending == ".npy" else Kind.VOLUME


def write_corrected(
    study: Study,
    counts: Sequence[NDArray],
    out: Path | str,
    *,
    provenance: Provenance | None = None,
    uncertainty: Sequence[NDArray] = (),
    widening: Sequence[float] = (),
    partners: Sequence[Sequence[int]] = (),
    on_staged: Callable[[list[tuple[Path, Path]]], None] | None = None,
    refusal: Callable[[Path], str] | None = None,
) -> list[Path]:
    """Write corrected counts as derived NM objects, one file per series, all of the study or nothing.

    A series that came from a NIfTI or npy file goes to one of the same form, its counts as float32.

    Args:
        study: what was read; its headers give identity and geometry.
        counts: one array [slices, rows, columns] per series of the study, in its geometry, counts >= 0.
        out: folder to write to, made if missing; subfolders below the study's root are kept.
        provenance: what made the counts. Without it the UIDs depend on the counts themselves.
        uncertainty: where given, the standard deviation of those counts, one array per series; each goes to a second
            series, in a file marked DL-AC-SD beside the corrected one.
        widening: where given, what the deviations of each series were multiplied by because of the error that is
            expected of its study (`Calibration.widening`); unless it is 1, the object says so.
        partners: where given, for each series the numbers of the others that its counts were also made from
            (`correct.agreement`); the object names them among its sources, a NIfTI file in its description.
        on_staged: called with (temporary file, file) for each, when all are complete on disk and none is in its place.
        refusal: why no file may be written to a path, "" where one may; None replaces what this program wrote, as
            `outputs` tells it, and nothing else.

    Every byte is a function of the source, the counts and the provenance: dates and times are the source's, and UIDs
    are hashes, so writing again gives the same files. Counts are stored as 16-bit words in the source's steps; where
    one does not fit, the whole series is divided by a power of two. The Real World Value Mapping and, unless it is 1,
    the Rescale Slope record what a stored value stands for. Padding of the source is padding again.

    Returns the files written, corrected ones first. Raises ValueError for counts that do not fit the study or are not
    finite, InputError for a header or a name that cannot be written and for a place that a file of another origin
    has, SetupError where the disk takes nothing.
    """
    from spectac_fast.formats.dicom import derive_corrected, derive_uncertainty, quiet_pydicom

    if len(counts) != len(study.series):
        raise ValueError(f"expected one array for each of {len(study.series)} series, found {len(counts)}")
    if uncertainty and len(uncertainty) != len(study.series):
        raise ValueError(f"expected one uncertainty for each of {len(study.series)} series, found {len(uncertainty)}")
    out = Path(out)
    work: list[tuple[Series, str, Callable[..., Any], NDArray[np.floating]]] = []
    others = [[study.series[k] for k in numbers] for numbers in partners or [()] * len(counts)]
    for s, array, beside in zip(study.series, counts, others):
        derive = partial(_encoded, MARKS[0], beside) if s.form else partial(derive_corrected, others=beside)
        work.append((s, MARKS[0], derive, array))
    for s, array, beside, wide in zip(study.series, uncertainty, others, widening or [1.0] * len(others)):
        derive = partial(_encoded, MARKS[1], beside) if s.form else partial(derive_uncertainty, widening=wide)
        work.append((s, MARKS[1], derive, array))
    paths = [output_path(series.path, study.root, out, mark) for series, mark, *_ in work]
    for sentence in filter(None, map(refusal or (lambda path: OWN.obstacle(path, kind_of_output(path))), paths)):
        raise InputError(sentence)
    staged: list[Path] = []
    try:
        with quiet_pydicom():
            objects = [derive(series, array, provenance) for series, _, derive, array in work]
            for (series, *_), content, path in zip(work, objects, paths):
                staged.append(staged_object(series.path, content, path))
        if on_staged:
            on_staged(list(zip(staged, paths)))
        for temporary, path in zip(staged, paths):
            os.replace(temporary, path)
    except OSError as error:
        if error.errno in _OF_ONE_FILE:
            made = f"{study.series[0].path}: what is made of it cannot be written ({error.strerror})."
            raise InputError(made) from error
        raise SetupError(f"{out}: cannot write corrected files here ({error.strerror}).") from error
    finally:
        for temporary in staged:
            temporary.unlink(missing_ok=True)
    return paths


def _encoded(
    mark: str, others: Sequence[Series], series: Series, counts: NDArray, provenance: Provenance | None
) -> bytes:
    """The bytes of a NIfTI or npy file; others: as `derive_corrected` takes them."""
    if np.shape(counts) != series.counts.shape or not np.isfinite(counts).all():
        raise ValueError(f"{series.path}: expected finite counts of shape {series.counts.shape}")
    made = f" {provenance.version}, {provenance.model}" if provenance else ""
    planes = " " + "+".join(each.plane for each in (series, *others)) if others else ""
    # What must be read stands first: a description has 79 characters.
    assert series.form is not None
    note = f"{mark}{planes}. Research use only, not a medical device. By spectac_fast{made}"
    return series.form.encode(series.turn.undo(np.asarray(counts)), note)


def staged_object(source: Path, content: Dataset | bytes, path: Path) -> Path:
    """Write a data set, or the bytes of a file, to a temporary file beside `path` and return it.

    Raises OSError, InputError naming `source` for a header that cannot be encoded.
    """
    from spectac_fast.formats.dicom import stage

    try:
        return stage_bytes(content, path) if isinstance(content, bytes) else stage(content, path)
    except OSError:
        raise
    except Exception as error:
        # pydicom quotes the offending value, which may be a name or a birth date: only the kind of error is passed on.
        raise InputError(
            f"{source}: the header holds a value that cannot be written back ({type(error).__name__})."
        ) from None
