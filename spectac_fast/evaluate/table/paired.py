"""Paired tests between rows: the same patients, so differences of patients are what is tested.

Wilcoxon's signed-rank test (Biometrics Bulletin 1:80, 1945), two-sided, exact for few patients; p values of one metric
and region are adjusted by Holm's method (Scand. J. Stat. 6:65, 1979) for the number of rows that are tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.bootstrap import Estimate


def signed_rank(differences: np.ndarray) -> float:
    """p of the hypothesis that differences [patients] lie symmetrically about 0; 1 where all are 0, NaN for NaN."""
    from scipy.stats import wilcoxon

    differences = np.asarray(differences, dtype=np.float64)
    if np.isnan(differences).any():
        return float("nan")
    return 1.0 if not differences.any() else float(wilcoxon(differences).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given, each at most 1; a NaN makes all NaN."""
    order = np.argsort(p)
    steps = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted.tolist()


def against(
    other: Mapping[str, np.ndarray], rows: Sequence[Mapping[str, np.ndarray]], indices: np.ndarray
) -> list[dict[str, tuple[Estimate, float]]]:
    """For each of some rows {metric: float [patients]}: {metric: (mean difference row - other, adjusted p)}.

    indices: of ``bootstrap.resample``.
    """
    found: list[dict[str, tuple[Estimate, float]]] = [{} for _ in rows]
    for metric, base in other.items():
        p = holm([signed_rank(row[metric] - base) for row in rows])
        for entry, row, value in zip(found, rows, p, strict=True):
            entry[metric] = bootstrap.difference(row[metric], base, indices), value
    return found
