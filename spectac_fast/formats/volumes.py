"""NIfTI and npy files: one stack of counts each, read as a series and written back in the same form.

Neither says what it shows. Plane and phase come from the file's name or from the user, an npy file's pixel sizes from
the user. NIfTI needs nibabel (extra: nifti).
"""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.background import without_background
from spectac_fast.formats.damage import damaged
from spectac_fast.formats.npy import npy_series, npy_slices
from spectac_fast.formats.series import Series, Told, volume_ending

# A heart study is below 10 MB; what is packed may claim anything.
MAX_BYTES = 64 * 2**20


def read_volume(path: Path, content: bytes, told: Told) -> Series:
    """The series in the bytes of a NIfTI or npy file.

    npy: numbers [slices, rows, columns], the first row on top. NIfTI: see `formats.nifti`.

    Raises InputError for a damaged file, one of another shape, or where plane, phase or pixel sizes are not known,
    SetupError without nibabel.
    """
    from spectac_fast.formats.evidence.weigh import weighed
    from spectac_fast.formats.names import lying_in, phase_in, plane_in, posture_note

    texts = [path.name[: -len(volume_ending(path))], path.absolute().parent.name]
    plane = told.plane or plane_in(texts)
    if plane is None:
        raise InputError(f"{path}: expected SA, VLA or HLA in its name or from --plane, found neither.")
    phase = told.phase or phase_in(texts)
    if phase is None:
        raise InputError(f"{path}: expected stress or rest in its name or from --phase, found neither.")
    with damaged(path, volume_ending(path)):
        if volume_ending(path) == ".npy":
            series = npy_series(path, content, told, plane, phase)
        else:
            from spectac_fast.formats.nifti import nifti_series

            series = nifti_series(path, unpacked(path, content), plane, phase)
    counts, silent, notes = without_background(path, series.counts.copy())
    padding = None if silent is None else np.where(silent, np.float32(0), np.float32(np.nan))
    notes = (*series.notes, *notes, *posture_note(lying_in(texts)))
    return weighed(replace(series, counts=counts, padding=padding, notes=notes), told)


def glance(path: Path, content: bytes) -> tuple[str, int]:
    """A name for the study that a NIfTI or npy file belongs to, and its number of slices; raises as `read_volume`.

    Files of one folder whose names differ only in what tells plane and phase are one study.
    """
    from spectac_fast.formats.evidence.places import without_places

    with damaged(path, volume_ending(path)):
        if volume_ending(path) == ".npy":
            slices = npy_slices(content)
        else:
            from spectac_fast.formats.nifti import slices_of

            slices = slices_of(path, unpacked(path, content))
    rest = without_places(path.name[: -len(volume_ending(path))])
    return f"{path.absolute().parent}/{rest}", slices


def unpacked(path: Path, content: bytes) -> bytes:
    """The bytes of a NIfTI file, inflated where it is packed."""
    if content[:2] != b"\x1f\x8b":
        return content
    inflate = zlib.decompressobj(wbits=31)
    raw = inflate.decompress(content, MAX_BYTES)
    if inflate.unconsumed_tail:
        raise NotApplicableError(f"{path}: expected at most {MAX_BYTES >> 20} MiB when unpacked, found more.")
    return raw
