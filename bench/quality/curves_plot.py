"""The picture of `python -m bench curves`: errors of all runs against slices seen and against core-minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.outputs import MADE_BY, appearing

_DASHES = ("-", "--", ":")


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A PNG. rows: of `curves.learned`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    colours = mpl.colormaps["tab10"].colors
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 9.0, "axes.spines.top": False}):
        figure = Figure(figsize=(12, 5.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2, sharey=True)
        for k, row in enumerate(rows):
            style = {"color": colours[k % len(colours)], "ls": _DASHES[k // len(colours) % len(_DASHES)], "lw": 1.4}
            for axes, along in zip(panels, ("slices", "minutes"), strict=True):
                points = [point for point in row["points"] if point[along] > 0]
                axes.plot([p[along] for p in points], [p["heart"] for p in points], label=row["name"], **style)
        for axes, label in zip(panels, ("slices seen", "core-minutes"), strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
                which(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.axhline(1.0, color="#000000", lw=0.8, ls=":")
            axes.set_xlabel(label)
            axes.grid(alpha=0.25, lw=0.6)
        panels[0].set_ylabel("heart RMSE / linear, validation patients")
        _named(panels[1], rows)
        with appearing(path) as part:
            figure.savefig(part, dpi=110, format="png", metadata=MADE_BY)


def _named(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """The legend beside the panels, in the order in which the curves end."""
    handles, labels = axes.get_legend_handles_labels()
    ends = [row["points"][-1]["heart"] for row in rows]
    order = sorted(range(len(ends)), key=lambda k: -ends[k])
    named = [labels[k] + (" (still falls)" if rows[k]["falls"] else "") for k in order]
    axes.legend([handles[k] for k in order], named, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0))
