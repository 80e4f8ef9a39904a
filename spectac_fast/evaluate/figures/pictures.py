"""From counts to the panel of one phase: which slices are shown, and in what unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spectac_fast.data.scale import count_scale
from spectac_fast.evaluate.figures.figures import VIEW_MM, cohort_panel, models_panel, study_panel
from spectac_fast.terms import PLANES

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort


@dataclass(frozen=True)
class Stacks:
    """One plane of one phase: counts [S, H, W] of NC, corrected and AC, and (slice, row, column) spacing in mm."""

    nc: np.ndarray
    corrected: np.ndarray
    ac: np.ndarray
    spacing_mm: tuple[float, float, float]


def phase_panel(path: Path, phase: str, planes: Mapping[str, Stacks], *, gain: float, method: str) -> Path:
    """Draw the central slice of every plane of one phase as a PNG.

    planes: by name, SA first where there is one. gain: AC/NC gain of the left ventricle, which multiplies NC. method:
    what made the corrected slices, for the small print. All tiles share one scale: the AC peak, the 99.5th percentile
    of the first plane's AC in the heart region, is 100 %.
    """
    first = next(iter(planes.values()))
    percent = 100.0 / count_scale(first.ac, first.spacing_mm)

    def middle(stack: np.ndarray) -> np.ndarray:
        return percent * stack[len(stack) // 2]

    slices = {name: (gain * middle(s.nc), middle(s.corrected), middle(s.ac)) for name, s in planes.items()}
    pixel_mm = {name: s.spacing_mm[1:] for name, s in planes.items()}
    note = (
        f"Central {VIEW_MM:.0f} mm of the central slices. Corrected: {method}. NC multiplied by the AC/NC gain "
        f"{gain:.2f}. AC peak: 99.5th percentile of AC within 60 mm of the heart's centre."
    )
    return study_panel(path, slices, pixel_mm, title=f"Attenuation correction without CT: {phase}", note=note)


def comparison_panel(
    path: Path, phase: str | None, rows: Mapping[str, Mapping[str | None, Stacks]], *, gain: float
) -> Path:
    """Draw the central slices of one phase of one patient, corrected by several models, as a PNG.

    phase: None where it is not known. rows: {model: {plane: stacks}}, all of one patient and so with the same NC and
    AC. gain, scale: as `phase_panel`.
    """
    first = next(iter(rows.values()))
    of_scale = next(iter(first.values()))
    percent = 100.0 / count_scale(of_scale.ac, of_scale.spacing_mm)

    def middle(stack: np.ndarray) -> np.ndarray:
        return percent * stack[len(stack) // 2]

    images = {
        "AC": {p: middle(s.ac) for p, s in first.items()},
        "NC": {p: gain * middle(s.nc) for p, s in first.items()},
    }
    images |= {name: {p: middle(s.corrected) for p, s in planes.items()} for name, planes in rows.items()}
    note = (
        f"Central {VIEW_MM:.0f} mm of the central slices. NC multiplied by the AC/NC gain {gain:.2f}. "
        "AC peak: 99.5th percentile of AC within 60 mm of the heart's centre."
    )
    title = ": ".join(filter(None, ("Attenuation correction without CT, every model", phase)))
    return models_panel(path, images, of_scale.spacing_mm[1:], title=title, note=note)


def patients_panel(path: Path, cohort: Cohort, indices: Sequence[int], phase: str) -> Path:
    """Draw NC, AC and truth of several patients of a cohort as a PNG, a row each.

    Every image is shown in % of its own peak: the 99.5th percentile of its kind's short-axis stack in the heart region.
    """
    patients = []
    for index in indices:
        case = cohort.cases[index]
        kinds = {plane: (*cohort.pair(index, phase, plane), cohort.truth(index, phase, plane)) for plane in PLANES}
        percent = [100.0 / count_scale(stack, cohort.spacing_mm) for stack in kinds["SA"]]
        images = {
            plane: {name: p * s[len(s) // 2] for name, p, s in zip(("NC", "AC", "truth"), percent, stacks, strict=True)}
            for plane, stacks in kinds.items()
        }
        patients.append((f"{case['sex']}, BMI {case['bmi']:.0f}", images))
    note = (
        f"Central {VIEW_MM:.0f} mm of the central slices. Peak: 99.5th percentile within 60 mm of the heart's centre. "
        f"Seeds {', '.join(str(cohort.cases[i]['seed']) for i in indices)}."
    )
    return cohort_panel(path, patients, cohort.spacing_mm[1:], title=f"Synthetic patients, {phase}", note=note)
