"""The judge of images as a page and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.outputs import MADE_BY, appearing

_COLUMNS = {
    "auc": ("AUC", "{:.4f}"),
    "found_at_1_percent": ("AC found at 1 % false alarms, %", "{:.1%}"),
    "nc_called_ac": ("NC called AC, %", "{:.1%}"),
    "ac_called_nc": ("AC called NC, %", "{:.1%}"),
    "nc_open": ("NC left open, %", "{:.1%}"),
    "ac_open": ("AC left open, %", "{:.1%}"),
    "nc_surely_ac": ("NC called surely AC, %", "{:.2%}"),
    "ac_surely_ac": ("AC called surely AC, %", "{:.1%}"),
}


def page(table: dict[str, Any]) -> str:
    """Facts and a row for every kind of images."""
    lines = [
        "# Is AC told from NC by the look of an image?",
        "",
        "Made by `python -m bench judge --train DIR ... --validation DIR ...` (`--fit` fits anew); DIR is a folder of",
        "`spectac phantom --format npy`, or one of `python -m bench judge_cases`: patients reconstructed with and",
        "without each correction, cut with fields, pixels and filters drawn at random. Figures and regression:",
        "`spectac_fast/formats/evidence`. Left open: log odds between -1 and 1; sure: beyond 4 either way.",
        "",
        f"* {table['patients']} validation patients (seeds {table['seeds'][0]} - {table['seeds'][1]}) with",
        f"  {table['images']} images; fitted on {table['train']} training patients",
        f"* no heart seen in {table['no heart seen']} images, {table['unlike all known']} unlike all known:",
        "  the judge says nothing of them, the table counts them all the same",
        f"* commit {table['commit']}",
        "",
        "| images | number | " + " | ".join(title for title, _ in _COLUMNS.values()) + " |",
        "|" + " --- |" * (len(_COLUMNS) + 2),
    ]
    for row in table["rows"]:
        cells = [form.format(row[key]).rstrip("%") for key, (_, form) in _COLUMNS.items()]
        lines.append(f"| {row['of']} | {row['images']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(odds: NDArray[np.float64], corrected: NDArray[np.bool_], table: dict[str, Any], path: Path) -> None:
    """The ROC, and the odds of both kinds."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    roc, odd = figure.subplots(1, 2)
    nc, ac = np.sort(odds[~corrected]), np.sort(odds[corrected])
    thresholds = np.unique(odds)
    alarms = 1 - np.searchsorted(nc, thresholds, "right") / len(nc)
    found = 1 - np.searchsorted(ac, thresholds, "right") / len(ac)
    roc.plot(100 * alarms, 100 * found, color="black")
    roc.axvline(1, color="grey", linewidth=0.8, linestyle=":")
    roc.set(xlim=(0, 10), ylim=(60, 100.5), xlabel="NC taken for AC, %", ylabel="AC found, %")
    roc.set_title(f"ROC, AUC {table['rows'][0]['auc']:.4f}", fontsize=10)
    bins = np.linspace(odds.min(), odds.max(), 60)
    odd.hist(nc, bins, alpha=0.6, label="NC")
    odd.hist(ac, bins, alpha=0.6, label="AC")
    odd.set(xlabel="log odds of AC", ylabel="images")
    odd.legend()
    with appearing(path) as part:
        figure.savefig(part, dpi=120, format="png", metadata=MADE_BY)
