"""Fitting the rows that need no network (identity, one factor, a straight line) to every training pixel."""

from __future__ import annotations

from pathlib import Path

from spectac_fast.cohort.paired import PairedCohort, left_ventricle_gain
from spectac_fast.models.rows import FORMAT
from spectac_fast.outputs import OWN, Kind, check_folder
from spectac_fast.train.export import surroundings, trained_on, write_json
from spectac_fast.train.slices import SlicePairs, cases_of


def train_row(name: str, cohort: PairedCohort, run: Path) -> Path:
    """Fit "identity", "scale" or "linear" to the training cases and write RUN/<name>.json; returns its path.

    All are ac = slope nc + offset in model units. "identity" fits nothing but the AC/NC gain, which every row shares;
    "scale" is one factor in counts, ac + 1 = a (nc + 1); "linear" fits both numbers.
    """
    path = run / f"{name}.json"
    check_folder(run)
    OWN.check(path, Kind.JSON)
    run.mkdir(parents=True, exist_ok=True)
    cases = cases_of(cohort, "train")
    gain = left_ventricle_gain(cohort, cases)
    data = SlicePairs(cohort, cases, gain)
    if name == "linear":
        slope, offset = data.fit_line()
    else:
        slope = data.fit_factor() if name == "scale" else 1.0
        offset = slope - 1.0
    said = trained_on([cohort.cases[i] for i in cases])
    content = {
        "format": FORMAT,
        "model": name,
        "slope": slope,
        "offset": offset,
        "gain": gain,
        "pixel_mm": float(cohort.spacing_mm[1]),
        "card": {"data": {**said, "cases": len(cases), "slices": len(data)}, **surroundings()},
    }
    write_json(path, content)
    return path
