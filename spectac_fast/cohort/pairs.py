"""Pairs of one's own: DIR/NC/NAME and DIR/AC/NAME, matched by name and by nothing else; or DIR/A and DIR/B.

A name like `<patient>_<stress|rest>_<SA|VLA|HLA>.npy` tells what a file shows; `..._<slice>.png` is one slice of such a
stack, counted without gaps. Any other name is a patient of its own, with one stack of unknown phase and plane.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.cohort.cohort import SeriesKey, reference_plane
from spectac_fast.data.scale import count_scale
from spectac_fast.data.search import PART10, is_part10
from spectac_fast.errors import InputError
from spectac_fast.formats.images import ENDINGS, read_counts
from spectac_fast.formats.pictures import read_picture
from spectac_fast.terms import IDEAL

SIDES = ("NC", "AC")
# Condition and target, as the published loaders of image-to-image networks call their folders.
_PUBLISHED = {"NC": "A", "AC": "B"}
SPACING = "spacing.json"
_NAME = re.compile(r"(.+)_(stress|rest)_(SA|VLA|HLA)(?:_(\d+))?", re.IGNORECASE)


class PairFolder:
    """Read access to a folder of pairs; every file is read and checked at the start.

    `cases`: {"patient": as in the names, "sha256": of its NC counts}; a case has no seed and belongs to whatever the
    folder is given for. `spacing_mm` is (slice, row, column), `shape` (rows, columns) of every slice; stacks are
    float32 counts [slices, rows, columns].

    pixel_mm, slice_mm: spacing in mm, instead of that of spacing.json in the folder. eight_bit: files are PNG or TIFF
    of 8 or 16 bits, grey or three equal channels, and their grey values stand for counts, which 8 bits do not hold.
    Raises InputError with one sentence for a folder without NC or AC, without pairs, with names that lack a partner,
    pairs or slices of unequal sizes, files that `read_counts` refuses, patients with the same NC counts, and where the
    spacing is not known.
    """

    kinds = SIDES

    def __init__(
        self,
        folder: str | Path,
        pixel_mm: float | None = None,
        slice_mm: float | None = None,
        eight_bit: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._places = _places(self.folder)
        self._read: Callable[[Path], NDArray[np.float32]] = _shades if eight_bit else read_counts
        names = _paired_names(self.folder, self._places)
        self.spacing_mm = _spacing(self.folder, pixel_mm, slice_mm)
        patients = _patients(self.folder, names)
        self._files = list(patients.values())
        self.shape: tuple[int, int] = self._counts("NC", names[0]).shape[1:]
        self._slices = 0
        self.cases: list[dict[str, Any]] = [
            {"patient": patient, "sha256": self._checked(series)} for patient, series in patients.items()
        ]
        _check_each_once(self.folder, self.cases)
        self._scales = [
            {phase: self._scale(i, phase) for phase in dict.fromkeys(phase for phase, _ in self.series(i))}
            for i in range(len(self))
        ]

    def __len__(self) -> int:
        return len(self._files)

    def summary(self) -> str:
        """How many patients, stacks and slices there are."""
        stacks = sum(map(len, self._files))
        counted = [_many(n, what) for n, what in ((len(self), "patient"), (stacks, "stack"), (self._slices, "slice"))]
        return f"{', '.join(counted)} of {_by(self.shape)}"

    def series(self, case: int) -> list[SeriesKey]:
        """(phase, plane) of the stacks of a patient; (None, None) where its name does not tell."""
        return list(self._files[case])

    def pair(self, case: int, phase: str | None, plane: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """NC and AC counts of one stack."""
        nc, ac = (self._stack(side, self._files[case][phase, plane]) for side in SIDES)
        return nc, ac

    def ideal(self, case: int, phase: str | None, plane: str | None) -> NDArray[np.float32]:
        """Raises InputError: what AC would be without its errors is known of synthetic patients alone."""
        raise InputError(
            f"{self.folder}: expected a cohort of `spectac phantom` with {IDEAL}, found pairs of NC and AC."
        )

    def mapped(self, case: int, phase: str | None, plane: str | None) -> None:
        """None: files of their own are no mapped array."""

    def spacing_of(self, case: int, phase: str | None = None, plane: str | None = None) -> tuple[float, float, float]:
        """(slice, row, column) spacing of every stack, mm."""
        return self.spacing_mm

    def scale(self, case: int, phase: str | None) -> float:
        """The phase's count scale: from its NC short-axis stack, or the first plane at hand where there is none."""
        return self._scales[case][phase]

    def _stack(self, side: str, names: list[str]) -> NDArray[np.float32]:
        return np.concatenate([self._counts(side, name) for name in names])

    def _counts(self, side: str, name: str) -> NDArray[np.float32]:
        return self._read(self._places[side] / name)

    def _checked(self, series: dict[SeriesKey, list[str]]) -> str:
        """SHA-256 of the NC counts of a patient whose files are sound."""
        digest = hashlib.sha256()
        for names in series.values():
            for name in names:
                nc, ac = (self._counts(side, name) for side in SIDES)
                if nc.shape != ac.shape:
                    raise InputError(
                        f"{self.folder}: expected one size of {name} in NC and in AC, found {_by(nc.shape)} and "
                        f"{_by(ac.shape)}."
                    )
                if nc.shape[1:] != self.shape:
                    raise InputError(
                        f"{self._places['NC'] / name}: expected the first file's slices of {_by(self.shape)}, "
                        f"found {_by(nc.shape[1:])}."
                    )
                if len(names) > 1 and len(nc) > 1:
                    raise InputError(f"{self._places['NC'] / name}: expected one slice by its name, found {len(nc)}.")
                self._slices += len(nc)
                digest.update(nc.tobytes())
        return digest.hexdigest()

    def _scale(self, case: int, phase: str | None) -> float:
        """Raises InputError where NC or AC of the stack that sets the scale holds no counts in the heart region."""
        plane = reference_plane(self.series(case), phase)
        scales = []
        for side, stack in zip(SIDES, self.pair(case, phase, plane), strict=True):
            try:
                scales.append(count_scale(stack, self.spacing_mm))
            except ValueError as error:
                first = self._files[case][phase, plane][0]
                said = str(error).replace("NC stack", f"{side} stack")
                raise InputError(f"{self._places[side] / first}: {said}.") from None
        return scales[0]


def pairs_sha256(cases: Sequence[Mapping[str, Any]]) -> str | None:
    """SHA-256 of the NC counts of all patients that are no synthetic ones, in any order; None where there are none."""
    digests = sorted(case["sha256"] for case in cases if "seed" not in case)
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else None


def _check_each_once(folder: Path, cases: Sequence[Mapping[str, Any]]) -> None:
    known: dict[str, str] = {}
    for case in cases:
        other = known.setdefault(case["sha256"], case["patient"])
        if other != case["patient"]:
            raise InputError(
                f"{folder}: expected every patient once, found {other} and {case['patient']} with the same NC counts."
            )


def is_pair_folder(folder: Path) -> bool:
    """Whether a folder has a side of pairs in it; sides of DICOM or NIfTI alone are those of studies instead."""
    sides = [folder / name for name in SIDES if (folder / name).is_dir()]
    if not sides and all((folder / name).is_dir() for name in _PUBLISHED.values()):
        sides = [folder / name for name in _PUBLISHED.values()]
    held = [path for side in sides for path in side.iterdir() if not path.name.startswith(".")]
    stacks = any(path.suffix.lower() in ENDINGS for path in held)
    return bool(sides) and (stacks or not any(map(_is_of_study, held)))


def _is_of_study(path: Path) -> bool:
    if path.is_dir() or path.name.lower().endswith((".nii", ".nii.gz")):
        return True
    with path.open("rb") as file:
        return is_part10(file.read(PART10), path, lambda trouble: None)


def _shades(path: Path) -> NDArray[np.float32]:
    return read_picture(path).pages


def _places(folder: Path) -> dict[str, Path]:
    """{side: its folder}."""
    missing = [side for side in SIDES if not (folder / side).is_dir()]
    if len(missing) == len(SIDES) and is_pair_folder(folder):
        return {side: folder / name for side, name in _PUBLISHED.items()}
    if missing:
        raise InputError(f"{folder}: expected the folders NC and AC in it, found no {' and no '.join(missing)}.")
    return {side: folder / side for side in SIDES}


def _paired_names(folder: Path, places: Mapping[str, Path]) -> list[str]:
    """The names that both sides have, in the order of the alphabet."""
    names = {
        side: {
            path.name for path in place.iterdir() if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
        }
        for side, place in places.items()
    }
    if not names["NC"] and not names["AC"]:
        raise InputError(f"{folder}: expected pairs of {', '.join(ENDINGS)} files in NC and AC, found none.")
    alone = {side: sorted(names[side] - names[other]) for side, other in (("NC", "AC"), ("AC", "NC"))}
    said = [f"{len(left)} only in {side} (first {left[0]})" for side, left in alone.items() if left]
    if said:
        raise InputError(f"{folder}: expected every name in both NC and AC, found {' and '.join(said)}.")
    return sorted(names["NC"])


def _patients(folder: Path, names: list[str]) -> dict[str, dict[SeriesKey, list[str]]]:
    """{patient: {(phase, plane): its file, or the files of its slices in their order}}."""
    numbered: dict[str, dict[SeriesKey, dict[int | None, str]]] = {}
    for name in names:
        stem = Path(name).stem
        told = _NAME.fullmatch(stem)
        patient, number = stem, None
        key: SeriesKey = (None, None)
        if told:
            patient, key = told[1], (told[2].lower(), told[3].upper())
            number = int(told[4]) if told[4] else None
        slices = numbered.setdefault(patient, {}).setdefault(key, {})
        if number in slices:
            raise InputError(f"{folder}: expected one file for what it shows, found {slices[number]} and {name}.")
        slices[number] = name
    return {
        patient: {key: _in_order(folder, slices) for key, slices in series.items()}
        for patient, series in numbered.items()
    }


def _in_order(folder: Path, slices: dict[int | None, str]) -> list[str]:
    if None in slices and len(slices) > 1:
        other = next(name for number, name in slices.items() if number is not None)
        raise InputError(f"{folder}: expected a whole stack or single slices, found {slices[None]} and {other}.")
    if None in slices:
        return [slices[None]]
    order = sorted(number for number in slices if number is not None)
    for before, after in itertools.pairwise(order):
        if after != before + 1:
            raise InputError(f"{folder}: expected slices without gaps, found {slices[after]} after {slices[before]}.")
    return [slices[number] for number in order]


def _spacing(folder: Path, pixel_mm: float | None, slice_mm: float | None) -> tuple[float, float, float]:
    """(slice, row, column) spacing in mm: what is told, else what spacing.json says."""
    path = folder / SPACING
    if (pixel_mm is None or slice_mm is None) and path.is_file():
        try:
            said = json.loads(path.read_text())
            pixel_mm = float(said["pixel_mm"]) if pixel_mm is None else pixel_mm
            slice_mm = float(said["slice_mm"]) if slice_mm is None else slice_mm
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f'{path}: expected {{"pixel_mm": MM, "slice_mm": MM}}, found something else.') from None
    if pixel_mm is None or slice_mm is None:
        raise InputError(
            f"{folder}: its files do not say how large a pixel is, expected {SPACING} with pixel_mm and slice_mm "
            "there, or --pixel-mm and --slice-mm, found neither."
        )
    for key, value in (("pixel_mm", pixel_mm), ("slice_mm", slice_mm)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{path}: expected {key} above 0, found {value:g}.")
    return (slice_mm, pixel_mm, pixel_mm)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _many(n: int, what: str) -> str:
    return f"{n} {what}" + ("s" if n != 1 else "")
