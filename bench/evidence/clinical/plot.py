"""The pictures of `python -m bench clinical`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.outputs import MADE_BY, appearing
from spectac_fast.evaluate.figures.figures import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by everybody.
COLOURS = {"NC": "#d55e00", "corrected": "#0072b2", "AC": "#1b1b1f"}


def plot(table: Mapping[str, Any], curves: Mapping[str, Any], folder: Path) -> None:
    """agreement.png, detection.png and robustness.png in `folder`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({**STYLE, "axes.spines.top": False, "axes.spines.right": False}):
        for name, draw, size in (
            ("agreement", _agreement, (10, 4.2)),
            ("detection", _detection, (10, 4.4)),
            ("robustness", _robustness, (10, 3.9)),
        ):
            figure = Figure(figsize=size, layout="constrained")
            FigureCanvasAgg(figure)
            if draw(figure, table, curves):
                with appearing(folder / f"{name}.png") as part:
                    figure.savefig(part, dpi=120, format="png", metadata=MADE_BY)


def _agreement(figure: Figure, table: Mapping[str, Any], curves: Mapping[str, Any]) -> bool:
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for one, (kind, (mean, difference)) in zip(axes, curves["agreement"].items()):
        found = table["agreement"][kind]
        one.scatter(mean.ravel(), difference.ravel(), s=5, alpha=0.35, color=COLOURS[kind], linewidths=0)
        for name, style in (("bias", "-"), ("low", "--"), ("high", "--")):
            one.axhline(found[name], color="#1b1b1f", lw=1, ls=style)
            one.text(
                1.005, found[name], f"{found[name]:+.1f}", transform=one.get_yaxis_transform(), va="center", fontsize=8
            )
        one.axhline(0, color="#bbbbbb", lw=0.8, zorder=0)
        one.set_title(f"{kind} − AC", loc="left", weight="bold")
        one.set_xlabel("mean of both, % of maximum")
    axes[0].set_ylabel("difference, points")
    figure.suptitle("17 segments: bias and 95 % limits of agreement", x=0.01, ha="left", fontsize=11)
    return True


def _detection(figure: Figure, table: Mapping[str, Any], curves: Mapping[str, Any]) -> bool:
    left, right = figure.subplots(1, 2)
    for kind, (fall_out, sensitivity) in curves["roc"].items():
        auc = table["detection"][kind]["auc"]
        label = f"{kind}: {auc[0]:.2f} ({auc[1]:.2f} – {auc[2]:.2f})"
        left.step(fall_out, sensitivity, where="post", color=COLOURS[kind], label=label, lw=1.6)
        found = table["detection"][kind]
        left.plot(1 - found["specificity"][0], found["sensitivity"][0], "o", color=COLOURS[kind], ms=6)
    left.plot([0, 1], [0, 1], color="#bbbbbb", lw=0.8, zorder=0)
    left.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    left.legend(frameon=False, loc="lower right", title="area under the curve", fontsize=8)
    left.set_title("Known defects by perfusion deficit", loc="left", weight="bold")
    for kind in ("NC", "corrected"):
        right.scatter(
            curves["deficit"]["AC"].ravel(),
            curves["deficit"][kind].ravel(),
            s=14,
            color=COLOURS[kind],
            label=kind,
            alpha=0.7,
        )
    most = max(float(np.max(of)) for of in curves["deficit"].values()) * 1.05 + 1
    right.plot([0, most], [0, most], color="#bbbbbb", lw=0.8, zorder=0)
    right.set(xlabel="AC, %", ylabel="%", xlim=(0, most), ylim=(0, most))
    right.legend(frameon=False)
    right.set_title("Total perfusion deficit", loc="left", weight="bold")
    return True


def _robustness(figure: Figure, table: Mapping[str, Any], curves: Mapping[str, Any]) -> bool:
    if not table["robust"]:
        return False
    axes = figure.subplots()
    found = table["robust"]["conditions"]
    where = np.arange(len(found))
    for shift, kind in ((-0.12, "NC"), (0.12, "corrected")):
        values = np.array([of[kind] for of in found.values()])
        spread = np.abs(values[:, 1:] - values[:, :1]).T
        axes.errorbar(where + shift, values[:, 0], spread, fmt="o", color=COLOURS[kind], label=kind, capsize=3, lw=1.2)
    axes.set_xticks(where, [name.replace(", ", ",\n") for name in found], rotation=25, ha="right", fontsize=8)
    axes.set_ylim(0)
    axes.set_ylabel("segment error to AC,\n% of maximum")
    axes.legend(frameon=False)
    axes.set_title("The same model on other images", loc="left", weight="bold")
    return True
