"""What the shipped model's card says of its calibration and its population, from the files beside the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from spectac_fast.correct.doubts.small_field import REFUSED, REFUSED_SHAPE
from spectac_fast.data.geometry.around import Expected

ROOT = Path(__file__).parents[2]
WEIGHTS, RESULTS = ROOT / "spectac_fast" / "weights", ROOT / "bench" / "results"
CARD = WEIGHTS / "bbdm64.md"
LEVELS = (50, 80, 90, 95)


def trust() -> Iterable[str]:
    """The block of the card."""
    rows = {**_deviation(), **_population(), **_expected_error(), **_fields()}
    return ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())]


def _deviation() -> dict[str, str]:
    fitted = _json(WEIGHTS / "bbdm64.uncertainty.json")
    result = _json(RESULTS / "calibration" / "calibration.json")
    floor = f"floor {fitted['floor']:g} in model units" if fitted["floor"] else "no floor"
    wide = f", times (expected error / {fitted['usual']:.2f} %)^{fitted['exponent']:.2f}" if fitted["exponent"] else ""
    rows = {
        "standard deviation": f"`bbdm64.uncertainty.json`: the samples' spread times {fitted['temperature']:.3f}, "
        f"{floor}{wide}; fitted on {fitted['fitted_on']}",
        "measured on": f"{result['judged_on']}, {result['samples']} samples: "
        "`bench/results/calibration/calibration.md`",
    }
    for row in result["rows"]:
        stored = all(row[name] == result[name] for name in ("temperature", "floor", "exponent"))
        if stored and row["split"].startswith("test"):
            rows[f"{row['split']}: {row['row']}"] = _coverage(row)
    return rows


def _coverage(row: Mapping[str, Any]) -> str:
    shares = (f"{level} %: {100 * got['value']:.1f}" for level, got in zip(LEVELS, row["coverage"], strict=True))
    error, correlation = row["calibration_error"]["value"], row["correlation"]["value"]
    return (
        f"intervals of {', '.join(shares)} % of voxels; calibration error {100 * error:.1f} %, rank correlation of "
        f"error and deviation {correlation:.2f}; {row['patients']} patients"
    )


def _population() -> dict[str, str]:
    known = _json(WEIGHTS / "bbdm64.population.json")
    result = _json(RESULTS / "foreign" / "foreign.json")
    limits = ", ".join(f"{plane} {of['limit']:.2f}" for plane, of in known["planes"].items())
    rows = {
        "foreign input": f"`bbdm64.population.json`: {len(known['features'])} numbers read off a series, of "
        f"{known['about']}; flagged above a score of {limits}"
    }
    if "spread" in known:
        spread = known["spread"]
        rows["foreign spread"] = (
            f"the same file, where deviations are asked for: spread of {spread['samples']} samples in the heart "
            f"region, of {spread['about']}; flagged beyond {spread['limit']:.2f} standard deviations"
        )
    shares = (f"{kind} {_flagged(result, kind)} %" for kind in dict.fromkeys(row["input"] for row in result["rows"]))
    rows["series flagged by input"] = "; ".join(shares) + ": `bench/results/foreign/foreign.md`"
    return rows


def _expected_error() -> dict[str, str]:
    result = _json(RESULTS / "expected" / "expected.json")
    most, ratio = result["limits"]
    sensitivity, alarms = 100 * result["sensitivity"], 100 * result["false alarms"]
    return {
        "expected error": f"`bbdm64.expected.npz`, of {result['about']}: warned of above {most:.1f} % expected error "
        f"of segments, or {math.exp(ratio):.2f} of NC's; finds {sensitivity:.0f} % of corrections that are no better "
        f"than NC and warns of {alarms:.0f} % of good ones (area under the ROC {result['auc']:.2f}): "
        "`bench/results/expected/expected.md`"
    }


def _fields() -> dict[str, str]:
    result = _json(RESULTS / "fields" / "fields.json")
    kept = (
        f"{way} from {Expected(**costs).least(REFUSED, REFUSED_SHAPE):.0f} mm"
        for way, costs in list(result["expected"].items())[:2]
    )
    return {
        "small fields": f"`bbdm64.surroundings.npz`: what lies around the heart, of {result['surroundings']}; "
        f"fields that end within the patient are corrected for {', for '.join(kept)} on: "
        "`bench/results/fields/fields.md`"
    }


def _flagged(result: Mapping[str, Any], kind: str) -> str:
    own = [row for row in result["rows"] if row["input"] == kind]
    return f"{100 * sum(row['flagged'] * row['series'] for row in own) / sum(row['series'] for row in own):.0f}"


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
