"""How wrong a correction is expected to be: what corrections that looked alike were wrong by.

A distance from the training population says that a study is unusual, not that its correction is bad. So a correction
is summed up in numbers that are read off NC and the corrected image together (`FEATURES`), and a Gaussian process
(Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006, equation 2.25) over patients of many protocols, of
whom both errors are known, gives the mean error of the 17 segments to AC, and that of NC without correction.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.cohort.population import FEATURES as OF_NC
from spectac_fast.cohort.population import TEMPLATE_SHAPE, describe
from spectac_fast.data.facts import NOTHING_KNOWN, StudyFacts
from spectac_fast.data.scale import heart_mask
from spectac_fast.errors import InputError
from spectac_fast.formats.evidence.figures import NAMES as FIGURES
from spectac_fast.formats.evidence.figures import figures

FORMAT = 1
_ARRAYS = ("means", "scales", "weights", "level", "template")
OF_THE_CHANGE = ("gain", "gain_spread", "gain_up", "gain_lateral", "gain_base", "gain_outwards", "apart")
# What headers say of body and camera (data/facts.py), and how much more each counts than a figure of the images.
OF_THE_STUDY, STUDY_WEIGHT = ("sex", "bmi", "prone", "arc", "cardiac", "fbp", "scatter"), 2.0
# Of NC, of NC and AC as the judge of images sees them, of the change from one to the other, and of the study.
FEATURES = (
    *OF_NC,
    *(f"NC {name}" for name in FIGURES),
    *(f"AC {name}" for name in FIGURES),
    *OF_THE_CHANGE,
    *OF_THE_STUDY,
)
_COUNTS = np.array([STUDY_WEIGHT if name in OF_THE_STUDY else 1.0 for name in FEATURES])
# A part of the heart region that holds less of NC's maximum there is no tissue whose gain means anything.
_TISSUE = 0.2
# What is further off than this in standard deviations of what was measured says no more than that it is far: real
# patients lie further off than simulated ones, and the process must not go on from what it knows of these.
_FURTHEST = 2.0
_TINY = 1e-6
# NC of which less error than this (%) is expected, and of the correction at least so many times as much: that of 22 of
# 24 validation studies with nothing to correct, of none of 468 others (bench/results/expected), and not of the real
# patient of the demo, who was not corrected and of whom 1.8 % is expected.
NOTHING_ERROR, NOTHING_RATIO = 1.65, 2.0


@dataclass(frozen=True)
class Expectation:
    """Mean absolute error of the 17 segments to AC, % of maximum: of the corrected image and of NC as it is."""

    corrected: float
    uncorrected: float

    @property
    def nothing_to_correct(self) -> bool:
        """Whether NC looks as if attenuation were corrected already, or as if there had been none."""
        return self.uncorrected < NOTHING_ERROR and self.corrected > NOTHING_RATIO * self.uncorrected

    @property
    def clause(self) -> str:
        """Both errors in words."""
        return (
            f"segments are expected to differ from CT-based correction by {self.corrected:.1f} % of the maximum, "
            f"without correction by {self.uncorrected:.1f} %"
        )


@dataclass(frozen=True, eq=False)
class ExpectedError:
    """The fitted process.

    means, scales [n]: of the features. length: over which it changes, in standard deviations of all features together;
    slope: variance of its part that is linear in the features, over that of the rest, so that what lies far outside is
    not taken for usual. at [m, n]: the scaled features of the studies measured; weights [m, 2]: of each for the
    logarithms of (corrected, uncorrected) error about `level` [2]. limits: the corrected error (%) and the logarithm of
    its ratio to NC's above which a study is warned of. template: of the population of SA. about: where it comes from;
    belongs_to: SHA-256 of the weights that corrected.
    """

    means: NDArray[np.float64]
    scales: NDArray[np.float64]
    length: float
    slope: float
    at: NDArray[np.float64]
    weights: NDArray[np.float64]
    level: NDArray[np.float64]
    limits: tuple[float, float]
    template: NDArray[np.float64]
    about: str
    belongs_to: str

    def of(self, features: NDArray[np.floating]) -> Expectation:
        """What is expected of a correction with these `FEATURES`; of a feature that is NaN nothing is known, and it
        counts as usual.
        """
        alike = kernel(scaled(features, self.means, self.scales)[None], self.at, self.length, self.slope)[0]
        corrected, uncorrected = np.exp(self.level + alike @ self.weights)
        return Expectation(float(corrected), float(uncorrected))

    def of_images(
        self,
        nc: NDArray[np.floating],
        alone: NDArray[np.floating],
        together: NDArray[np.floating],
        spacing_mm: Sequence[float],
        facts: StudyFacts = NOTHING_KNOWN,
    ) -> Expectation:
        """What is expected of a short-axis stack and its correction; arguments as for `describe_correction`."""
        return self.of(describe_correction(nc, alone, together, spacing_mm, self.template, facts))

    def warning(self, path: Path, expected: Expectation) -> str | None:
        """One sentence where a correction is expected to be no better than NC, or to err more than is usual; else
        None.
        """
        most, ratio = self.limits
        if math.log(expected.corrected / expected.uncorrected) > ratio:
            why = f"the correction is likely no better than none ({expected.clause})"
            return f"{path}: {why}; read the uncorrected images."
        if expected.corrected > most:
            return f"{path}: the correction is expected to be less exact than usual ({expected.clause})."
        return None


def scaled(
    features: NDArray[np.floating], means: NDArray[np.float64], scales: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Features [..., n] about their means, cut where they are further off than anything that was measured, each as much
    as it counts.
    """
    return _COUNTS * np.nan_to_num(np.clip((features - means) / scales, -_FURTHEST, _FURTHEST))


def kernel(a: NDArray[np.float64], b: NDArray[np.float64], length: float, slope: float) -> NDArray[np.float64]:
    """exp(-|a - b|² / (2 n length²)) + slope a·b / n of rows of scaled features [i, n] and [j, n], [i, j]."""
    n = a.shape[1]
    along = a @ b.T
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2.0 * along
    return np.exp(-np.maximum(squared, 0.0) / (2.0 * n * length**2)) + slope * along / n


def describe_correction(
    nc: NDArray[np.floating],
    alone: NDArray[np.floating],
    together: NDArray[np.floating],
    spacing_mm: Sequence[float],
    template: NDArray[np.floating],
    facts: StudyFacts = NOTHING_KNOWN,
) -> NDArray[np.float64]:
    """The `FEATURES` of a short-axis stack and its correction, float64.

    nc, alone, together: [slices, rows, columns] in model units: NC, and AC as this plane gives it and as all planes of
    its volume do; the last two are alike where there is one plane. template: of the population of SA. facts: what the
    header says of the study.
    """
    slice_mm, row_mm, column_mm = (abs(float(mm)) for mm in spacing_mm)
    spacing = slice_mm, row_mm, column_mm
    before, own, after = (
        np.maximum((np.asarray(stack, np.float64) + 1.0) / 2.0, 0.0) for stack in (nc, alone, together)
    )
    unknown = np.full(len(FIGURES), np.nan)
    seen = [figures(counts, "SA", spacing) for counts in (before, after)]
    looks = [unknown if found is None else found for found in seen]
    change = [*_change(before, after, spacing), _apart(own, after, spacing)]
    said = facts.values(OF_THE_STUDY, unknown=math.nan)
    return np.concatenate([describe(nc, spacing, template), *looks, change, said])


def _change(
    before: NDArray[np.float64], after: NDArray[np.float64], spacing: tuple[float, float, float]
) -> NDArray[np.float64]:
    """Mean and standard deviation of log(AC / NC) over the tissue of the heart region, and how much it rises per 60 mm
    upwards, to the right of the image, along the slices, and away from the centre.
    """
    heart = heart_mask(before.shape, spacing)
    tissue = heart & (before > _TISSUE * before[heart].max(initial=0.0))
    if tissue.sum() < 2 * len(OF_THE_CHANGE):
        return np.full(len(OF_THE_CHANGE) - 1, np.nan)
    gain = np.log((after[tissue] + _TINY) / (before[tissue] + _TINY))
    axes = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * mm / 60.0 for n, mm in zip(before.shape, spacing)), indexing="ij"
    )
    base, down, right = (axis[tissue] for axis in axes)
    design = np.column_stack([np.ones(len(gain)), -down, right, base, np.sqrt(base**2 + down**2 + right**2)])
    slopes = np.linalg.lstsq(design, gain, rcond=None)[0][1:]
    return np.array([gain.mean(), gain.std(), *slopes])


def _apart(alone: NDArray[np.float64], together: NDArray[np.float64], spacing: tuple[float, float, float]) -> float:
    """Root mean square difference of a plane and all planes in the heart region over their mean there; NaN where they
    are the same, for then there is one plane.
    """
    heart = heart_mask(alone.shape, spacing)
    mean = float(together[heart].mean())
    apart = float(np.sqrt(np.mean((alone[heart] - together[heart]) ** 2)))
    return math.log(apart / mean) if apart > 0 and mean > 0 else math.nan


def expected_error_file(weights: Path) -> Path:
    """Where the expected error of a weight file lies: beside it."""
    return weights.with_suffix(".expected.npz")


def write_expected_error(path: Path, known: ExpectedError) -> None:
    """Write a file; studies are kept in half precision."""
    head = {
        "format": FORMAT,
        "features": list(FEATURES),
        "length": known.length,
        "slope": known.slope,
        "limits": known.limits,
        "about": known.about,
        "weights_sha256": known.belongs_to,
    }
    arrays = {name: getattr(known, name).astype(np.float32) for name in _ARRAYS}
    arrays |= {"at": known.at.astype(np.float16), "head": np.frombuffer(json.dumps(head).encode(), np.uint8)}
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_expected_error(path: Path, weights: str) -> ExpectedError | None:
    """The expected error of a file, None where there is none or it belongs to other weights (SHA-256).

    Raises InputError for a file that is damaged.
    """
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            head = json.loads(file["head"].tobytes())
            if head["format"] != FORMAT or head["features"] != list(FEATURES):
                raise ValueError(f"format {head['format']!r} or features of another version")
            if head["weights_sha256"] != weights:
                return None
            arrays = {name: file[name].astype(np.float64) for name in (*_ARRAYS, "at")}
        below, above = map(float, head["limits"])
        known = ExpectedError(
            **arrays,
            length=float(head["length"]),
            slope=float(head["slope"]),
            limits=(below, above),
            about=str(head["about"]),
            belongs_to=weights,
        )
        _check(known)
        return known
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected an expected error, but it cannot be read as one ({error}).") from None


def _check(known: ExpectedError) -> None:
    """Raises ValueError for parts that do not fit together."""
    n, m = len(FEATURES), len(known.at)
    shapes = {"means": (n,), "scales": (n,), "at": (m, n), "weights": (m, 2), "level": (2,), "limits": (2,)}
    shapes |= {"template": TEMPLATE_SHAPE}
    wrong = [name for name, shape in shapes.items() if np.shape(getattr(known, name)) != shape]
    numbers = [getattr(known, name) for name in shapes] + [known.length, known.slope]
    if wrong or not m or not all(np.isfinite(values).all() for values in numbers):
        raise ValueError(f"arrays that do not fit together ({', '.join(wrong) or 'values that are not finite'})")
    if min(known.length, known.scales.min()) <= 0 or known.slope < 0:
        raise ValueError("a length or scale of zero or below, or a slope below zero")
