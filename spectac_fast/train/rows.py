"""Fitting the rows that need no network: one factor, or a straight line, by least squares over every training pixel."""

from __future__ import annotations

from pathlib import Path

from .export import seed_ranges, surroundings, write_json
from .slices import TRAINING_SEEDS, PairedCohort, SlicePairs, cases_of, left_ventricle_gain


def train_row(name: str, cohort: PairedCohort, run: Path) -> Path:
    """Fit "scale" or "linear" and write RUN/<name>.json; returns its path.

    scale:  ac + 1 = a (nc + 1), which is proportional in counts; linear: ac = a nc + b. Both in model units.
    """
    run.mkdir(parents=True, exist_ok=True)
    cases = cases_of(cohort, TRAINING_SEEDS)
    gain = left_ventricle_gain(cohort, cases)
    data = SlicePairs(cohort, cases, gain)
    if name == "linear":
        slope, offset = data.fit_line()
    else:
        slope = data.fit_factor()
        offset = slope - 1.0
    card = {
        "data": {"training_seeds": seed_ranges([cohort.cases[i]["seed"] for i in cases]), "slices": len(data)},
        **surroundings(),
    }
    path = run / f"{name}.json"
    write_json(
        path,
        {
            "format": 1,
            "model": name,
            "slope": slope,
            "offset": offset,
            "gain": gain,
            "pixel_mm": float(cohort.spacing_mm[1]),
            "card": card,
        },
    )
    return path
