"""README's table: five rows that a physician would ask for, from the committed table of test patients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bench.pages.evidence import RESULTS, json_of, named, row_of, span

# Column -> row of the table, and the image of its segments where that is none of the rows.
COLUMNS = {"NC": "identity", "best straight line": "linear", "corrected": "bbdm, 1 evaluation, planes combined"}


def front() -> Iterable[str]:
    """The block of README."""
    table = json_of("quality/table.json")
    rows = {column: row_of(table, label) for column, label in COLUMNS.items()}
    segments = {column: row["segments"] for column, row in rows.items()}
    # The identity row is NC times a gain, of which segments in % of maximum know nothing.
    segments["NC"] = table["reference_segments"]["NC"]
    heart = {column: row["heart"] for column, row in rows.items()}
    lines = {
        "SSIM in the heart region": [_interval(of["ssim"], 3) for of in heart.values()],
        "RMSE there, of [-1, 1]": [_interval(of["rmse"], 3) for of in heart.values()],
        "17 segments: error, % of maximum": [_interval(of["error"], 1) for of in segments.values()],
        "contrast of defects, AC's = 1": [_interval(of["contrast_over_ac"], 2) for of in segments.values()],
        "normal segments low where AC's are not": [
            f"{of['new_low']} of {of['normal_segments']}" for of in segments.values()
        ],
    }
    return [
        f"| {table['head']['patients']} synthetic patients, against their AC | {' | '.join(COLUMNS)} |",
        f"| --- |{' ---: |' * len(COLUMNS)}",
        *(f"| {name} | {' | '.join(cells)} |" for name, cells in lines.items()),
        "",
        f"Mean over patients and 95 % interval; {span(table)}, never trained on, and nothing was chosen by them. Every "
        "row, convention and other method: [how good](docs/pages/results/quality.md), "
        f"{named(RESULTS / 'quality' / 'table.md')}.",
    ]


def _interval(of: Mapping[str, Any], digits: int) -> str:
    return f"{of['value']:.{digits}f} ({of['low']:.{digits}f} – {of['high']:.{digits}f})"
