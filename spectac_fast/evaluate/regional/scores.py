"""Regional uptake: what the 17 segments (AHA, Cerqueira, Circulation 105:539, 2002) say about a row.

Segments are in % of the polar map's own maximum (``segments.segment_means``), so that neither the count scale nor the
gain enters. Three questions, each against AC of the same patient: how far the segments are off (against the phantom's
own activity too, since AC is not free of error), whether known defects keep their contrast, and whether normal patients
get segments below the normal limit that AC does not show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.bootstrap import Estimate
from spectac_fast.evaluate.regional.normals import NormalLimits
from spectac_fast.evaluate.regional.segments import segment_map

# A segment belongs to a defect, or to the remote myocardium it is compared with, only where that is clear.
DEFECT_SHARE = 0.5
REMOTE_SHARE = 0.05
SMALLEST_LOSS = 0.2


@dataclass(frozen=True)
class RegionalScores:
    """Regional scores of one image kind against AC.

    error: mean absolute segment difference to AC, % of maximum. error_over_nc: its ratio to NC's. truth_error,
    truth_error_over_nc: the same against the phantom's own activity, which AC itself misses. contrast: mean contrast of
    known defects; contrast_over_ac: its ratio to AC's. low: segments of normal patients below the normal limit, out of
    normal_segments; new_low: those where AC is not; both None where too few normals are at hand to set a limit.
    """

    error: Estimate
    error_over_nc: Estimate
    truth_error: Estimate
    truth_error_over_nc: Estimate
    contrast: Estimate | None
    contrast_over_ac: Estimate | None
    defects: int
    low: int | None
    new_low: int | None
    normal_segments: int


@dataclass(frozen=True)
class Reference:
    """What every row is compared with: NC, AC and true segments [case, phase, 17], what is known of the patients."""

    nc: np.ndarray
    ac: np.ndarray
    truth: np.ndarray
    normal: np.ndarray
    limit: np.ndarray | None  # [case, 1, 17]
    defects: list[tuple[int, int, np.ndarray, np.ndarray]]
    indices: np.ndarray


def reference(
    cases: Sequence[Mapping[str, Any]],
    phases: Sequence[str],
    nc: np.ndarray,
    ac: np.ndarray,
    truth: np.ndarray,
    indices: np.ndarray,
    limits: NormalLimits | None,
) -> Reference:
    """Find the defect and remote segments, and each patient's normal limit.

    cases: cohort records with their ``defects``; nc, ac, truth: [case, phase, 17]; indices: bootstrap resamples over
    cases.
    """
    normal = np.array([not case["defects"] for case in cases])
    defects = []
    for i, case in enumerate(cases):
        for j, phase in enumerate(phases):
            visible = [d for d in case["defects"] if d["loss"][phase] >= SMALLEST_LOSS]
            if not visible:
                continue
            share = np.max([defect_overlap(d) for d in visible], axis=0)
            every = np.max([defect_overlap(d) for d in case["defects"]], axis=0)
            inside, remote = share >= DEFECT_SHARE, every <= REMOTE_SHARE
            if inside.any() and remote.any():
                defects.append((i, j, inside, remote))
    return Reference(nc, ac, truth, normal, limits.of(cases) if limits else None, defects, indices)


def defect_overlap(defect: Mapping[str, Any]) -> np.ndarray:
    """Share [17] of each segment's area on the polar map that a defect covers.

    defect: ``angle`` (centre) and ``width`` in degrees, ``base`` and ``apex`` as depths 0 (base) .. 1 (apex), as the
    phantom writes them.
    """
    segment = segment_map()
    levels, angles = segment.shape
    depth = ((np.arange(levels) + 0.5) / levels)[:, None]
    off_centre = np.abs((np.arange(angles) * 360 / angles - defect["angle"] + 180) % 360 - 180)
    covered = (depth >= defect["base"]) & (depth <= defect["apex"]) & (off_centre <= defect["width"] / 2)
    return np.array([covered[segment == k].mean() for k in range(1, 18)])


def _contrasts(segments: np.ndarray, ref: Reference) -> np.ndarray:
    """Summed contrast 1 - defect / remote of every case [case]; a case without a visible defect adds nothing."""
    contrast = np.zeros(len(segments))
    for i, j, inside, remote in ref.defects:
        contrast[i] += 1 - segments[i, j, inside].mean() / segments[i, j, remote].mean()
    return contrast


def score(segments: np.ndarray, ref: Reference) -> RegionalScores:
    """Compare segments [case, phase, 17] with AC."""

    def error_to(wanted: np.ndarray) -> tuple[Estimate, Estimate]:
        error, of_nc = (np.abs(found - wanted).mean(axis=(1, 2)) for found in (segments, ref.nc))
        return bootstrap.mean(error, ref.indices), bootstrap.ratio(error, of_nc, ref.indices)

    (error, over_nc), (truth_error, truth_over_nc) = error_to(ref.ac), error_to(ref.truth)
    contrast = over_ac = None
    if ref.defects:
        per_case = np.bincount([i for i, *_ in ref.defects], minlength=len(segments))
        contrast = bootstrap.ratio(_contrasts(segments, ref), per_case, ref.indices)
        over_ac = bootstrap.ratio(_contrasts(segments, ref), _contrasts(ref.ac, ref), ref.indices)
    low = new_low = None
    if ref.limit is not None:
        below = (segments < ref.limit)[ref.normal]
        low, new_low = int(below.sum()), int((below & ~(ref.ac < ref.limit)[ref.normal]).sum())
    return RegionalScores(
        error=error,
        error_over_nc=over_nc,
        truth_error=truth_error,
        truth_error_over_nc=truth_over_nc,
        contrast=contrast,
        contrast_over_ac=over_ac,
        defects=len(ref.defects),
        low=low,
        new_low=new_low,
        normal_segments=int(segments[ref.normal].size),
    )
