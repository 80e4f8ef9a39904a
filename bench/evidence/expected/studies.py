"""Corrections whose errors are known, with what can be read off them; kept beside their cohort's scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.outputs import appearing
from spectac_fast.cohort.expected_error import describe_correction
from spectac_fast.data.scale import to_model
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.evaluate.table.phase import Phase
from spectac_fast.terms import PHASES

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.evaluate.table.variants import Row


@dataclass(frozen=True, eq=False)
class Studies:
    """Corrected studies, one a row. features [n, FEATURES]; errors [n, 2]: mean absolute difference of the 17 segments
    to AC, % of maximum, of (corrected, NC); patients, protocols [n].
    """

    features: NDArray[np.float64]
    errors: NDArray[np.float64]
    patients: NDArray[np.int64]
    protocols: NDArray[np.str_]

    def where(self, keep: NDArray[np.bool_]) -> Studies:
        return Studies(*(values[keep] for values in vars(self).values()))


def described(
    work: Path, protocol: str, cohort: Cohort, single: Row, combined: Row, template: NDArray[np.floating]
) -> list[dict[str, Any]]:
    """Of every patient and phase of a cohort {"seed", "phase", "features", "corrected", "uncorrected"}, from `work`
    where the same weights were described on the same patients by the same template before. single, combined: rows of
    one model, planes for themselves and averaged.
    """
    seeds = cohort.seeds
    weights, by = combined.translator.weights_sha256[:16], hashlib.sha256(template.tobytes()).hexdigest()[:8]
    path = work / "described" / f"{protocol}-{seeds[0]}-{len(seeds)}-{weights}-{by}.json"
    if not path.is_file():
        found = [
            _described(cohort, case, phase, single, combined, template)
            for case in range(len(seeds))
            for phase in PHASES
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as part:
            part.write_text(json.dumps(found))
    return json.loads(path.read_text())


def expectation(cohort: Cohort, case: int, phase: str, single: Row, combined: Row) -> float:
    """The error that is expected of a correction by a model of which errors are known, % of the maximum."""
    planes = Phase(cohort, case, phase, seed=0)
    images, _ = _images(planes, single, combined)
    return combined.translator.expected_error.of_images(*images, cohort.spacing_mm, planes.facts).corrected


def _images(
    planes: Phase, single: Row, combined: Row
) -> tuple[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]:
    """(NC, AC of the plane alone and of all planes, in model units; the last in counts) of the short axis."""
    scale = planes.scale * combined.translator.gain
    alone, together = (planes.correct(row)[0]["SA"] for row in (single, combined))
    return (to_model(planes.nc["SA"], planes.scale), to_model(alone, scale), to_model(together, scale)), together


def _described(
    cohort: Cohort, case: int, phase: str, single: Row, combined: Row, template: NDArray[np.floating]
) -> dict[str, Any]:
    planes = Phase(cohort, case, phase, seed=0)
    images, together = _images(planes, single, combined)
    features = describe_correction(*images, cohort.spacing_mm, template, planes.facts)
    ventricle = Ventricle.of_phantom(cohort.cases[case]["lv"])
    wanted, corrected, uncorrected = (
        segment_means(stack, ventricle, cohort.spacing_mm) for stack in (planes.ac["SA"], together, planes.nc["SA"])
    )
    return {
        "seed": cohort.seeds[case],
        "phase": phase,
        "features": [float(value) for value in features],
        "corrected": float(np.abs(corrected - wanted).mean()),
        "uncorrected": float(np.abs(uncorrected - wanted).mean()),
    }


def gathered(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Studies:
    """The studies of all protocols."""
    rows = [(name, row) for name, rows in found.items() for row in rows]
    return Studies(
        np.array([row["features"] for _, row in rows], float),
        np.array([[row["corrected"], row["uncorrected"]] for _, row in rows], float),
        np.array([row["seed"] for _, row in rows]),
        np.array([name for name, _ in rows]),
    )
