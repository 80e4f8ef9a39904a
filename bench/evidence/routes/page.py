"""The page of `python -m bench routes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.evidence.routes.patients import CT, EXACT, PREDICTED, REFERENCES

# Of the physics route: mu in the body; segments to AC with the exact map, and to AC as acquired; how much worse than
# CT-AC to the truth.
GOAL_NMAE, GOAL_EXACT, GOAL_CT, GOAL_WORSE = 0.02, 1.2, 2.4, 0.2


def page(table: Mapping[str, Any]) -> str:
    """Every number of the table as Markdown."""
    seeds = table["seeds"]
    parts = [
        "# From projections to slices: every route",
        f"Made by `{table['command']}` at commit {table['commit']}; seeds {seeds[0]} to {seeds[1]}, stress and rest of "
        f"{seeds[1] - seeds[0] + 1} synthetic test patients. Image route: {table['model']}, weights "
        f"{table['weights_sha256'][:12]}; physics route: mumap, weights {table['maps_sha256'][:12]}.",
        *_networks(table),
        "All routes start from the same counts and are cut along the same axis; 64 views unless the "
        "protocol says otherwise, OSEM of 32 updates, Butterworth 0.4/cm. CT-AC as acquired: a CT that a good "
        "registration leaves some millimetres off, and the shape of the scatter known but not its amount; CT-AC, exact "
        "map: the same with the map that the emission sees; the physics "
        "route knows neither map nor scatter. IDEAL: exact map, exact scatter, no noise. Truth: the activity itself. "
        "Segments: mean absolute difference of the 17 segments, % of each image's maximum, about the phantom's own "
        "ventricle. Contrast: of known defects, 1 - defect / remote. RMSE: within 60 mm of the stack's middle, to "
        "IDEAL, % of its 99th percentile; fitted: after the factor that suits a stack best. Intervals: 95 % bootstrap "
        "over patients.",
    ]
    for name, of in table["protocols"].items():
        parts += [f"## {name}: {of['patients']} patients", _rows(of), _map(of), _minus(of), *_readers(of), _verdict(of)]
    return "\n\n".join(parts) + "\n"


def _rows(of: Mapping[str, Any]) -> str:
    contrast = f"contrast of {of['defects']} defects (truth {_number(of['contrast of truth'])})"
    columns = {f"segments to {to}": 2 for to in REFERENCES} | {"contrast": 3, "rmse": 1, "fitted rmse": 1}
    header = ["route", *(contrast if name == "contrast" else name for name in columns)]
    lines = [
        [name, *(_cell(row[column], digits) for column, digits in columns.items())] for name, row in of["rows"].items()
    ]
    return _grid(header, lines)


def _networks(table: Mapping[str, Any]) -> list[str]:
    named = [f"{words}, weights {digest[:12]}" for words, digest in table.get("networks", {}).items()]
    return (
        [f"Of views that were changed before: {'; '.join(named)}; other rows are of what was measured."]
        if named
        else []
    )


def _readers(of: Mapping[str, Any]) -> list[str]:
    """How well two readers tell images with a known defect, from those of patients without."""
    found = of["detection"]
    columns = list(dict.fromkeys(column for row in found["rows"].values() for column in row))
    if not columns:
        return []
    lines = [[name, *(_cell(row.get(column), 3) for column in columns)] for name, row in found["rows"].items()]
    told = (
        f"Area under the ROC of {found['with']} images with a defect and {found['without']} without, by a channelised "
        "Hotelling observer (four octaves without direction; the template is of the other patients) and by the total "
        "perfusion deficit (normal limits of the other patients without defects)."
    )
    return [told, _grid(["route", *columns], lines)]


def _map(of: Mapping[str, Any]) -> str:
    found = of["map"]
    return (
        f"The predicted map: mean error of mu {_cell(found['body nmae'], 3)} of its maximum in the body, "
        f"{_cell(found['heart nmae'], 3)} within 60 mm of the heart; the share of photons that leave the heart is off "
        f"by {_cell([100 * v for v in found['survival']], 1)} %."
    )


def _minus(of: Mapping[str, Any]) -> str:
    lines = [[name, _cell(values, 2)] for name, values in of["minus"].items()]
    return _grid(["segment error, % of maximum", "difference, paired"], lines)


def _verdict(of: Mapping[str, Any]) -> str:
    rows, found = of["rows"][PREDICTED], []
    for what, value, goal in (
        ("mu in the body", of["map"]["body nmae"][0], GOAL_NMAE),
        (f"segments to {EXACT}", rows[f"segments to {EXACT}"][0], GOAL_EXACT),
        (f"segments to {CT}", rows[f"segments to {CT}"][0], GOAL_CT),
        (f"segments to truth beyond {CT}'s", of["minus"][f"{PREDICTED} minus {CT}, to truth"][0], GOAL_WORSE),
        (f"segments to IDEAL beyond {CT}'s", of["minus"][f"{PREDICTED} minus {CT}, to IDEAL"][0], GOAL_WORSE),
    ):
        found.append(f"{what} {value:.3g} (goal {goal:g}: {'reached' if value <= goal else 'missed'})")
    return "Goals of the physics route: " + "; ".join(found) + "."


def _grid(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def _cell(values: Sequence[float] | None, digits: int) -> str:
    if values is None:
        return "–"
    value, low, high = (f"{v:.{digits}f}" for v in values)
    return f"{value} [{low}, {high}]" if low != "nan" else value


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
