"""What the committed results say of segments: README's paragraphs and the model card's sentence."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench" / "results"
ROW = "bbdm, 1 evaluation, planes combined"


def segments() -> Iterable[str]:
    """What bounds the segment error, how AC repeats, and the patients that were looked at before."""
    map_alone = _json("cohort.json")["causes"]["segment_error"]["ac_map"]
    table, earlier, repeat = (
        _json("quality/table.json"),
        _json("quality-earlier/table.json"),
        _json("repeat/repeat.json"),
    )
    again, corrected = (_image(repeat, name) for name in ("AC, second acquisition", "corrected"))
    ac, ours, before = table["reference_segments"]["AC"], _row(table)["segments"], _row(earlier)["segments"]
    return [
        "The phantom's AC is itself made with a misregistered CT and an inexact scatter estimate: they alone move its "
        f"segments by {map_alone:.1f} % of maximum ({link(RESULTS / 'cohort.md')}), which no method can know from NC; "
        f"against the phantom's own activity AC is off by {ac['truth_error']['value']:.1f} %, what is corrected here "
        f"by {ours['truth_error']['value']:.1f} %. A hundredth of maximum, which a physician would like, is therefore "
        "out of reach on these data.",
        "",
        f"{corrected['new_low']} of {repeat['normal_segments']} segments of normal patients are newly low, by at most "
        f"{corrected['new_low_depth']['most']:.1f} % of maximum. AC itself does not repeat better: the same patients "
        f"imaged a second time have {again['new_low']} that the first AC does not show, by at most "
        f"{again['new_low_depth']['most']:.1f} %, and segments {again['error']['value']:.1f} % away where corrected "
        f"ones are {corrected['error']['value']:.1f} % from AC ({link(RESULTS / 'repeat/repeat.md')}, by "
        "`python -m bench repeat`).",
        "",
        f"{len(earlier['head']['case_seeds'])} patients before them ({_span(earlier)}) had been looked at on the way: "
        f"segment error {before['error_over_nc']['value']:.3f} of NC's, {before['new_low']} of "
        f"{before['normal_segments']} normal segments newly low ({link(RESULTS / 'quality-earlier/table.md')}).",
    ]


def measured() -> Iterable[str]:
    """The card's sentence."""
    table, earlier, repeat = (
        _json("quality/table.json"),
        _json("quality-earlier/table.json"),
        _json("repeat/repeat.json"),
    )
    row, before = _row(table), _row(earlier)["segments"]
    ours, nc = row["segments"], table["reference_segments"]["NC"]
    ratio = {region: row[region]["rmse_over_linear"]["value"] for region in ("whole", "heart")}
    return [
        f"As `spectac correct` writes it, planes combined, on {len(table['head']['case_seeds'])} synthetic patients "
        f"({_span(table)}), in parentheses on the {len(earlier['head']['case_seeds'])} before them: RMSE "
        f"{ratio['whole']:.2f} of a linear regression's over the field, {ratio['heart']:.2f} in the heart region; "
        f"17-segment error {ours['error_over_nc']['value']:.2f} of NC's ({before['error_over_nc']['value']:.2f}); "
        f"contrast of known defects {ours['contrast_over_ac']['value']:.2f} of AC's "
        f"({before['contrast_over_ac']['value']:.2f}); {ours['new_low']} of {ours['normal_segments']} normal segments "
        f"newly below the normal limit ({before['new_low']} of {before['normal_segments']}), of NC {nc['new_low']}, of "
        f"AC of a second acquisition {_image(repeat, 'AC, second acquisition')['new_low']}: "
        "`bench/results/repeat/repeat.md`.",
    ]


def _row(table: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(row for row in table["rows"] if row["label"] == ROW)


def _image(repeat: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(row for row in repeat["rows"] if row["image"] == name)


def _span(table: Mapping[str, Any]) -> str:
    seeds = table["head"]["case_seeds"]
    return f"seeds {min(seeds)}–{max(seeds)}"


def link(path: Path) -> str:
    """A file of the repository as README names it."""
    where = path.relative_to(ROOT)
    return f"[`{where}`]({where})"


def _json(path: str) -> dict[str, Any]:
    return json.loads((RESULTS / path).read_text(encoding="utf-8"))
