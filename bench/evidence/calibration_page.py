"""The calibration as a page and as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bench.outputs import MADE_BY, appearing
from spectac_fast.evaluate.bootstrap import Estimate
from spectac_fast.evaluate.calibration import CURVE, LEVELS, Figures, Voxels, announced, coverage
from spectac_fast.models.uncertainty import Calibration

_BINS = 12
# Of coverage from nominal, under every protocol.
GOAL = 0.04
_COMBINED = (
    "Planes combined: what `spectac correct` writes, the mean of what the model adds in SA, VLA and HLA; announced for",
    "it is the mean of their calibrated deviations, as much as its error has where the planes err alike. All voxels of",
    "the heart region in every slice of the three planes; the row above has the same voxels, each plane for itself.",
    "",
)


def page(
    facts: Mapping[str, object],
    rows: Sequence[tuple[str, str, Calibration, Figures]],
    chosen: Calibration,
    protocols: Mapping[str, Sequence[Sequence[float]]],
    each: int,
) -> str:
    """Facts, the calibration in a formula, and a table for each split; coverage under protocols by their name, each by
    one calibration for all and by the chosen one, of so many patients.
    """
    lines = [
        "# Is the uncertainty right?",
        "",
        "Made by `python -m bench calibration --data VALIDATION --test TEST`. The error is AC minus the default image",
        "(one evaluation), the spread s that of the samples of the bridge; the standard deviation is",
        f"(E / {chosen.usual:.2f})^{chosen.exponent:.2f} sqrt(({chosen.temperature:.3f} s)² + {chosen.floor:.4f}²),",
        "in units where [-1, 1] is [0, scale]; E is the error that is expected of the study's segments, %",
        "(`bench/results/expected`), which was fitted on others than these patients. Exponent, temperature T and floor",
        "were fitted on the validation patients alone. Means over patients, 95 % bootstrap interval over them.",
        "",
        *(f"* {name}: {value}" for name, value in facts.items()),
    ]
    columns = [
        "row",
        "T",
        "floor",
        "exponent",
        *(f"{level:.0%} interval covers, %" for level in LEVELS),
        "calibration error, %",
        "sharpness",
        "RMSE",
        "rank correlation",
    ]
    for split in dict.fromkeys(row[0] for row in rows):
        found = [row for row in rows if row[0] == split]
        figures = found[0][3]
        lines += ["", f"## {split}: {figures.patients} patients, {figures.voxels} voxels", ""]
        lines += ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
        for _, name, known, got in found:
            cells = [name, f"{known.temperature:.3f}", f"{known.floor:.4f}", f"{known.exponent:.2f}"]
            cells += [_percent(value) for value in (*got.coverage, got.calibration_error)]
            cells += [_plain(value) for value in (got.sharpness, got.rmse, got.correlation)]
            lines.append("| " + " | ".join(cells) + " |")
    lines += _by_protocol(protocols, each) if protocols else []
    lines += [
        "",
        "Calibration error: mean distance of coverage from nominal over intervals of 5, 10, ... 95 %. Sharpness: root",
        "mean square of the standard deviation; of two that are calibrated the smaller says more. Rank correlation:",
        "Spearman's, between absolute error and standard deviation, over the voxels of a patient.",
        "",
        *_COMBINED * any("combined" in row[1] for row in rows),
        "![Coverage against nominal, and error against deviation](calibration.png)",
    ]
    return "\n".join(lines) + "\n"


def _by_protocol(protocols: Mapping[str, Sequence[Sequence[float]]], each: int) -> list[str]:
    """A table of coverage under each protocol."""
    level = LEVELS.index(0.9)
    near = [sum(abs(found[which][level] - 0.9) <= GOAL for found in protocols.values()) for which in range(2)]
    head = ["protocol", *(f"{p:.0%}: the same for all, then wider, %" for p in LEVELS)]
    lines = [
        "",
        f"## By protocol: {each} patients each",
        "",
        f"Intervals of 90 % cover within {100 * GOAL:.0f} points of it under {near[1]} of {len(protocols)} protocols;",
        f"with the same calibration for all studies under {near[0]}.",
        "",
        "| " + " | ".join(head) + " |",
        "| --- |" + " ---: |" * len(LEVELS),
    ]
    for name, (same, wider) in protocols.items():
        cells = [f"{100 * a:.1f} -> {100 * b:.1f}" for a, b in zip(same, wider)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def picture(path: Path, patients: Sequence[Voxels], chosen: tuple[float, float]) -> None:
    """Test patients, whose voxels are widened as announced: coverage against nominal for raw and calibrated deviations;
    error against deviation, in bins.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--", label="as it should be")
    as_they_are = [replace(v, widening=1.0) for v in patients]
    for name, drawn, (temperature, floor), colour in (
        ("samples as they are", as_they_are, (1.0, 0.0), "#2a78c8"),
        ("calibrated", patients, chosen, "#c93a0c"),
    ):
        each = 100 * np.stack([coverage(v, temperature, floor, CURVE) for v in drawn])
        nominal = 100 * np.asarray(CURVE)
        left.plot(nominal, each.mean(axis=0), color=colour, marker="o", markersize=4, label=name)
        left.fill_between(nominal, each.min(axis=0), each.max(axis=0), color=colour, alpha=0.15, linewidth=0)
    left.set(
        xlabel="nominal probability of the interval, %",
        ylabel="voxels whose AC lies inside, %",
        title="Coverage (band: best and worst patient)",
        xlim=(0, 100),
        ylim=(0, 100),
    )
    left.legend(loc="upper left", frameon=False)
    sigma = np.concatenate([announced(v, *chosen) for v in patients])
    error = np.concatenate([v.error for v in patients])
    groups = np.array_split(np.argsort(sigma), _BINS)
    mean_sigma = [float(np.sqrt(np.mean(sigma[part] ** 2))) for part in groups]
    rmse = [float(np.sqrt(np.mean(np.square(error[part], dtype=np.float64)))) for part in groups]
    top = 1.05 * max(*mean_sigma, *rmse)
    right.plot([0, top], [0, top], color="0.6", linewidth=1, linestyle="--", label="as it should be")
    right.plot(mean_sigma, rmse, color="#c93a0c", marker="o", markersize=4, label="a twelfth of the voxels each")
    right.set(
        xlabel="standard deviation, model units",
        ylabel="root mean square error, model units",
        title="Where it says more, is it more?",
        xlim=(0, top),
        ylim=(0, top),
    )
    right.legend(loc="upper left", frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with appearing(path) as part:
        figure.savefig(part, format="png", dpi=110, metadata=MADE_BY)


def _percent(value: Estimate) -> str:
    return f"{100 * value.value:.1f} ({100 * value.low:.1f} – {100 * value.high:.1f})"


def _plain(value: Estimate) -> str:
    return f"{value.value:.4f} ({value.low:.4f} – {value.high:.4f})"
