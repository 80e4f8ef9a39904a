"""Paired NC/AC cohorts on disk, in either of the two forms that `spectac phantom` writes.

`npy`: `cohort.npy`, uint16 counts [case, phase, plane, kind, 29, 64, 64], memory-mapped, and `index.json`; whatever the
camera's pixels were, these are 6.8 mm. `dicom`: `case-<seed>/{stress,rest}_{SA,VLA,HLA}_{NC,AC}.dcm` on the camera's
own pixels, `case-<seed>/truth.npz` with the other kinds, and `cohort.json` with the same contents as index.json.

Format 1 is the first cohort's. Format 2 has a fourth kind, IDEAL, and of every case its protocol, what was found in the
patient, and the shape and spacing of its stacks.
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
from spectac_fast.terms import IDEAL, KINDS, PHASES, PLANES

# (phase, plane) of a stack; None where it is not known.
SeriesKey = tuple[str | None, str | None]
STACK_SHAPE = (29, 64, 64)
FORMAT_HANOI, FORMAT_PROTOCOLS = 1, 2
KINDS_OF = {FORMAT_HANOI: KINDS, FORMAT_PROTOCOLS: (*KINDS, IDEAL)}
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

    `cases` is a list of dicts (seed, sex, bmi, defects, lv, ..., and in format 2 findings and protocol); `kinds` are
    those that it holds; `spacing_mm` is (slice, row, column). Stacks are float32 counts [29, 64, 64], or in a DICOM
    cohort of format 2 of each case's own shape: SA from apex to base, VLA from septum to lateral wall, HLA from
    inferior to anterior.
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
            self._grids = [_grid(case, index) for case in self.cases]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: expected the index of a cohort, but it cannot be read as one ({error!r})"
            ) from None
        if index.get("format") not in KINDS_OF:
            known = " or ".join(map(str, KINDS_OF))
            raise InputError(f"{path}: expected cohort format {known}, found {index.get('format')!r}")
        self.kinds = KINDS_OF[index["format"]]
        self._array = self._map() if path is array else None

    def _map(self) -> NDArray[np.uint16]:
        path = self.folder / "cohort.npy"
        try:
            array = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: expected the cohort's memory-mapped array, but it cannot be read ({error})"
            ) from None
        expected = (len(PHASES), len(PLANES), len(self.kinds), *STACK_SHAPE)
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
        """(slice, row, column) spacing of every stack, mm. Raises InputError where cases have their own."""
        return self._of_all("spacing", [spacing for _, spacing in self._grids])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of every slice. Raises InputError where cases have their own."""
        return self._of_all("size of slices", [shape[1:] for shape, _ in self._grids])

    def spacing_of(self, case: int, phase: str | None = None, plane: str | None = None) -> tuple[float, float, float]:
        """(slice, row, column) spacing of a case's stacks, which is one, mm."""
        return self._grids[case][1]

    def _of_all(self, what: str, values: list[Any]) -> Any:
        different = sorted(set(values))
        if len(different) != 1:
            raise InputError(
                f"{self.folder}: expected one {what} in all cases, found {len(different)}: make the cohort with "
                "`spectac phantom --format npy`, whose stacks share a grid, or read it case by case."
            )
        return different[0]

    @property
    def seeds(self) -> list[int]:
        return [int(case["seed"]) for case in self.cases]

    def series(self, case: int) -> list[SeriesKey]:
        """(phase, plane) of the stacks of a case: all there are."""
        return [(phase, plane) for phase in PHASES for plane in PLANES]

    def pair(self, case: int, phase: str | None, plane: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """NC and AC counts of one stack."""
        return self._stack(case, phase, plane, "NC"), self._stack(case, phase, plane, "AC")

    def mapped(self, case: int, phase: str | None, plane: str | None) -> dict[str, NDArray[np.uint16]] | None:
        """Each kind of one stack, uint16 [slices, rows, columns], as it lies in the mapped array; None for DICOM."""
        if self._array is None:
            return None
        return dict(zip(self.kinds, self._array[case, PHASES.index(phase), PLANES.index(plane)], strict=True))

    def truth(self, case: int, phase: str | None, plane: str | None) -> NDArray[np.float32]:
        """The phantom's activity on the same voxels, in the counts of a perfect AC image."""
        return self._stack(case, phase, plane, "TRUTH")

    def ideal(self, case: int, phase: str | None, plane: str | None) -> NDArray[np.float32]:
        """AC with the exact map, exact scatter and no noise. Raises InputError for a cohort that was made without."""
        if IDEAL not in self.kinds:
            raise InputError(f"{self.folder}: expected a cohort with {IDEAL}, made with `spectac phantom --ideal`")
        return self._stack(case, phase, plane, IDEAL)

    def scale(self, case: int, phase: str | None) -> float:
        """The phase's count scale: from its NC short-axis stack."""
        return count_scale(self._stack(case, phase, "SA", "NC"), self.spacing_of(case))

    def _stack(self, case: int, phase: str | None, plane: str | None, kind: str) -> NDArray[np.float32]:
        if self._array is not None:
            where = (case, PHASES.index(phase), PLANES.index(plane), self.kinds.index(kind))
            return self._array[where].astype(np.float32)
        folder = self.folder / f"case-{self.cases[case]['seed']}"
        if kind in ("TRUTH", IDEAL):
            with np.load(folder / "truth.npz") as known:
                return known[kind.lower()][PHASES.index(phase), PLANES.index(plane)].astype(np.float32)
        from spectac_fast.formats.dicom import read_series

        return read_series(folder / f"{phase}_{plane}_{kind}.dcm").counts


def _grid(case: dict[str, Any], index: dict[str, Any]) -> tuple[tuple[int, ...], tuple[float, float, float]]:
    """Shape and spacing of a case's stacks: its own, or those of the whole cohort."""
    pixel, slice_ = (float(case[name] if name in case else index[name]) for name in ("pixel_mm", "slice_mm"))
    return tuple(map(int, case.get("shape", STACK_SHAPE))), (slice_, pixel, pixel)
