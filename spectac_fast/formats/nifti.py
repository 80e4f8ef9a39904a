"""NIfTI stacks, through nibabel: which way round they lie, and back into a file with the same header and affine.

Where the affine is that of a heart, it says how to get to the slices that are shown (`orientation`), whatever the order
of the axes. Where it is not (many reoriented stacks carry the camera's axes or none), the axes are taken as columns,
rows and slices, and a left-handed affine as one whose rows run upwards, as dcm2niix and FSL store them.
"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError, SetupError
from spectac_fast.formats.damage import check_shape
from spectac_fast.formats.orientation import ENDS, Turn, turn_to_view
from spectac_fast.formats.series import Series

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM = {"meter": 1000.0, "micron": 0.001}


class NiftiForm:
    """image: as it was read. packed: with gzip. frame: see `Form`."""

    def __init__(self, image: Nifti1Image, packed: bool, frame: str) -> None:
        self._image, self._packed, self.frame = image, packed, frame

    def encode(self, counts: NDArray[np.float32], note: str) -> bytes:
        """Float32 counts under the source's header and affine; note: its description, cut to 79 characters.

        counts: [third, second, first axis of the file].
        """
        data = np.asarray(counts, np.float32).transpose(2, 1, 0)
        header = self._image.header.copy()
        # What they say may be about the source, or about a patient.
        header.extensions.clear()
        header.set_data_dtype(np.float32)
        header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, note.encode("ascii", "replace")[:79]
        image = type(self._image)(data.reshape(self._image.shape), self._image.affine, header)
        content = image.to_bytes()
        return gzip.compress(content, mtime=0) if self._packed else content


def nifti_series(path: Path, raw: bytes, plane: str, phase: str) -> Series:
    """The series in the (inflated) bytes of a NIfTI file; raises InputError, or what nibabel does for a damaged one."""
    image = _image(raw)
    shape = _stack_shape(path, image)
    stored: Any = image.dataobj
    check_shape(path, shape, image.get_data_dtype(), len(raw) - int(stored.offset))
    unit = _MM.get(image.header.get_xyzt_units()[0], 1.0)
    lps = _LPS @ image.affine * unit
    if not np.isfinite(lps).all() or abs(np.linalg.det(lps[:3, :3])) < 1e-6:
        raise InputError(f"{path}: expected an affine with three directions, found another.")
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    column, row, along = (lps[:3, :3] / steps).T
    turn = turn_to_view([along, row, column], plane)
    # An affine in RAS is left-handed where one in LPS is.
    upwards = np.linalg.det(lps[:3, :3]) < 0
    stored = Series(
        counts=np.asarray(image.dataobj, np.float32).reshape(shape).transpose(2, 1, 0),
        plane=plane,
        phase=phase,
        pixel_mm=(float(steps[1]), float(steps[0])),
        slice_mm=float(np.copysign(steps[2], np.cross(column, row) @ along)),
        orientation=(*map(float, column), *map(float, row)),
        position=tuple(map(float, lps[:3, 3])),
        attenuation_corrected=True,
        path=path,
        form=NiftiForm(image, path.name.lower().endswith(".gz"), _frame(image) if turn else ""),
        notes=() if turn else (_assumption(plane, upwards),),
    )
    turned = stored.turned(turn or Turn(flips=(False, bool(upwards), False)))
    return replace(turned, counts=np.ascontiguousarray(turned.counts))


def slices_of(path: Path, raw: bytes) -> int:
    """The number of slices, if they run along the third axis."""
    return _stack_shape(path, _image(raw))[2]


def _image(raw: bytes) -> Nifti1Image:
    try:
        from nibabel import Nifti1Image, Nifti2Image
        from nibabel.imageglobals import LoggingOutputSuppressor
    except ImportError:
        raise SetupError("NIfTI files need nibabel: pip install 'spectac_fast[nifti]'.") from None
    second = 540 in (int.from_bytes(raw[:4], order) for order in ("little", "big"))
    with LoggingOutputSuppressor():
        return (Nifti2Image if second else Nifti1Image).from_bytes(raw)


def _stack_shape(path: Path, image: Nifti1Image) -> tuple[int, ...]:
    shape = image.shape
    if len(shape) < 3 or max(shape[3:], default=1) > 1:
        found = " x ".join(map(str, shape))
        raise InputError(f"{path}: expected one stack (columns x rows x slices, not gated), found {found}.")
    return tuple(shape[:3])


def _frame(image: Nifti1Image) -> str:
    """What an affine leads to, by the code it is stored with: 1 the scanner's coordinates, 2 another file's ..."""
    return f"NIfTI {int(image.header['sform_code']) or int(image.header['qform_code'])}"


def _assumption(plane: str, upwards: bool) -> str:
    slices, _, columns = ENDS[plane]
    way, hand = ("upwards", "left") if upwards else ("downwards", "right")
    return (
        f"its affine is not that of a heart in {plane}; rows are taken to run {way} in the file, as in a {hand}-handed "
        f"one, columns from {columns[0]} to {columns[1]}, slices from {slices[0]} to {slices[1]}."
    )
