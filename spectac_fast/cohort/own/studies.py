"""Pairs of one's own studies as a cohort: every patient's NC and AC series on their own pixels."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.cohort.cohort import SeriesKey, reference_plane
from spectac_fast.cohort.own.aligned import NoPairError, Pair
from spectac_fast.cohort.own.matching import About, Left, Study, match
from spectac_fast.data.facts import StudyFacts, agreed_facts
from spectac_fast.data.scale import count_scale
from spectac_fast.errors import InputError, SpectacError
from spectac_fast.outputs import appearing
from spectac_fast.terms import IDEAL, PHASES, PLANES

_SHELF_BYTES = 2**30
# Of one stack: rows, columns and (slice, row, column) spacing in mm.
Grid = tuple[int, int, tuple[float, float, float]]


class StudyPairs:
    """Read access to the pairs in an export of studies (`matching`).

    `cases`: {"patient": a number from 1, "sha256": of the NC counts}; a case has no seed and belongs to whatever the
    folder is given for. `left`: what is in no pair, `notes`: sentences on what was assumed. Stacks are float32 counts
    [slices, rows, columns], each with a spacing of its own. What does not fit into a gigabyte of memory is read again
    when it is asked for.

    looked: called for each file that is read. Raises as `match`.
    """

    kinds = ("NC", "AC")

    def __init__(self, folder: str | Path, looked: Callable[[], None] = lambda: None) -> None:
        self.folder = Path(folder)
        self._shelf: dict[Study, dict[SeriesKey, Pair]] = {}
        self._room = _SHELF_BYTES
        matching = match(self.folder, looked, self._keep)
        self.left: list[Left] = matching.left
        self.notes: list[str] = matching.notes
        self._patients = matching.patients
        self._kept: tuple[int, dict[SeriesKey, Pair]] | None = None
        self.cases: list[dict[str, Any]] = [
            {"patient": number, "sha256": self._digest(number - 1)} for number in range(1, len(self) + 1)
        ]

    def __len__(self) -> int:
        return len(self._patients)

    def summary(self) -> str:
        """How many patients, studies and pairs there are, and what is in none."""
        studies, pairs = sum(map(len, self._patients)), sum(len(self.about(i)) for i in range(len(self)))
        many = ((len(self), "patient", "patients"), (studies, "study", "studies"), (pairs, "pair", "pairs"))
        said = ", ".join(f"{count} {one if count == 1 else more}" for count, one, more in many)
        return f"{said} of NC and AC series; {len(self.left)} other files or series"

    def about(self, case: int) -> dict[SeriesKey, About]:
        """What is known of the pairs of a patient, in the customary order, without reading them."""
        found = {key: of for study in self._patients[case] for key, of in study.about.items()}
        return {(phase, plane): found[phase, plane] for phase in PHASES for plane in PLANES if (phase, plane) in found}

    def grids(self, cases: Sequence[int] | None = None) -> Counter[Grid]:
        """How many pairs some patients, or all, have of each size and spacing; spacings are rounded to 0.01 mm."""
        every = [of for i in (range(len(self)) if cases is None else cases) for of in self.about(i).values()]
        return Counter((*of.shape[1:], _rounded(of.spacing_mm)) for of in every)

    def series(self, case: int) -> list[SeriesKey]:
        """(phase, plane) of the pairs of a patient."""
        return list(self.about(case))

    def pairs(self, case: int) -> dict[SeriesKey, Pair]:
        """The pairs of a patient with their geometry."""
        if self._kept is None or self._kept[0] != case:
            found = [self._shelf.get(study) or self._read(case, study) for study in self._patients[case]]
            together = {key: pair for pairs in found for key, pair in pairs.items()}
            self._kept = case, {key: together[key] for key in self.about(case)}
        return self._kept[1]

    def pair(self, case: int, phase: str | None, plane: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """NC and AC counts of one pair, where both hold any."""
        pair = self._pair(case, phase, plane)
        return pair.of_nc(pair.nc.counts), pair.ac

    def ideal(self, case: int, phase: str | None, plane: str | None) -> NDArray[np.float32]:
        """Raises InputError: what AC would be without its errors is known of synthetic patients alone."""
        raise InputError(f"{self.folder}: expected a cohort of `spectac phantom` with {IDEAL}, found studies.")

    def mapped(self, case: int, phase: str | None, plane: str | None) -> None:
        """None: files of their own are no mapped array."""

    def spacing_of(self, case: int, phase: str | None, plane: str | None) -> tuple[float, float, float]:
        """(slice, row, column) spacing of a pair, mm."""
        return self._pair(case, phase, plane).nc.spacing_mm

    def scale(self, case: int, phase: str | None) -> float:
        """The phase's count scale: from its NC short-axis stack, or the first plane at hand where there is none."""
        nc = self._pair(case, phase, reference_plane(self.series(case), phase)).nc
        return count_scale(nc.counts, nc.spacing_mm)

    def facts_of(self, case: int) -> StudyFacts:
        """What the headers of a patient's series say, where they do not contradict each other."""
        return agreed_facts(of.facts for of in self.about(case).values())

    def write_listing(self, path: Path) -> None:
        """A CSV of all files: those of each pair under its patient's number, and what is in none with the reason."""
        with appearing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["patient", "phase", "plane", "NC", "AC", "in no pair"])
            for i, case in enumerate(self.cases):
                for (phase, plane), of in self.about(i).items():
                    writer.writerow([case["patient"], phase, plane, *of.paths, of.note])
            for left in self.left:
                writer.writerow(["", "", "", "", "", left.said])

    def _pair(self, case: int, phase: str | None, plane: str | None) -> Pair:
        return self.pairs(case)[phase, plane]

    def _read(self, case: int, study: Study) -> dict[SeriesKey, Pair]:
        try:
            return study.pairs()
        except (SpectacError, NoPairError, LookupError):
            # No sentence with a file's name, which may stand in a statement.
            raise InputError(f"patient {case + 1}: expected files at rest, found that they changed.") from None

    def _keep(self, study: Study, pairs: dict[SeriesKey, Pair]) -> None:
        needed = sum(pair.nc.counts.nbytes + pair.ac.nbytes for pair in pairs.values())
        if needed <= self._room:
            self._room -= needed
            self._shelf[study] = pairs

    def _digest(self, case: int) -> str:
        return hashlib.sha256("".join(of.sha256 for of in self.about(case).values()).encode()).hexdigest()


def _rounded(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    depth, row, column = (round(mm, 2) for mm in spacing_mm)
    return depth, row, column
