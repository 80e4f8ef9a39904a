"""How every method learns: validation error against slices seen and core-minutes, from the diaries of training runs.

`python -m bench curves RUN...` reads RUN/log.jsonl, also of a run that goes on, and RUN/card.json where it has ended; a
RUN that is a curves.json of an earlier table gives that table's rows. A row whose error still falls when its budget
ends is no answer to how good the method is, and is marked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parents[1] / "results" / "curves"
SHARES = (0.01, 0.03, 0.1, 0.3, 1.0)
# Relative change of the error over the last third of a budget, beyond which a row still falls.
FALLS = -0.03
_LAST = 2 / 3
_SAID = f"""\
Heart RMSE of a few validation patients over that of the linear row, by the share of the slices that a run saw
(interpolated in their logarithm). Last third: relative change of the error over the last third of the slices; a row
that changes by {100 * FALLS:.0f} % or more still falls, and more training would better it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="folders of `spectac train --validation`, curves.json"
    )
    parser.add_argument("-o", "--out", type=Path, default=RESULTS, help="folder of the results")


def run(args: argparse.Namespace) -> int:
    from bench.outputs import appearing
    from bench.quality.curves_plot import plot
    from spectac_fast.evaluate.provenance import commit
    from spectac_fast.outputs import output_folder

    out = output_folder(args.out)
    rows = [row for path in args.runs for row in ([learned(path)] if path.is_dir() else earlier(path))]
    table = {"commit": commit(), "rows": list({row["name"]: row for row in rows}.values())}
    plot(table["rows"], out / "curves.png")
    for name, text in (("curves.json", json.dumps(table, indent=1) + "\n"), ("curves.md", page(table))):
        with appearing(out / name) as part:
            part.write_text(text)
    print(page(table))
    return 0


def earlier(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that was made before. SystemExit where there is none."""
    try:
        return list(json.loads(path.read_text())["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SystemExit(f"{path}: expected a training run or the curves.json of an earlier table") from None


def learned(folder: Path) -> dict[str, Any]:
    """The curve of a run: "points" with "slices", "minutes" (of all cores together) and "heart", RMSE over that of the
    linear row; "reached" at `SHARES` of what it saw, "change" over its last third, "falls", and whether it has ended.

    SystemExit where there is no diary, or none of a run that was watched.
    """
    path = folder / "log.jsonl"
    if not path.is_file():
        raise SystemExit(f"{folder}: expected a training run with log.jsonl, found none")
    # The last line of a run that goes on may be half written.
    entries = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    points = [
        {
            "slices": entry["slices"],
            "minutes": entry["minutes"] * entry.get("threads", 1),
            "heart": entry["validation"]["heart_over_linear"],
        }
        for entry in entries
        if "validation" in entry
    ]
    if not points:
        raise SystemExit(f"{path}: expected errors of validation patients, found none: train with --validation")
    card = folder / "card.json"
    about = json.loads(card.read_text()) if card.is_file() else {}
    change = last_change(points)
    return {
        "name": folder.name,
        "recipe": about.get("recipe", {}).get("name"),
        "ended": bool(about),
        "points": points,
        "reached": {str(share): reached(points, share) for share in SHARES},
        "change": change,
        "falls": change is not None and change < FALLS,
    }


def reached(points: Sequence[Mapping[str, float]], share: float) -> float | None:
    """The error when a share of the slices had been seen, interpolated in their logarithm; None before the first."""
    slices = np.array([point["slices"] for point in points], float)
    at = share * slices[-1]
    if at < slices[0]:
        return None
    return float(np.interp(np.log(at), np.log(slices), [point["heart"] for point in points]))


def last_change(points: Sequence[Mapping[str, float]]) -> float | None:
    """Relative change of the error over the last third of the slices, of a straight line through it; None where fewer
    than three looks were taken there.
    """
    last = [point for point in points if point["slices"] >= _LAST * points[-1]["slices"]]
    if len(last) < 3:
        return None
    slope, offset = np.polyfit([point["slices"] for point in last], [point["heart"] for point in last], 1)
    before = slope * _LAST * points[-1]["slices"] + offset
    return float(slope * (1 - _LAST) * points[-1]["slices"] / before)


def page(table: Mapping[str, Any]) -> str:
    """The table as Markdown."""
    header = ["run", *(f"{100 * share:g} %" for share in SHARES), "slices", "core-minutes", "last third"]
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(["---"] + ["---:"] * (len(header) - 1)) + " |"]
    for row in table["rows"]:
        name = row["name"] + (" **(still falls)**" if row["falls"] else "") + ("" if row["ended"] else " (goes on)")
        cells = ["–" if value is None else f"{value:.3f}" for value in row["reached"].values()]
        change = "–" if row["change"] is None else f"{100 * row['change']:+.1f} %"
        end = row["points"][-1]
        lines.append("| " + " | ".join([name, *cells, f"{end['slices']:,}", f"{end['minutes']:.1f}", change]) + " |")
    return (
        "\n\n".join(
            (
                "# Learning curves",
                _SAID,
                "\n".join(lines),
                "![Learning curves](curves.png)",
                f"Commit {table['commit']}, by `python -m bench curves`.",
            )
        )
        + "\n"
    )
