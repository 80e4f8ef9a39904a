"""NIfTI stacks, through nibabel: which way round they lie, and back into a file with the same header and affine.

A network knows slices as they are shown: short-axis slices with the anterior wall on top and the septum on the left, in
the order of the phantom's. Where the affine is that of a heart, it says how to get there, whatever the order of the
axes. Where it is not (many reoriented stacks carry the camera's axes or none), the axes are taken as columns, rows and
slices, and a left-handed affine as one whose rows run upwards, as dcm2niix and FSL store them.
"""

from __future__ import annotations

import gzip
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.errors import InputError, SetupError
from spectac_fast.formats.damage import check_shape
from spectac_fast.formats.series import Series

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_log = logging.getLogger(__name__)

# A typical heart (LPS): its long axis from base to apex, upwards, and from septum to lateral wall.
_LONG = np.array([0.62, -0.60, -0.50])
_UP = np.array([0.40, -0.33, 0.86])
_LATERAL = np.cross(_UP, _LONG)
# Where columns, rows and slices of a plane run.
_AXES = {
    "SA": (_LATERAL, -_UP, -_LONG),
    "VLA": (_LONG, -_UP, _LATERAL),
    "HLA": (_LATERAL, -_LONG, _UP),
}
# Between an axis and that of a typical heart: hearts differ by some 30 degrees. No heart lies along the patient's axes.
_LEAST_COSINE, _ALONG_PATIENT = 0.5, 0.999
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM = {"meter": 1000.0, "micron": 0.001}
_PLAIN = np.array([[0, 1], [1, 1], [2, 1]], float)


class NiftiForm:
    """image: as it was read. orientation: of its axes, as `nibabel.orientations` writes it. packed: with gzip.

    frame: see `Form`.
    """

    def __init__(self, image: Nifti1Image, orientation: NDArray[np.float64], packed: bool, frame: str) -> None:
        self._image, self._orientation, self._packed, self.frame = image, orientation, packed, frame

    def encode(self, counts: NDArray[np.float32], note: str) -> bytes:
        """Float32 counts under the source's header and affine; note: its description, cut to 79 characters."""
        from nibabel.orientations import apply_orientation, ornt_transform

        back = ornt_transform(_PLAIN, self._orientation)
        data = apply_orientation(np.asarray(counts, np.float32).transpose(2, 1, 0), back)
        header = self._image.header.copy()
        # What they say may be about the source, or about a patient.
        header.extensions.clear()
        header.set_data_dtype(np.float32)
        header["cal_min"], header["cal_max"], header["descrip"] = 0, 0, note.encode("ascii", "replace")[:79]
        image = type(self._image)(data.reshape(self._image.shape), self._image.affine, header)
        content = image.to_bytes()
        return gzip.compress(content, mtime=0) if self._packed else content


def nifti_series(path: Path, raw: bytes, plane: str, phase: str, corrected: bool) -> Series:
    """The series in the (inflated) bytes of a NIfTI file; raises InputError, or what nibabel does for a damaged one."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff

    image = _image(raw)
    shape = _stack_shape(path, image)
    check_shape(path, shape, image.get_data_dtype(), len(raw) - int(image.dataobj.offset))
    unit = _MM.get(image.header.get_xyzt_units()[0], 1.0)
    affine = image.affine @ np.diag([unit, unit, unit, 1.0])
    affine[:3, 3] = image.affine[:3, 3] * unit
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise InputError(f"{path}: expected an affine with three directions, found another.")
    orientation, of_heart = _orientation(path, affine, plane)
    counts = apply_orientation(np.asarray(image.dataobj, np.float32).reshape(shape), orientation)
    lps = _LPS @ affine @ inv_ornt_aff(orientation, shape)
    steps = np.linalg.norm(lps[:3, :3], axis=0)
    column, row, along = (lps[:3, :3] / steps).T
    return Series(
        counts=np.ascontiguousarray(counts.transpose(2, 1, 0)),
        plane=plane,
        phase=phase,
        pixel_mm=(float(steps[1]), float(steps[0])),
        slice_mm=float(np.copysign(steps[2], np.cross(column, row) @ along)),
        orientation=(*map(float, column), *map(float, row)),
        position=tuple(map(float, lps[:3, 3])),
        attenuation_corrected=corrected,
        path=path,
        form=NiftiForm(image, orientation, path.name.lower().endswith(".gz"), _frame(image) if of_heart else ""),
    )


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


def _orientation(path: Path, affine: NDArray[np.float64], plane: str) -> tuple[NDArray[np.float64], bool]:
    """Which axis of the file becomes columns, rows and slices, which way round, and whether the affine says so."""
    from nibabel.orientations import io_orientation

    heart = np.eye(4)
    heart[:3, :3] = np.array(_AXES[plane]) @ _LPS[:3, :3]
    seen = heart @ affine
    orientation = io_orientation(seen)
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    along_patient = (np.abs(affine[:3, :3] / lengths).max(axis=0) > _ALONG_PATIENT).all()
    if np.isfinite(orientation).all() and not along_patient:
        cosines = np.abs(seen[:3, :3] / lengths)
        if all(cosines[int(to), k] >= _LEAST_COSINE for k, (to, _) in enumerate(orientation)):
            return orientation, True
    upwards = np.linalg.det(affine[:3, :3]) < 0
    _log.warning(
        "%s: expected the affine of a heart in %s, found another; rows are taken to run %s, as in a %s-handed file.",
        *(path, plane, "upwards" if upwards else "downwards", "left" if upwards else "right"),
    )
    return np.array([[0, 1], [1, -1 if upwards else 1], [2, 1]], float), False
