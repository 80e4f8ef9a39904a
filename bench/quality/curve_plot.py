"""The picture of `python -m bench curve`: errors of two trainings along the bridge, and their ratio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.outputs import MADE_BY, appearing

_COLOURS = "#d55e00", "#0072b2"


def plot(measured: Mapping[str, Any], path: Path) -> None:
    """A PNG."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [row for row in measured["rows"] if row["t"] is not None]
    sigma = [row["sigma"] for row in rows]
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.0, "axes.spines.top": False}):
        figure = Figure(figsize=(11, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for i, (label, colour) in enumerate(zip(measured["labels"], _COLOURS)):
            left.plot(sigma, [row["rmse"][i] for row in rows], color=colour, marker="o", ms=4, lw=1.3, label=label)
        left.plot(sigma, sigma, color="#999999", lw=1.0, ls="--", label="the noise itself")
        left.set_yscale("log")
        values = [value for row in rows for value in row["rmse"]]
        left.set_ylim(0.5 * min(values), 3 * max(values))
        left.legend(frameon=False)
        ratios = [row["ratio"] for row in rows]
        right.fill_between(sigma, [r["low"] for r in ratios], [r["high"] for r in ratios], color="#0072b2", alpha=0.15)
        right.plot(sigma, [r["value"] for r in ratios], color="#0072b2", marker="o", ms=4, lw=1.3)
        right.axhline(1.0, color="#000000", lw=0.8, ls=":")
        titles = ("the network's error along the bridge", "RMSE of predicted AC from the forward process's states")
        _titled(left, *titles)
        first, second = measured["labels"]
        _titled(right, f"{second} / {first}", f"ratio of RMSE and 95 % interval; below 1: {second} is better")
        with appearing(path) as part:
            figure.savefig(part, dpi=110, format="png", metadata=MADE_BY)


def _titled(axes: Any, title: str, hint: str) -> None:
    axes.set_xscale("log")
    axes.set_xlabel("noise level sigma (small: the last evaluations of a sample)")
    axes.set_title(f"{title}\n", fontsize=10, weight="bold", loc="left")
    axes.text(0, 1.02, hint, transform=axes.transAxes, fontsize=8.5, color="#555555")
    axes.grid(alpha=0.25, lw=0.6)
