"""Image metrics of one slice, and of one patient.

Everything is in model units: counts [0, scale] map to [-1, 1], so that ``data_range`` is 2.

SSIM (Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 13:600, 2004, eq. 13) has the form of the paper: Gaussian window of 11
taps and sigma 1.5, population covariance, K1 = 0.01, K2 = 0.03, windows that lie inside the slice only. It equals
``skimage.metrics.structural_similarity(..., gaussian_weights=True, sigma=1.5, use_sample_covariance=False)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from spectac_fast.errors import InputError
from spectac_fast.ops import slice_metrics
from spectac_fast.ops.slice_metrics import GAUSSIAN_TAPS as TAPS

DATA_RANGE = 2.0
MARGIN = TAPS // 2
# A slice reproduced exactly has an infinite PSNR, and one such slice would make every mean infinite.
PSNR_CAP_DB = 100.0


def _as_pair(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    prediction = np.asarray(prediction, dtype=np.float64)
    reference = np.asarray(reference, dtype=np.float64)
    if prediction.shape != reference.shape or prediction.ndim != 3:
        raise ValueError(
            f"prediction and reference must be stacks [slices, rows, columns] of one shape, "
            f"got {prediction.shape} and {reference.shape}"
        )
    if min(prediction.shape[1:]) < TAPS:
        raise ValueError(f"SSIM needs slices of at least {TAPS} x {TAPS} pixels, got {prediction.shape[1:]}")
    return prediction, reference


def check_taps(name: str, shape: Sequence[int]) -> None:
    """Raise InputError for slices (rows, columns) that are smaller than the window. name: of what has them."""
    if min(shape) < TAPS:
        raise InputError(
            f"{name}: expected slices of at least {TAPS} x {TAPS} pixels, the window of SSIM, found {shape[0]} x "
            f"{shape[1]}."
        )


def ssim_map(prediction: np.ndarray, reference: np.ndarray, data_range: float = DATA_RANGE) -> np.ndarray:
    """SSIM of every window that lies inside its slice.

    Args:
        prediction, reference: [S, H, W], H and W at least 11; computed in float64.
        data_range: distance between the smallest and the largest possible value.

    Returns:
        float64 [S, H - 10, W - 10]; element [s, i, j] belongs to pixel [s, i + 5, j + 5]. A NaN makes the map of its
        slice NaN.

    Raises:
        ValueError: shapes differ, are not stacks, or a side is shorter than the window.
    """
    prediction, reference = _as_pair(prediction, reference)
    return _compare(prediction, reference, data_range)[1]


def _compare(prediction: np.ndarray, reference: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """(SSIM, PSNR, RMSE of every slice, float64 [S, 3]; SSIM map)."""
    slices, height, width = prediction.shape
    values = torch.empty(slices, height - TAPS + 1, width - TAPS + 1, dtype=torch.float64)
    # Copied, because torch shares no memory that is read-only.
    pair = (torch.tensor(np.ascontiguousarray(stack)) for stack in (prediction, reference))
    scores = slice_metrics(*pair, data_range=data_range, ssim_map=values)
    # Regions are scored from the map: a slice with a NaN anywhere must not look whole there.
    values[scores[:, 0].isnan()] = math.nan
    return scores.numpy(), values.numpy()


def psnr(rmse: float | np.ndarray, data_range: float = DATA_RANGE) -> np.ndarray:
    """20 log10(data_range / rmse) in dB, at most ``PSNR_CAP_DB``. NaN stays NaN."""
    rmse = np.asarray(rmse, dtype=np.float64)
    return 20 * np.log10(data_range / np.maximum(rmse, data_range * 10 ** (-PSNR_CAP_DB / 20)))


@dataclass(frozen=True)
class SliceScores:
    """SSIM, PSNR (dB, capped) and RMSE of single slices, each float64 [S]."""

    ssim: np.ndarray
    psnr: np.ndarray
    rmse: np.ndarray


def slice_scores(prediction: np.ndarray, reference: np.ndarray, data_range: float = DATA_RANGE) -> SliceScores:
    """Scores of every slice of a stack [S, H, W]. NaN propagates to the scores of its slice."""
    prediction, reference = _as_pair(prediction, reference)
    ssim, _, rmse = _compare(prediction, reference, data_range)[0].T
    return SliceScores(ssim, psnr(rmse, data_range), rmse)


@dataclass(frozen=True)
class RegionScores:
    """Scores of one patient in one region.

    ssim, psnr, rmse: pooled over all slices; psnr = 20 log10(2 / rmse) holds exactly (up to the cap).
    slice_psnr, slice_rmse: means of the single slices' values. The gap slice_psnr - psnr is never negative (Jensen) and
    says how unevenly the error is spread over the slices. rescaled_rmse: pooled, of counts times the patient's
    `best_factor`.
    """

    ssim: float
    psnr: float
    rmse: float
    slice_psnr: float
    slice_rmse: float
    rescaled_rmse: float

    @property
    def psnr_gap(self) -> float:
        return self.slice_psnr - self.psnr


@dataclass(frozen=True)
class PatientScores:
    """Scores of one patient, all phases and planes together.

    empty_slices: slices whose AC holds no counts at all. They stay in the pooled RMSE and PSNR, and are left out of
    SSIM and of the per-slice means, which they would only flatter.
    capped_slices: non-empty slices whose PSNR reached ``PSNR_CAP_DB``.
    """

    whole: RegionScores
    heart: RegionScores
    slices: int
    empty_slices: int
    capped_slices: int


@dataclass(frozen=True)
class SeriesPair:
    """One series to score: prediction and reference [S, H, W] in model units, and its heart region, bool [S, H, W]."""

    prediction: np.ndarray
    reference: np.ndarray
    heart: np.ndarray


class _RegionSums:
    """Running sums of one region over the series of a patient."""

    def __init__(self) -> None:
        self.squares = self.rescaled = 0.0
        self.voxels = 0
        self.slice_rmse: list[np.ndarray] = []
        self.ssim = 0.0
        self.windows = 0

    def add(
        self, squared: np.ndarray, rescaled: np.ndarray, ssim: np.ndarray, region: np.ndarray, filled: np.ndarray
    ) -> None:
        self.squares += float(squared[region].sum())
        self.rescaled += float(rescaled[region].sum())
        self.voxels += int(region.sum())
        counted = region & filled[:, None, None]
        size = counted.sum(axis=(1, 2))
        sums = np.where(counted, squared, 0.0).sum(axis=(1, 2))
        self.slice_rmse.append(np.sqrt(sums[size > 0] / size[size > 0]))
        windows = counted[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
        self.ssim += float(ssim[windows].sum())
        self.windows += int(windows.sum())

    def scores(self) -> tuple[RegionScores, int]:
        if not self.voxels or not self.windows:
            raise ValueError("no slice with counts lies in the region to be scored")
        per_slice = np.concatenate(self.slice_rmse)
        per_slice_psnr = psnr(per_slice)
        rmse = math.sqrt(self.squares / self.voxels)
        scores = RegionScores(
            ssim=self.ssim / self.windows,
            psnr=float(psnr(rmse)),
            rmse=rmse,
            slice_psnr=float(per_slice_psnr.mean()),
            slice_rmse=float(per_slice.mean()),
            rescaled_rmse=math.sqrt(self.rescaled / self.voxels),
        )
        return scores, int((per_slice_psnr >= PSNR_CAP_DB).sum())


def best_factor(pairs: Sequence[SeriesPair]) -> float:
    """The one factor for the counts of a patient's series that brings them nearest to the reference in the heart.

    Least squares over the voxels of all hearts; 1 where the hearts hold no counts.
    """
    cross = square = 0.0
    for pair in pairs:
        found, wanted = (np.asarray(stack, np.float64)[pair.heart] + 1.0 for stack in (pair.prediction, pair.reference))
        cross += float(found @ wanted)
        square += float(found @ found)
    return cross / square if square else 1.0


def rescaled(pair: SeriesPair, factor: float) -> SeriesPair:
    """A pair whose predicted counts are multiplied."""
    return replace(pair, prediction=factor * (np.asarray(pair.prediction, np.float64) + 1.0) - 1.0)


def score_patient(pairs: Sequence[SeriesPair]) -> PatientScores:
    """Pool every series of one patient.

    RMSE is the root of the mean square over all voxels of all series, PSNR follows from it, SSIM is the mean of the
    SSIM map: over whole slices (equal to the mean over slices when these have one size), and over the voxels of the
    heart region. Reference value -1 means zero counts.

    Raises:
        ValueError: shapes differ, or no slice with counts is left.
    """
    whole, heart = _RegionSums(), _RegionSums()
    slices = empty = 0
    factor = best_factor(pairs)
    for pair in pairs:
        prediction, reference = _as_pair(pair.prediction, pair.reference)
        # NaN counts as filled, so that it reaches the scores instead of vanishing with the slice.
        filled = ~np.all(reference <= -1, axis=(1, 2))
        squared = (prediction - reference) ** 2
        after = (rescaled(pair, factor).prediction - reference) ** 2
        ssim = ssim_map(prediction, reference)
        whole.add(squared, after, ssim, np.ones(squared.shape, dtype=bool), filled)
        heart.add(squared, after, ssim, np.asarray(pair.heart, dtype=bool), filled)
        slices += len(filled)
        empty += int((~filled).sum())
    whole_scores, capped = whole.scores()
    heart_scores, _ = heart.scores()
    return PatientScores(whole_scores, heart_scores, slices, empty, capped)
