"""What an image looks like by itself: corrected for attenuation, not corrected, or nothing known.

A logistic regression on the figures of `figures`; its coefficients are in attenuation.json, fitted and measured by
`python -m bench judge` on synthetic patients (bench/results/judge).
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from spectac_fast.formats.evidence.figures import figures

COEFFICIENTS = "attenuation.json"


@dataclass(frozen=True)
class Opinion:
    """kind: "NC", "AC", or None where the image leaves it open. clause: why. odds: log odds of AC, NaN where unknown.

    sure: so clear that it stands against the words of a header.
    """

    kind: str | None
    clause: str
    odds: float = float("nan")
    sure: bool = False


# No heart was ever imaged in other ones.
VOXELS_MM = (0.5, 50.0)
UNKNOWN = Opinion(None, "the image shows no heart as the judge knows it")


@dataclass(frozen=True, eq=False)
class Looks:
    """The fitted regression.

    means, scales: of the figures. weights, bias: log odds = weights * (figures - means) / scales + bias. centres [2]:
    of NC and AC after scaling; precision: of the figures about them; limit: largest squared distance of what is known.
    open_between: log odds that leave it open. sure_beyond: (NC below, AC above).
    """

    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    weights: NDArray[np.float64]
    bias: float
    centres: NDArray[np.float64]
    precision: NDArray[np.float64]
    limit: float
    open_between: tuple[float, float]
    sure_beyond: tuple[float, float]

    def scaled(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Figures [..., n] about their means; an unknown one stands at its mean and so speaks for nothing."""
        return np.nan_to_num((found - self.means) / self.scales)

    def odds(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log odds of AC of figures [..., n]."""
        return self.scaled(found) @ self.weights + self.bias

    def distance(self, found: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared Mahalanobis distance to the nearer of NC and AC."""
        off = self.scaled(found)[..., None, :] - self.centres
        return np.einsum("...kn,nm,...km->...k", off, self.precision, off).min(axis=-1)


@functools.cache
def looks() -> Looks:
    """The regression that ships."""
    told = json.loads(files(__package__).joinpath(COEFFICIENTS).read_text(encoding="utf-8"))
    return Looks(
        means=np.array(told["means"]),
        scales=np.array(told["scales"]),
        weights=np.array(told["weights"]),
        bias=told["bias"],
        centres=np.array(told["centres"]),
        precision=np.array(told["precision"]),
        limit=told["limit"],
        open_between=tuple(told["open_between"]),
        sure_beyond=tuple(told["sure_beyond"]),
    )


def opinion(
    counts: NDArray, plane: str, spacing_mm: tuple[float, float, float], directions: NDArray | None = None
) -> Opinion:
    """What a stack looks like; arguments as `figures` takes them."""
    if min(spacing_mm) < VOXELS_MM[0] or max(spacing_mm) > VOXELS_MM[1]:
        return UNKNOWN
    found, known = figures(counts, plane, spacing_mm, directions), looks()
    if found is None or np.isnan(found).sum() > len(found) // 2 or known.distance(found) > known.limit:
        return UNKNOWN
    odds = float(known.odds(found))
    kind = "NC" if odds < known.open_between[0] else "AC" if odds > known.open_between[1] else None
    sure = odds < known.sure_beyond[0] or odds > known.sure_beyond[1]
    how = {"NC": "not corrected", "AC": "corrected", None: "neither clearly corrected nor clearly not"}[kind]
    return Opinion(kind, f"the image looks {how} (log odds of AC {odds:+.1f})", odds, sure)
