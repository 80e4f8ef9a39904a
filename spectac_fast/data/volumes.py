"""NIfTI and npy files: one stack of counts each, read as a series and written back in the same form.

Neither says what it shows. Plane and phase come from the file's name or from the user, an npy file's pixel sizes from
the user. NIfTI needs nibabel (extra: nifti).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.damage import damaged
from spectac_fast.data.study import Series, volume_ending
from spectac_fast.errors import InputError, NotApplicableError

# A heart study is below 10 MB; what is packed may claim anything.
MAX_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Told:
    """What the user says of NIfTI and npy files; None where nothing.

    plane: "SA", "VLA" or "HLA". phase: "stress" or "rest". pixel_mm, slice_mm: of npy files, mm.
    """

    plane: str | None = None
    phase: str | None = None
    pixel_mm: float | None = None
    slice_mm: float | None = None


NOTHING = Told()


class Form(Protocol):
    """How a stack was stored. frame: a name for the coordinates of its geometry, "" where there are none to rely on."""

    frame: str

    def encode(self, counts: NDArray[np.float32], note: str) -> bytes:
        """A file like the source with other counts, [slices, rows, columns]; its bytes depend on nothing else."""
        ...


class NpyForm:
    """An array [slices, rows, columns]."""

    frame = ""

    def encode(self, counts: NDArray[np.float32], note: str) -> bytes:
        out = BytesIO()
        np.lib.format.write_array(out, np.ascontiguousarray(counts, np.float32), allow_pickle=False)
        return out.getvalue()


def read_volume(path: Path, content: bytes, told: Told, *, force: bool = False) -> Series:
    """The series in the bytes of a NIfTI or npy file.

    npy: numbers [slices, rows, columns], the first row on top. NIfTI: see `data.nifti`.

    Raises InputError for a damaged file, one of another shape, or where plane, phase or pixel sizes are not known,
    NotApplicableError for one whose name says that attenuation is corrected, unless `force`, SetupError without
    nibabel.
    """
    from spectac_fast.data.dicom.names import corrected_in, phase_in, plane_in

    texts = [path.name[: -len(volume_ending(path))], path.absolute().parent.name]
    corrected = corrected_in(texts[:1])
    if corrected and not force:
        raise NotApplicableError(f"{path}: its name says corrected (AC), expected a non-corrected (NC) series.")
    plane = told.plane or plane_in(texts)
    if plane is None:
        raise InputError(f"{path}: expected SA, VLA or HLA in its name or from --plane, found neither.")
    phase = told.phase or phase_in(texts)
    if phase is None:
        raise InputError(f"{path}: expected stress or rest in its name or from --phase, found neither.")
    with damaged(path, volume_ending(path)):
        if volume_ending(path) == ".npy":
            series = _npy(path, content, told, plane, phase, corrected)
        else:
            from spectac_fast.data.nifti import nifti_series

            series = nifti_series(path, unpacked(path, content), plane, phase, corrected)
    if not np.isfinite(series.counts).all() or not (series.counts > 0).any():
        raise InputError(f"{path}: expected finite counts, found NaN, infinity or only zeros.")
    return series


def glance(path: Path, content: bytes) -> tuple[str, int]:
    """A name for the study that a NIfTI or npy file belongs to, and its number of slices; raises as `read_volume`.

    Files of one folder whose names differ only in what tells plane and phase are one study.
    """
    from spectac_fast.data.dicom.names import without_terms

    with damaged(path, volume_ending(path)):
        if volume_ending(path) == ".npy":
            slices = _npy_header(BytesIO(content))[0][0]
        else:
            from spectac_fast.data.nifti import slices_of

            slices = slices_of(path, unpacked(path, content))
    rest = without_terms(path.name[: -len(volume_ending(path))])
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


def check_shape(path: Path, shape: tuple[int, ...], dtype: np.dtype, there: int) -> None:
    """Raise InputError unless `there` bytes hold a stack of that shape and type of real numbers."""
    if len(shape) != 3 or min(shape) < 1 or dtype.kind not in "uif":
        found = f"{dtype} of {' x '.join(map(str, shape)) or 'no size'}"
        raise InputError(f"{path}: expected one stack of real numbers (three axes), found {found}.")
    needed = math.prod(shape) * dtype.itemsize
    if needed > there:
        raise InputError(f"{path}: truncated, expected {needed} bytes of counts, found {there}.")


def _npy(path: Path, content: bytes, told: Told, plane: str, phase: str, corrected: bool) -> Series:
    if told.pixel_mm is None or told.slice_mm is None:
        raise InputError(f"{path}: an npy file holds no geometry, expected --pixel-mm and --slice-mm with it.")
    file = BytesIO(content)
    shape, fortran, dtype = _npy_header(file)
    check_shape(path, shape, dtype, len(content) - file.tell())
    flat = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    counts = flat.reshape(shape, order="F" if fortran else "C")
    return Series(
        counts=np.ascontiguousarray(counts, np.float32),
        plane=plane,
        phase=phase,
        pixel_mm=(told.pixel_mm, told.pixel_mm),
        slice_mm=told.slice_mm,
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        position=(0.0, 0.0, 0.0),
        attenuation_corrected=corrected,
        path=path,
        form=NpyForm(),
    )


def _npy_header(file: BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    return read(file)
