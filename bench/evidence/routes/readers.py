"""Two readers who look for known defects in the images of every route: a channelised Hotelling observer, and the total
perfusion deficit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.evidence.clinical.detect import area, deficits, limits, truth
from bench.evidence.trial.observer import ratings
from spectac_fast.evaluate import bootstrap

SEED, RESAMPLES = 1, 2000
# Normal limits of fewer patients of a sex would be of chance.
_FEWEST_NORMAL = 4
# Of images with a defect, and of those without: templates of fewer are of chance (with 9 and 10, areas were 0.3 to 0.5,
# and their intervals three quarters of the scale wide).
_FEWEST_IMAGES = 20
OBSERVER, DEFICIT = "observer", "deficit"


def areas(
    measured: Sequence[Mapping[str, np.ndarray]], cases: Sequence[Mapping[str, Any]], names: Sequence[str], against: str
) -> dict[str, Any]:
    """{"with", "without": images that hold a defect, and none; "rows": {route: {reader: [area under the ROC, low,
    high], reader + " - " + against: the same}}}, 95 % over resampled patients; a reader who cannot be trained on so few
    patients is left out.

    measured: of `patients.measure`, in which `names` are the first images. Template and normal limits of a patient are
    of the others.
    """
    ill = truth(cases)
    channels = np.stack([m["seen"] for m in measured], 1).astype(float)  # [image, patient, phase, channel]
    polars = np.stack([m["polar"] for m in measured], 1).astype(float)
    scores: dict[str, dict[str, np.ndarray]] = {OBSERVER: {}, DEFICIT: {}}
    for k, name in enumerate(names):
        if min((ill == 1).sum(), (ill == 0).sum()) >= _FEWEST_IMAGES:
            scores[OBSERVER][name] = ratings(channels[k], ill)
        if _enough_normal(cases):
            scores[DEFICIT][name] = _deficits(polars[k], cases)
    indices = bootstrap.resample(len(ill), SEED, RESAMPLES)
    rows: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for reader, of in scores.items():
        if not of or not all(np.isfinite(values).all() for values in of.values()):
            continue
        draws = {name: _draws(values, ill, indices) for name, values in of.items()}
        for name, values in draws.items():
            rows[name][reader] = _interval(values)
            rows[name][f"{reader} - {against}"] = _interval(values - draws[against])
    return {"with": int((ill == 1).sum()), "without": int((ill == 0).sum()), "rows": rows}


def _enough_normal(cases: Sequence[Mapping[str, Any]]) -> bool:
    normal = [case["sex"] for case in cases if not case["defects"]]
    return all(normal.count(sex) > _FEWEST_NORMAL for sex in "FM")


def _deficits(polars: np.ndarray, cases: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """[patient, phase], by limits of the other normal patients."""
    normal = np.array([not case["defects"] for case in cases])
    found = []
    for k, case in enumerate(cases):
        others = np.flatnonzero(normal & (np.arange(len(cases)) != k))
        found.append(deficits(polars[k : k + 1], [case], limits(polars[others], [cases[i] for i in others]))[0])
    return np.array(found)


def _draws(score: np.ndarray, ill: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Areas of all patients, and of each draw of them."""
    return np.array([area(score[of].ravel(), ill[of].ravel()) for of in (np.arange(len(ill)), *indices)])


def _interval(values: np.ndarray) -> list[float]:
    return [float(values[0]), *map(float, np.nanquantile(values[1:], (0.025, 0.975)))]
