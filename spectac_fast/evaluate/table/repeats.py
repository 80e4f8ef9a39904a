"""Several trainings of one method, which differ in their seed alone, as one row: their mean and how far they spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from spectac_fast.evaluate.table.metrics import PatientScores, RegionScores
from spectac_fast.evaluate.table.score import RowResult
from spectac_fast.evaluate.table.variants import Row


@dataclass(frozen=True)
class Repeated:
    """The results of one label. patients, ideal: per case, every score the mean over the trainings; trainings: as
    scored.
    """

    row: Row
    patients: list[PatientScores]
    ideal: list[PatientScores]
    trainings: list[RowResult]

    @property
    def seconds_per_slice(self) -> float:
        return sum(r.seconds for r in self.trainings) / sum(r.slices for r in self.trainings)

    def spread(self, region: str, score: str) -> dict[str, float | list[float]]:
        """{"mean", "sd" (n - 1), "values"} over the trainings, each training's value the mean over its patients."""
        values = [float(np.mean([getattr(getattr(p, region), score) for p in r.patients])) for r in self.trainings]
        return {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)), "values": values}


def merged(results: Sequence[RowResult]) -> list[Repeated]:
    """One entry a label, in the order of first appearance."""
    by_label: dict[str, list[RowResult]] = {}
    for result in results:
        by_label.setdefault(result.row.label, []).append(result)
    return [
        Repeated(same[0].row, _means([r.patients for r in same]), _means([r.ideal for r in same]), same)
        for same in by_label.values()
    ]


def _means(trainings: Sequence[Sequence[PatientScores]]) -> list[PatientScores]:
    return [_mean(scores) for scores in zip(*trainings, strict=True)]


def _mean(scores: Sequence[PatientScores]) -> PatientScores:
    capped = round(float(np.mean([s.capped_slices for s in scores])))
    whole, heart = (_mean_region([getattr(s, name) for s in scores]) for name in ("whole", "heart"))
    return replace(scores[0], whole=whole, heart=heart, capped_slices=capped)


def _mean_region(scores: Sequence[RegionScores]) -> RegionScores:
    return RegionScores(**{f.name: float(np.mean([getattr(s, f.name) for s in scores])) for f in fields(RegionScores)})
