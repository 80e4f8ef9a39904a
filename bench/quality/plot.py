"""The picture of `python -m bench quality`: quality against evaluations, one line per solver."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.outputs import MADE_BY, appearing
from bench.quality.summary import REFERENCE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, told apart by everybody; the two that the text speaks of most are the darkest.
_LOOKS = {
    "published": ("#000000", "o"),
    "ancestral": ("#999999", "s"),
    "DBIM-1": ("#56b4e9", "v"),
    "DBIM-2": ("#d55e00", "o"),
    "DBIM-3": ("#cc79a7", "^"),
    "UniPC": ("#009e73", "D"),
    "SDE-2M": ("#e69f00", "P"),
    "fitted": ("#0072b2", "*"),
}
_PANELS = (
    ("rmse", "RMSE of one sample", "lower is better"),
    ("ssim", "SSIM of one sample", "higher is better"),
    ("texture", "texture: power spectrum to AC's, dB", "lower is better"),
    ("spread", "spread between samples", "the 200-step sampler's is the goal"),
    ("rmse_of_mean", "RMSE of the mean of samples", "lower is better"),
)
_OTHER_MARKERS = "XshD^vp"
# Labels in a line of the legend.
_WIDEST_LEGEND = 9
_TICKS = (1, 2, 3, 4, 6, 10, 20, 50, 200)


def plot(measured: Mapping[str, Any], path: Path) -> None:
    """Five measures against evaluations, and the network's error along the bridge; a PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.0, "axes.spines.top": False}):
        figure = Figure(figsize=(13.5, 7.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 3).ravel()
        for one, (name, title, hint) in zip(axes, _PANELS):
            _panel(one, measured["rows"], name)
            one.set_title(f"{title}\n", fontsize=10, weight="bold", loc="left")
            one.text(0, 1.02, hint, transform=one.transAxes, fontsize=8.5, color="#555555")
        if measured["curve"]:
            _curve(axes[5], measured["curve"])
        handles, labels = axes[0].get_legend_handles_labels()
        columns = math.ceil(len(labels) / math.ceil(len(labels) / _WIDEST_LEGEND))
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
        figure.suptitle("Network evaluations against quality", fontsize=12, weight="bold", x=0.01, ha="left")
        with appearing(path) as part:
            figure.savefig(part, dpi=110, format="png", metadata=MADE_BY)


def _panel(axes: Axes, rows: list[dict[str, Any]], name: str) -> None:
    reference = next((row for row in rows if (row["solver"], row["evaluations"]) == REFERENCE), None)
    if reference and name in reference["estimates"]:
        own = reference["estimates"][name]
        axes.axhspan(own["low"], own["high"], color="#000000", alpha=0.08, lw=0, label="published, 200: 95 % interval")
        axes.axhline(own["value"], color="#000000", lw=0.8, ls=":")
    for solver, (colour, marker) in _LOOKS.items():
        points = [
            (row["evaluations"], row["estimates"][name]["value"])
            for row in rows
            if row["solver"] == solver and "other" not in row and name in row["estimates"]
        ]
        if points:
            axes.plot(*zip(*points), color=colour, marker=marker, ms=4.5, lw=1.3, label=solver)
    _other_points(axes, rows, name)
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, labels=[str(n) for n in _TICKS])
    axes.minorticks_off()
    axes.set_xlabel("network evaluations")
    axes.grid(alpha=0.25, lw=0.6)


def _other_points(axes: Axes, rows: list[dict[str, Any]], name: str) -> None:
    """Other weights; what is far outside would press everything else flat, and stands in the table only."""
    low, high = axes.get_ylim()
    least, most = 2 * low - high, 2 * high - low
    others = dict.fromkeys(row["solver"] for row in rows if "other" in row)
    for marker, label in zip(_OTHER_MARKERS, others):
        own = [row for row in rows if row["solver"] == label and "other" in row and name in row["estimates"]]
        points = [(row["evaluations"], row["estimates"][name]["value"]) for row in own]
        if points:
            axes.plot(*zip(*points), color="#7a3b00", marker=marker, mfc="none", ms=7, ls="", label=label)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, least), min(top, most))


def _curve(axes: Axes, curve: list[dict[str, float]]) -> None:
    axes.plot([one["sigma"] for one in curve], [one["rmse"] for one in curve], color="#0072b2", marker="o", ms=4.5)
    axes.plot(*[[one["sigma"] for one in curve]] * 2, color="#999999", lw=1.0, ls="--", label="the noise itself")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title("the network's error along the bridge\n", fontsize=10, weight="bold", loc="left")
    hint = "RMSE of predicted AC from the forward process's states"
    axes.text(0, 1.02, hint, transform=axes.transAxes, fontsize=8.5, color="#555555")
    axes.set_xlabel("noise level sigma")
    axes.set_ylim(top=4 * max(one["rmse"] for one in curve))
    axes.legend(frameon=False)
    axes.grid(alpha=0.25, lw=0.6)
