"""npy files: an array [slices, rows, columns] and nothing else; its pixel sizes come from the user."""

from __future__ import annotations

import math
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError
from spectac_fast.formats.damage import check_shape
from spectac_fast.formats.series import Series, Told


class NpyForm:
    """An array [slices, rows, columns]."""

    frame = ""

    def encode(self, counts: NDArray[np.float32], note: str) -> bytes:
        out = BytesIO()
        np.lib.format.write_array(out, np.ascontiguousarray(counts, np.float32), allow_pickle=False)
        return out.getvalue()


def npy_series(path: Path, content: bytes, told: Told, plane: str, phase: str) -> Series:
    """The series in the bytes of an npy file; InputError where pixel sizes are not known or the shape is another."""
    if told.pixel_mm is None or told.slice_mm is None:
        raise InputError(f"{path}: an npy file holds no geometry, expected --pixel-mm and --slice-mm with it.")
    file = BytesIO(content)
    shape, fortran, dtype = _header(file)
    check_shape(path, shape, dtype, len(content) - file.tell())
    flat = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    counts = flat.reshape(shape, order="F" if fortran else "C")
    return Series(
        counts=np.array(counts, np.float32, order="C"),
        plane=plane,
        phase=phase,
        pixel_mm=(told.pixel_mm, told.pixel_mm),
        slice_mm=told.slice_mm,
        orientation=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
        position=(0.0, 0.0, 0.0),
        attenuation_corrected=True,
        path=path,
        form=NpyForm(),
    )


def _header(file: BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    return read(file)


def npy_slices(content: bytes) -> int:
    """The number of slices that the bytes of an npy file claim; raises what numpy does for a damaged one."""
    return _header(BytesIO(content))[0][0]
