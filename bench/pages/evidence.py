"""What the committed results say of segments: the paragraphs of the page of results and the model card's sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
ROW = "bbdm, 1 evaluation, planes combined"


def segments() -> Iterable[str]:
    """What bounds the segment error, and how AC repeats."""
    map_alone = json_of("cohort.json")["causes"]["segment_error"]["ac_map"]
    table, repeat = json_of("quality/table.json"), json_of("repeat/repeat.json")
    again, corrected = (_image(repeat, name) for name in ("AC, second acquisition", "corrected"))
    ac, ours = table["reference_segments"]["AC"], row_of(table, ROW)["segments"]
    return [
        "The phantom's AC is itself made with a misregistered CT and an inexact scatter estimate: they alone move its "
        f"segments by {map_alone:.1f} % of maximum ({named(RESULTS / 'cohort.md')}), which no method can know from NC; "
        f"against the phantom's own activity AC is off by {ac['truth_error']['value']:.1f} %, what is corrected here "
        f"by {ours['truth_error']['value']:.1f} %. A hundredth of maximum, which a physician would like, is therefore "
        "out of reach on these data.",
        "",
        f"{corrected['new_low']} of {repeat['normal_segments']} segments of normal patients are newly low, by at most "
        f"{corrected['new_low_depth']['most']:.1f} % of maximum. AC itself does not repeat better: the same patients "
        f"imaged a second time have {again['new_low']} that the first AC does not show, by at most "
        f"{again['new_low_depth']['most']:.1f} %, and segments {again['error']['value']:.1f} % away where corrected "
        f"ones are {corrected['error']['value']:.1f} % from AC ({named(RESULTS / 'repeat/repeat.md')}, by "
        "`python -m bench repeat`).",
    ]


def measured() -> Iterable[str]:
    """The card's sentence."""
    table, repeat = json_of("quality/table.json"), json_of("repeat/repeat.json")
    row = row_of(table, ROW)
    ours, nc = row["segments"], table["reference_segments"]["NC"]
    ratio = {region: row[region]["rmse_over_linear"]["value"] for region in ("whole", "heart")}
    return [
        f"As `spectac correct` writes it, planes combined, on {len(table['head']['case_seeds'])} synthetic patients "
        f"({span(table)}): RMSE {ratio['whole']:.2f} of a linear regression's over the field, {ratio['heart']:.2f} in "
        f"the heart region; 17-segment error {ours['error_over_nc']['value']:.2f} of NC's; contrast of known defects "
        f"{ours['contrast_over_ac']['value']:.2f} of AC's; {ours['new_low']} of {ours['normal_segments']} normal "
        f"segments newly below the normal limit, of NC {nc['new_low']}, of AC of a second acquisition "
        f"{_image(repeat, 'AC, second acquisition')['new_low']}: `bench/results/repeat/repeat.md`.",
    ]


def row_of(table: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    """A row of a committed table."""
    return next(row for row in table["rows"] if row["label"] == label)


def _image(repeat: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(row for row in repeat["rows"] if row["image"] == name)


def span(table: Mapping[str, Any]) -> str:
    """The seeds of a table's patients, in words."""
    seeds = table["head"]["case_seeds"]
    return f"seeds {min(seeds)}–{max(seeds)}"


def named(path: Path) -> str:
    """A file of the repository as pages name it."""
    return f"`{path.relative_to(ROOT)}`"


def json_of(path: str) -> dict[str, Any]:
    """A committed result, by its path below bench/results."""
    return json.loads((RESULTS / path).read_text(encoding="utf-8"))
