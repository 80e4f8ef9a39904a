"""Paired NC/AC cohorts on disk, in either of the two forms that `spectac phantom` writes.

`npy`: `cohort.npy`, uint16 counts [case, phase, plane, kind, 29, 64, 64], memory-mapped, and `index.json`. `dicom`:
`case-<seed>/{stress,rest}_{SA,VLA,HLA}_{NC,AC}.dcm`, `case-<seed>/truth.npz`, and `cohort.json` with the same
contents as index.json.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import count_scale
from spectac_fast.errors import InputError
from spectac_fast.terms import KINDS, PHASES, PLANES

# (phase, plane) of a stack; None where it is not known.
SeriesKey = tuple[str | None, str | None]
STACK_SHAPE = (29, 64, 64)
FORMAT = 1
SPLITS = {
    "train": (0, 500_000),
    "validation": (500_000, 600_000),
    "test": (600_000, 700_000),
    "reserved": (900_000, 2**63),
}


def split_of(seed: int) -> str:
    """Which split a synthetic patient's seed belongs to: train, validation, test, reserved (acceptance) or
    unassigned.
    """
    return next((name for name, (low, high) in SPLITS.items() if low <= seed < high), "unassigned")


def reference_plane(series: Sequence[SeriesKey], phase: str | None) -> str | None:
    """The plane whose NC sets a phase's count scale: SA where there is one, else the first at hand."""
    planes = [plane for of, plane in series if of == phase]
    return "SA" if "SA" in planes else planes[0]


class Cohort:
    """Read access to a cohort folder.

    `cases` is a list of dicts (seed, sex, bmi, defects, lv, ...); `spacing_mm` is (slice, row, column). Stacks are
    float32 counts [29, 64, 64]: SA from apex to base, VLA from septum to lateral wall, HLA from inferior to anterior.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        array, dicom = self.folder / "index.json", self.folder / "cohort.json"
        path = array if array.is_file() else dicom
        if not path.is_file():
            raise InputError(
                f"{self.folder}: expected a cohort (index.json with cohort.npy, or cohort.json), but found neither"
            )
        try:
            index = json.loads(path.read_text())
            self.cases: list[dict[str, Any]] = index["cases"]
            self.pixel_mm, self.slice_mm = float(index["pixel_mm"]), float(index["slice_mm"])
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: expected the index of a cohort, but it cannot be read as one ({error!r})"
            ) from None
        if index.get("format") != FORMAT:
            raise InputError(f"{path}: expected cohort format {FORMAT}, found {index.get('format')!r}")
        self._array = self._map() if path is array else None

    def _map(self) -> NDArray[np.uint16]:
        path = self.folder / "cohort.npy"
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: expected the cohort's memory-mapped array, but it cannot be read ({error})"
            ) from None
        expected = (len(PHASES), len(PLANES), len(KINDS), *STACK_SHAPE)
        if (
            array.dtype != np.uint16
            or array.ndim != 7
            or array.shape[1:] != expected
            or array.shape[0] < len(self.cases)
        ):
            raise InputError(
                f"{path}: expected uint16 [{len(self.cases)}, {expected}], found {array.dtype} {array.shape}"
            )
        return array

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        return (self.slice_mm, self.pixel_mm, self.pixel_mm)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every slice."""
        return STACK_SHAPE[1:]

    @property
    def seeds(self) -> list[int]:
        return [int(case["seed"]) for case in self.cases]

    def series(self, case: int) -> list[SeriesKey]:
        """(phase, plane) of the stacks of a case: all there are."""
        return [(phase, plane) for phase in PHASES for plane in PLANES]

    def pair(self, case: int, phase: str, plane: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """NC and AC counts of one stack."""
        return self._stack(case, phase, plane, "NC"), self._stack(case, phase, plane, "AC")

    def truth(self, case: int, phase: str, plane: str) -> NDArray[np.float32]:
        """The phantom's activity on the same voxels, in the counts of a perfect AC image."""
        return self._stack(case, phase, plane, "TRUTH")

    def scale(self, case: int, phase: str) -> float:
        """The phase's count scale: from its NC short-axis stack."""
        return count_scale(self._stack(case, phase, "SA", "NC"), self.spacing_mm)

    def _stack(self, case: int, phase: str, plane: str, kind: str) -> NDArray[np.float32]:
        if self._array is not None:
            where = (case, PHASES.index(phase), PLANES.index(plane), KINDS.index(kind))
            return self._array[where].astype(np.float32)
        folder = self.folder / f"case-{self.cases[case]['seed']}"
        if kind == "TRUTH":
            with np.load(folder / "truth.npz") as truth:
                return truth["truth"][PHASES.index(phase), PLANES.index(plane)].astype(np.float32)
        from spectac_fast.formats.dicom import read_series

        return read_series(folder / f"{phase}_{plane}_{kind}.dcm").counts
