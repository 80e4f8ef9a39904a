"""What a statement needs of every phase that was corrected, kept while a table is made; pictures of the worst alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import count_scale
from spectac_fast.evaluate.own.phase import StudyPhase
from spectac_fast.evaluate.regional.ventricle import find
from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.analysis import examined
from spectac_fast.evaluate.report.gather import Stack, stack_of
from spectac_fast.evaluate.table.phase import Planes

if TYPE_CHECKING:
    from spectac_fast.evaluate.table.score import AnyPhase
    from spectac_fast.evaluate.table.variants import Row

SHOWN = ("NC", "corrected", "AC")
# How many patients are shown.
WORST = 3
# NC and AC of 400 phases of random protocols differ by up to 37 % after one factor in 99 of 100, two voxels off by 52 %
# and more; their ventricles are found 2.5 mm apart at most.
_UNLIKE, _ELSEWHERE_MM = 0.45, 6.0


@dataclass(frozen=True)
class Seen:
    """One phase of a patient.

    number: of the patient. gain: AC/NC, by the count scales. away: of "NC" and "corrected" the root mean square
    difference to AC in the heart region after one factor, as a share of AC. segments [17], polar [24, 72]: % of
    maximum, by kind of image; empty without a short-axis stack. warnings: sentences. tiles: by kind the middle slices
    of the planes side by side, % of maximum; None of those that are not shown.
    """

    number: int
    phase: str
    planes: tuple[str, ...]
    gain: float
    away: Mapping[str, float]
    segments: Mapping[str, NDArray[np.float64]]
    polar: Mapping[str, NDArray[np.float64]]
    warnings: tuple[str, ...]
    tiles: Mapping[str, NDArray[np.float64]] | None = None


class Collector:
    """Looks at every phase that `score_cohort` has corrected, as one row corrects it; `seen` holds all of them."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.seen: list[Seen] = []

    def look(self, phase: AnyPhase) -> None:
        """Keep one phase; of pictures those of the patients that are the worst so far."""
        assert isinstance(phase, StudyPhase)
        self.seen.append(_seen(phase, self.row))
        shown = {patient for patient, _ in ranked(self.seen)[:WORST]}
        self.seen = [one if one.number in shown else replace(one, tiles=None) for one in self.seen]


def ranked(seen: list[Seen]) -> list[tuple[int, Seen]]:
    """(number, worse phase) of every patient, the one farthest from AC first."""
    worst: dict[int, Seen] = {}
    for one in seen:
        known = worst.setdefault(one.number, one)
        if one.away["corrected"] > known.away["corrected"]:
            worst[one.number] = one
    return sorted(worst.items(), key=lambda each: -each[1].away["corrected"])


def _seen(phase: StudyPhase, row: Row) -> Seen:
    corrected, _ = phase.correct(row)
    kinds: dict[str, Planes] = {"NC": phase.nc, "corrected": corrected, "AC": phase.ac}
    stacks = {kind: _stacks(phase, of) for kind, of in kinds.items()}
    found = examined(phase.phase, stacks, {})
    reference = phase.reference
    ac_scale = count_scale(phase.ac[reference], phase.spacing_of(reference))
    warnings = [*phase.warnings(row), *(f"{phase.name} {text}" for text in found.warnings), *_doubts(phase)]
    return Seen(
        number=phase.number,
        phase=phase.phase,
        planes=tuple(map(str, phase.pairs)),
        gain=ac_scale / phase.scale,
        away={kind: _away(kinds[kind], phase) for kind in ("NC", "corrected")},
        segments=dict(found.segments),
        polar=dict(found.polar),
        warnings=tuple(dict.fromkeys(warnings)),
        tiles=_tiles(found),
    )


def _stacks(phase: StudyPhase, of: Planes) -> dict[str, Stack]:
    return {str(plane): stack_of(replace(pair.nc, counts=pair.on_nc(of[plane]))) for plane, pair in phase.pairs.items()}


def _away(found: Planes, phase: StudyPhase) -> float:
    hearts = phase.hearts
    own, ac = (
        np.concatenate([np.asarray(of[plane], np.float64)[hearts[plane]] for plane in phase.nc])
        for of in (found, phase.ac)
    )
    square = float(own @ own)
    factor = float(own @ ac) / square if square else 0.0
    return math.sqrt(float(np.square(factor * own - ac).sum() / (ac @ ac)))


def _doubts(phase: StudyPhase) -> list[str]:
    """Sentences on pairs that may not be what they are taken for."""
    said = []
    for plane, pair in phase.pairs.items():
        where = f"{phase.name} {phase.phase} {plane}"
        if pair.note:
            said.append(f"{where}: {pair.note}.")
        if pair.unlike > _UNLIKE:
            said.append(
                f"{where}: NC and AC differ by {100 * pair.unlike:.0f} % after one factor, more than attenuation "
                "makes; do they show one heart on the same voxels?"
            )
    if phase.ventricle is not None:
        pair = phase.pairs["SA"]
        of_ac = find(pair.on_nc(pair.ac), pair.nc.spacing_mm)
        apart = float(np.linalg.norm(np.subtract(of_ac.centre_mm, phase.ventricle.centre_mm)))
        if apart > _ELSEWHERE_MM:
            said.append(f"{phase.name} {phase.phase} SA: the ventricle of AC lies {apart:.0f} mm from that of NC.")
    return said


def _tiles(found: images.Phase) -> dict[str, NDArray[np.float64]]:
    """By kind the middle slice of each plane, side by side, and the difference of corrected and AC."""
    rows: dict[str, list[NDArray[np.float64]]] = {kind: [] for kind in SHOWN}
    for kind in SHOWN:
        for plane, stack in found.stacks[kind].items():
            window = images.window(found, plane, stack, 0.0)
            rows[kind].append(images.tiles(stack, window, found.peaks[kind]))
    joined = {kind: np.concatenate(row, axis=1) for kind, row in rows.items()}
    return joined | {"difference": joined["corrected"] - joined["AC"]}
