"""Total perfusion deficit against normal limits, and how well it tells defects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate.regional.scores import SMALLEST_LOSS
from spectac_fast.terms import PHASES

# Slomka et al., J. Nucl. Cardiol. 12:66, 2005: a place counts below the normal limit; it weighs most where 70 % of the
# normal mean is lost.
LIMIT_SD, WORST_LOSS = 2.5, 0.7
NORMAL_SHARE = 0.95


@dataclass(frozen=True)
class Limits:
    """Mean and SD of normal polar maps, [phase, 24, 72] for each sex, and how many patients each comes from."""

    mean: Mapping[str, NDArray]
    sd: Mapping[str, NDArray]
    patients: Mapping[str, int]


def limits(maps: NDArray, cases: Sequence[Mapping[str, Any]]) -> Limits:
    """Normal limits of each sex from maps [patient, phase, 24, 72] of normal patients."""
    sexes = np.array([case["sex"] for case in cases])
    groups = {sex: maps[sexes == sex] for sex in "FM"}
    return Limits(
        {sex: group.mean(0) for sex, group in groups.items()},
        {sex: group.std(0, ddof=1) for sex, group in groups.items()},
        {sex: len(group) for sex, group in groups.items()},
    )


def deficits(maps: NDArray, cases: Sequence[Mapping[str, Any]], normal: Limits) -> NDArray[np.float64]:
    """Total perfusion deficit, %, [patient, phase]: 0 of a normal map, 100 where nothing is left anywhere.

    Places are weighted by the area they stand for: rings shrink towards the apex.
    """
    levels = maps.shape[2]
    weight = np.cos((np.arange(levels) + 0.5) / levels * np.pi / 2)[:, None] * np.ones(maps.shape[3])
    weight /= weight.sum()
    out = []
    for polar, case in zip(maps, cases, strict=True):
        mean, sd = normal.mean[case["sex"]], normal.sd[case["sex"]]
        score = np.clip((mean - polar) / (WORST_LOSS * mean), 0, 1)
        out.append(100 * (np.where(polar < mean - LIMIT_SD * sd, score, 0) * weight).sum((1, 2)))
    return np.array(out)


def truth(cases: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """[patient, phase]: 1 with a defect that takes a fifth or more of the uptake, 0 in a normal patient, -1 between."""
    rows = []
    for case in cases:
        losses = [max((d["loss"][phase] for d in case["defects"]), default=0.0) for phase in PHASES]
        rows.append([1 if loss >= SMALLEST_LOSS else -1 if case["defects"] else 0 for loss in losses])
    return np.array(rows)


def roc(score: NDArray, is_ill: NDArray) -> tuple[NDArray, NDArray]:
    """(1 - specificity, sensitivity) at every threshold, from (0, 0) to (1, 1)."""
    steps = np.concatenate([[np.inf], np.sort(np.unique(score))[::-1]])
    ill, well = score[is_ill == 1], score[is_ill == 0]
    return (
        np.array([(well >= t).mean() for t in steps]),
        np.array([(ill >= t).mean() for t in steps]),
    )


def area(score: NDArray, is_ill: NDArray) -> float:
    """Area under the ROC: how often an ill one scores above a well one, ties counted half. NaN without both kinds."""
    ill, well = score[is_ill == 1], score[is_ill == 0]
    if not len(ill) or not len(well):
        return float("nan")
    difference = ill[:, None] - well[None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def detection(
    scores: Mapping[str, NDArray], thresholds: Mapping[str, float], is_ill: NDArray, indices: NDArray
) -> dict[str, dict[str, list[float]]]:
    """AUC, sensitivity, specificity, AUC minus AC's: [value, low, high], 95 % over resampled patients (both phases of
    a patient together). scores: {kind: [patient, phase]}; indices: [resamples, patients].
    """
    draws: dict[str, dict[str, list[float]]] = {}
    everyone = np.arange(len(is_ill))
    for chosen in (everyone, *indices):
        ill = is_ill[chosen].ravel()
        areas = {}
        for kind, of in scores.items():
            score = of[chosen].ravel()
            areas[kind] = area(score, ill)
            positive = score > thresholds[kind]
            found = {
                "auc": areas[kind],
                "sensitivity": _share(positive[ill == 1]),
                "specificity": _share(~positive[ill == 0]),
            }
            for name, value in found.items():
                draws.setdefault(kind, {}).setdefault(name, []).append(value)
        for kind in scores:
            draws[kind].setdefault("auc_minus_ac", []).append(areas[kind] - areas["AC"])
    return {
        kind: {
            name: [values[0], *map(float, np.nanquantile(values[1:], (0.025, 0.975)))] for name, values in of.items()
        }
        for kind, of in draws.items()
    }


def _share(positive: NDArray) -> float:
    return float(positive.mean()) if len(positive) else float("nan")
