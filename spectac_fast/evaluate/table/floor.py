"""What NC reaches at its best scale, and which patients a row does harm to: the honest floor of every table.

A fitted line carries one gain for all patients, so where a camera or a body has another gain it looks weak. NC times
the one factor that suits each patient best is what a reader of relative images has without any correction. Nobody can
know that factor from NC alone: the row is a bound, not a method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spectac_fast.evaluate import bootstrap
from spectac_fast.evaluate.regional.known import key_of
from spectac_fast.evaluate.table.metrics import PatientScores
from spectac_fast.evaluate.table.render_models import cell, markdown_table
from spectac_fast.terms import IDEAL

LABEL = "NC at its best scale"
_SAID = {
    "AC": f"{LABEL} = NC times the factor that brings each patient's heart nearest to AC, which nobody knows from NC "
    "alone. Patients worse: those whose RMSE is above it.",
    IDEAL: f"{IDEAL} = AC's reconstruction with the exact map and scatter and without noise. Patients nearer than AC: "
    "those whose RMSE to it is below that of AC as acquired.",
}


def errors(
    patients: Sequence[PatientScores],
    floor: Sequence[PatientScores],
    acquired: Sequence[PatientScores],
    cases: Sequence[Mapping[str, Any]],
    indices: np.ndarray,
) -> dict[str, Any]:
    """A row's heart RMSE against that of NC at its best scale, by one reference.

    patients, floor: scores of the row and of NC at its best scale, a patient each; acquired: of AC, empty where AC is
    the reference. Returns estimates "rmse", "rescaled_rmse" (after one count factor a patient), both also "_over_floor"
    (ratios of means), "worse": patients above the floor, "worst": {"patient", "ratio"} of the one farthest above it
    (None where its floor is 0), and "nearer_than_ac": patients nearer than AC, None without `acquired`.
    """
    own, least = (np.array([p.heart.rmse for p in scores]) for scores in (patients, floor))
    after = np.array([p.heart.rescaled_rmse for p in patients])
    # Above a floor of 0 everything is.
    ratios = np.divide(own, least, out=np.where(own > 0, np.inf, 1.0), where=least > 0)
    worst = int(np.argmax(ratios))
    found: dict[str, Any] = {}
    for name, values in (("rmse", own), ("rescaled_rmse", after)):
        found[name] = bootstrap.mean(values, indices)
        found[f"{name}_over_floor"] = bootstrap.ratio(values, least, indices)
    return found | {
        "worse": int((own > least).sum()),
        "worst": {
            "patient": key_of(cases[worst]),
            "ratio": float(ratios[worst]) if np.isfinite(ratios[worst]) else None,
        },
        "nearer_than_ac": int((own < [p.heart.rmse for p in acquired]).sum()) if acquired else None,
    }


def section(table: Mapping[str, Any]) -> str:
    """The heart region of every row beside NC at its best scale, by AC and, where there is one, by IDEAL."""
    parts = [f"## Heart region against {LABEL}"]
    for kind in table["floor"]:
        lines = [_line(label, cells[kind], table, kind) for label, cells in rows(table) if kind in cells]
        header = [f"RMSE to {kind}", "/ NC", "after one count factor", "/ NC", "patients worse", "worst patient"]
        header += ["nearer than AC", "segments, %"] if kind == IDEAL else []
        parts += [_SAID[kind], markdown_table(["row", *header], lines)]
    return "\n\n".join(parts)


def rows(table: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(label, {reference: errors}) of NC at its best scale, AC as acquired, and the table's rows."""
    known = [(LABEL, {kind: floor["errors"] for kind, floor in table["floor"].items()})]
    if table["ac_to_ideal"] is not None:
        known.append(("AC as acquired", {IDEAL: table["ac_to_ideal"]}))
    return [*known, *((row["label"], row["floor"]) for row in table["rows"])]


def _line(label: str, cells: Mapping[str, Any], table: Mapping[str, Any], kind: str) -> list[str]:
    line = [label]
    for name in ("rmse", "rescaled_rmse"):
        line += [cell(cells[name], 4), cell(cells[f"{name}_over_floor"], 3)]
    ratio = cells["worst"]["ratio"]
    line += [f"{cells['worse']} of {table['head']['patients']}", "–" if ratio is None else f"{ratio:.2f}"]
    if kind == IDEAL:
        nearer, segments = cells["nearer_than_ac"], cells.get("segments")
        line += ["–" if nearer is None else str(nearer), cell(segments, 2)]
    return line
