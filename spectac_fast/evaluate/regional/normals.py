"""Normal limits: how low a segment of a normal patient's AC image may be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.terms import PHASES

LIMIT_SD = 2.0
SMALLEST_GROUP = 3


@dataclass(frozen=True)
class NormalLimits:
    """Lower limits, mean - 2 SD of the group, % of maximum.

    by_sex: {"M" | "F": float64 [17]}; group: the patients they come from, as the table says it.
    """

    by_sex: Mapping[str, np.ndarray]
    group: str

    def of(self, cases: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """The limits of some patients, [case, 1, 17]; NaN, below which nothing is, for a sex without a group."""
        return np.stack([self.by_sex.get(case["sex"], np.full(17, np.nan)) for case in cases])[:, None]


def _limit(segments: np.ndarray) -> np.ndarray:
    at_hand = segments.reshape(-1, segments.shape[-1])
    return at_hand.mean(axis=0) - LIMIT_SD * at_hand.std(axis=0, ddof=1)


def limits_of_group(cohort: Any, name: str) -> NormalLimits:
    """Limits of each sex from the AC images of every normal patient of a cohort (see cohort/cohort.py), both phases.

    name: of the group, for the table. A sex with fewer than three normal patients gets no limit.
    """
    segments: dict[str, list[np.ndarray]] = {}
    for i, case in enumerate(cohort.cases):
        if not case["defects"]:
            stacks = [cohort.pair(i, phase, "SA")[1] for phase in PHASES]
            known = Ventricle.of_phantom(case["lv"])
            of_case = np.stack([segment_means(stack, known, cohort.spacing_mm) for stack in stacks])
            segments.setdefault(case["sex"], []).append(of_case)
    enough = {sex: np.stack(found) for sex, found in sorted(segments.items()) if len(found) >= SMALLEST_GROUP}
    counts = " and ".join(f"{len(found)} {sex}" for sex, found in enough.items())
    return NormalLimits({sex: _limit(found) for sex, found in enough.items()}, f"{counts} of {name}, each sex its own")


def limits_of_table(cases: Sequence[Mapping[str, Any]], ac: np.ndarray) -> NormalLimits | None:
    """Limits from the normal patients of a table itself, ac [case, phase, 17]; both sexes together, they are few."""
    normal = np.array([not case["defects"] for case in cases])
    if normal.sum() < SMALLEST_GROUP:
        return None
    limit = _limit(ac[normal])
    return NormalLimits({"M": limit, "F": limit}, f"{normal.sum()} of this table, both sexes together")
