"""How much of a ventricle lies below normal limits: total perfusion deficit, extent, severity, scores of segments.

After Slomka et al., J. Nucl. Cardiol. 12:66, 2005: a place counts where it lies 2.5 SD below the mean of normals, and
its score rises from 0 at the normal mean to 4 where 70 % of it is lost. The normals that ship are synthetic patients;
`python -m bench normals` made them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate.regional.segments import segment_map

LIMIT_SD, WORST_LOSS, WORST_SCORE = 2.5, 0.7, 4
NORMALS = "normals.npz"
# What a corrected image estimates is AC, so that AC's limits are its own.
LIMITS_OF = {"NC": "NC", "corrected": "AC", "physics": "AC", "AC": "AC"}


@dataclass(frozen=True, eq=False)
class NormalMaps:
    """Mean and SD of normal polar maps, % of maximum, [24, 72]; group: whose they are, in words."""

    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    group: str


@dataclass(frozen=True, eq=False)
class Deficit:
    """A polar map against normal limits.

    total: total perfusion deficit, % (0 normal, 100 nothing left anywhere). extent: % of the ventricle below its limit.
    severity: how far these places lie below the normal mean, in SD, on average; 0 where there is none. scores: 0 to 4
    of each segment, [17].
    """

    total: float
    extent: float
    severity: float
    scores: NDArray[np.int64]

    @property
    def summed(self) -> int:
        """The scores' sum: SSS of stress, SRS of rest."""
        return int(self.scores.sum())


def deficit(polar: NDArray[np.float64], normal: NormalMaps) -> Deficit:
    """polar: [24, 72], % of maximum. Places are weighted by the area they stand for: rings shrink towards the apex."""
    levels, angles = polar.shape
    area = np.cos((np.arange(levels) + 0.5) / levels * np.pi / 2)[:, None] * np.ones(angles)
    below = polar < normal.mean - LIMIT_SD * normal.sd
    loss = np.where(below, np.clip((normal.mean - polar) / (WORST_LOSS * normal.mean), 0, 1), 0)
    depth = (normal.mean - polar) / normal.sd
    segments = segment_map()
    scores = [_mean(WORST_SCORE * loss, area * (segments == k)) for k in range(1, 18)]
    return Deficit(
        100 * _mean(loss, area),
        100 * _mean(below.astype(float), area),
        _mean(depth, area * below) if below.any() else 0.0,
        np.floor(np.array(scores) + 0.5).astype(np.int64),
    )


def _mean(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    return float((values * weight).sum() / weight.sum())


def normal_maps(kind: str, sex: str) -> NormalMaps | None:
    """The shipped normals of a kind of image and a sex ("F" or "M"), both phases together; None of another sex."""
    with files("spectac_fast.evaluate.regional").joinpath(NORMALS).open("rb") as file, np.load(file) as held:
        groups = json.loads(str(held["groups"]))
        if sex not in groups:
            return None
        of = LIMITS_OF[kind]
        mean, sd = (held[f"{name}_{sex}_{of}"].astype(np.float64) for name in ("mean", "sd"))
        return NormalMaps(mean, sd, groups[sex])
