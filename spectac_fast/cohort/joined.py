"""Several cohorts, or folders of pairs, read as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spectac_fast.cohort.cohort import Cohort, SeriesKey
from spectac_fast.cohort.map_cohort import MapCohort
from spectac_fast.cohort.own.grid import OneGrid
from spectac_fast.cohort.paired import facts_of_patient
from spectac_fast.cohort.pairs import PairFolder
from spectac_fast.data.facts import StudyFacts
from spectac_fast.errors import InputError


class JoinedCohort:
    """Several cohorts of one geometry read as one: their cases follow each other. Members as of `Cohort`, or where they
    hold maps as of `MapCohort`.
    """

    def __init__(self, parts: Sequence[Cohort | PairFolder | OneGrid | MapCohort]) -> None:
        self.parts = tuple(parts)
        first = self.parts[0]
        for part in self.parts[1:]:
            if part.spacing_mm != first.spacing_mm:
                raise InputError(
                    f"{part.folder}: expected {first.spacing_mm} mm as in {first.folder}, found {part.spacing_mm}"
                )
            if part.shape != first.shape:
                raise InputError(
                    f"{part.folder}: expected slices of {first.shape} pixels as in {first.folder}, found {part.shape}"
                )
            if isinstance(part, MapCohort) != isinstance(first, MapCohort):
                raise InputError(f"{part.folder}: expected a cohort of maps as {first.folder} is, or neither to be one")
        self.cases = [case for part in self.parts for case in part.cases]
        seeds = Counter(int(case["seed"]) for case in self.cases if "seed" in case)
        counts = Counter(case["sha256"][:12] for case in self.cases if "seed" not in case)
        for kind, found in (("seeds", seeds), ("patients with the same NC counts", counts)):
            repeated = [each for each, n in found.items() if n > 1]
            if repeated:
                raise InputError(
                    f"{self.parts[-1].folder}: expected other patients than in the cohorts before it, "
                    f"found {len(repeated)} {kind} twice, such as {repeated[0]}"
                )
        self.spacing_mm, self.shape = first.spacing_mm, first.shape
        self.kinds = tuple(kind for kind in first.kinds if all(kind in part.kinds for part in self.parts))
        # All of one sort, so that one of these is empty.
        self._pairs = [(part, i) for part in parts if not isinstance(part, MapCohort) for i in range(len(part))]
        self._maps = [(part, i) for part in parts if isinstance(part, MapCohort) for i in range(len(part))]

    def series(self, case: int) -> list[SeriesKey]:
        """(phase, plane) of the stacks of a case."""
        part, i = self._pairs[case]
        return part.series(i)

    def pair(self, case: int, phase: str | None, plane: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """NC and AC counts of one stack."""
        part, i = self._pairs[case]
        return part.pair(i, phase, plane)

    def ideal(self, case: int, phase: str | None, plane: str | None) -> NDArray[np.float32]:
        """AC without its errors. Raises InputError where the part that holds the case has none."""
        part, i = self._pairs[case]
        return part.ideal(i, phase, plane)

    def mapped(self, case: int, phase: str | None, plane: str | None) -> dict[str, NDArray[np.uint16]] | None:
        """Each kind of one stack where a part has it in a mapped array."""
        part, i = self._pairs[case]
        return part.mapped(i, phase, plane)

    def facts_of(self, case: int) -> StudyFacts:
        """What is known of a case besides its images."""
        part, i = self._pairs[case]
        return facts_of_patient(part, i)

    def spacing_of(self, case: int, phase: str | None = None, plane: str | None = None) -> tuple[float, float, float]:
        """(slice, row, column) spacing of every stack, mm."""
        return self.spacing_mm

    def scale(self, case: int, phase: str | None) -> float:
        """The phase's count scale: from its NC short-axis stack."""
        part, i = self._pairs[case]
        return part.scale(i, phase)

    def volume(self, case: int, kind: str) -> NDArray[np.float16]:
        """One kind of a case of maps."""
        part, i = self._maps[case]
        return part.volume(i, kind)

    def heart(self, case: int) -> NDArray[np.float64]:
        """The middle of the left ventricle of a case of maps."""
        part, i = self._maps[case]
        return part.heart(i)
