"""What the readers of the trial see of a patient; kept on disk."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.evidence.clinical.cases import corrected_sa, kept
from bench.evidence.trial.observer import place_of, seen, square, usual_places
from spectac_fast.cohort.cohort import Cohort
from spectac_fast.cohort.paired import facts_of_case
from spectac_fast.errors import InputError
from spectac_fast.evaluate.regional.segments import percent_of_maximum, polar_map
from spectac_fast.evaluate.regional.ventricle import Ventricle, find
from spectac_fast.progress import Progress
from spectac_fast.terms import PHASES, PLANES

IMAGES = ("NC", "corrected", "AC")


def measured(
    cohort: Cohort,
    folder: Path,
    translator: Any,
    label: str,
    wanted: Callable[[Mapping[str, Any]], bool] = lambda case: True,
) -> list[tuple[dict[str, Any], dict[str, np.ndarray]]]:
    """(case, measures) of the patients that are wanted: polar, % of maximum [phase, image, 24, 72], the ventricle found
    on NC, as in practice; seen: the observer's channels [phase, image, 4] at the defect or where one might be. Patients
    whose field is refused are left out.
    """
    usual = usual_places(cohort.cases)
    chosen = [i for i, case in enumerate(cohort.cases) if wanted(case)]
    found = []
    with Progress(len(chosen), label, "patients") as progress:
        for i in chosen:
            case = cohort.cases[i]
            path = folder / f"{case['seed']}.npz"
            with contextlib.suppress(InputError):
                found.append((case, kept(path, lambda k=i: _measure(cohort, k, translator, usual))))
            progress.step()
    return found


def _measure(cohort: Cohort, index: int, translator: Any, usual: np.ndarray) -> dict[str, np.ndarray]:
    stacks = {(phase, plane): cohort.pair(index, phase, plane)[0] for phase in PHASES for plane in PLANES}
    corrected = corrected_sa(stacks, cohort.spacing_mm, translator, facts_of_case(cohort.cases[index]))
    case = cohort.cases[index]
    known, rng = Ventricle.of_phantom(case["lv"]), np.random.default_rng((case["seed"], 15))
    polar, channels = [], []
    for phase in PHASES:
        nc, ac = cohort.pair(index, phase, "SA")
        images = dict(zip(IMAGES, (nc, corrected[phase], ac)))
        ventricle = find(nc, cohort.spacing_mm)
        place = place_of(case, phase, rng, usual)
        polar.append([percent_of_maximum(polar_map(s, ventricle, cohort.spacing_mm)) for s in images.values()])
        channels.append([seen(square(s, known, place, cohort.spacing_mm)) for s in images.values()])
    return {"polar": np.array(polar, np.float32), "seen": np.array(channels, np.float32)}
