"""What the weight files of networks of projections say of themselves, and where a study is unlike what they learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from spectac_fast.models.description import describe, reading
from spectac_fast.reconstruct.acquired import Acquired

# Of its bins a view's hundredth are bright ones.
_BRIGHT = 0.99
# Beyond the ranges that were learnt by this share, nobody would tell the difference.
_SLACK = 0.1


@dataclass(frozen=True)
class Learnt:
    """The (least, most) of what a network was trained on. bright: counts in a bin of the brightest hundredth; step:
    degrees between the views that it sees; pixel: side of a bin, mm.
    """

    bright: tuple[float, float]
    step: tuple[float, float]
    pixel: tuple[float, float]

    @classmethod
    def of(cls, found: Mapping[str, Sequence[float]]) -> Learnt:
        """Of a weight file's words."""
        low_high = ((float(found[name][0]), float(found[name][1])) for name in ("bright", "step", "pixel"))
        return cls(*low_high)

    def doubts(self, acquired: Acquired, name: str) -> tuple[str, ...]:
        """A sentence for each number of an acquisition that network `name` has not seen."""
        found = {
            "bright": (bright(acquired.counts), "counts in its brightest bins"),
            "step": (step(acquired.angles), "degrees from view to view"),
            "pixel": (acquired.pixel_mm, "mm across its bins"),
        }
        said = []
        for key, (value, words) in found.items():
            low, high = getattr(self, key)
            if not low * (1 - _SLACK) <= value <= high * (1 + _SLACK):
                said.append(f"there are {value:.3g} {words}, and {name} was trained on {low:.3g} to {high:.3g}.")
        return tuple(said)


def bright(counts: Tensor) -> float:
    """Counts that a hundredth of the bins of views [V, bins, rows] reach or exceed."""
    return float(np.quantile(counts.cpu().numpy(), _BRIGHT))


def step(angles: Sequence[float]) -> float:
    """Degrees from one view to the next, the usual distance."""
    return float(np.median(np.diff(np.asarray(angles)))) if len(angles) > 1 else 360.0


def is_closed(angles: Sequence[float]) -> bool:
    """Whether views go all round, so that the first follows the last."""
    return angles[0] + 360.0 - angles[-1] < 1.5 * step(angles)


@dataclass(frozen=True)
class Described:
    """config: of a weight file. learnt: what it was trained on. card, weights_sha256: where it comes from."""

    config: Mapping[str, Any]
    learnt: Learnt
    card: Mapping[str, Any]
    weights_sha256: str


def described(header: dict[str, Any], path: Path) -> Described:
    """What a weight file says; InputError for one that does not say it."""
    with reading(path):
        said, config = describe(header, path), header["config"]
        return Described(config, Learnt.of(config["learnt"]), said.card, said.weights_sha256)
