"""The page, the table and the plot of `python -m bench quality`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.outputs import appearing
from bench.quality.plot import plot
from bench.quality.summary import REFERENCE, fewest, spread_to_error

_HEAD = (
    *(
        "solver",
        "evaluations",
        "RMSE",
        "to 200 steps",
        "heart RMSE",
        "SSIM",
        "texture, dB",
        "bias, dB",
        "spread",
        "spread / error",
    ),
    *("RMSE, mean of samples", "SSIM, mean of samples", "ms per slice", "equal"),
)
_SHORT_HEAD = (
    "solver",
    "evaluations",
    "RMSE",
    "SSIM",
    "texture, dB",
    "spread",
    "spread / error",
    "ms per slice",
    "equal",
)
_SHORT = (1, 2, 3, 4, 5, 6, 10, 20, 200)
_READING = (
    "RMSE, SSIM (Gaussian window): of single samples against AC in model units; mean over patients, one slice through",
    "the heart of each (SA, VLA, HLA in turn), and 95 % bootstrap interval. `to 200 steps`: paired difference of the",
    "RMSE to that of the published sampler at 200 evaluations. Heart: a 60 mm sphere. Texture: root mean square",
    "difference, in decibel, of the radial power spectra of samples and AC from 1/16 to 3/8 cycles per pixel; bias:",
    "its mean, below zero where samples are too smooth. Spread: standard deviation between samples in the heart, as a",
    "share of that of 200 steps; spread / error: as a share of the error of one evaluation there, to which that of a",
    "calibrated posterior is equal. `equal`: RMSE, SSIM and texture within the 95 % interval of the published",
    "sampler's 200 evaluations, or better; `sample`: the spread within its interval too. Solvers that coincide for so",
    "few evaluations share a row. published: BBDM's sampler and step list; ancestral: the same at nodes uniform in",
    "lambda, as all others; fitted: DBIM-2, its coefficients fitted by least squares to its 200-step path on other",
    "patients.",
)
_OTHERS = (
    "Other weights on the same slices, each by its own settings: the image it gives unless told otherwise, and of a",
    "bridge also samples. Held against the published sampler's 200 evaluations of the bridge above, and not among",
    "what is chosen from. A network of the bridge's shape takes the time of as many evaluations there.",
)
_STACKS = (
    "patients, all slices of SA, VLA and HLA. Roughness: root mean square of the second difference from slice to",
    "slice in the heart; disagreement: root mean square difference of SA to VLA and HLA on the voxels that they share;",
    "both as shares of AC's own.",
)


def write_pages(measured: Mapping[str, Any], folder: Path, device: str) -> None:
    """Page, table and plot of what was measured, into a folder."""
    for suffix, text in (("md", markdown(measured)), ("csv", as_csv(measured))):
        with appearing(folder / f"table_{device}.{suffix}") as part:
            part.write_text(text, encoding="utf-8")
    plot(measured, folder / f"plot_{device}.png")


def markdown(measured: Mapping[str, Any]) -> str:
    rows = [row for row in measured["rows"] if "other" not in row]
    others = [row for row in measured["rows"] if "other" in row]
    lines = ["# Quality against network evaluations", ""]
    lines += [f"* {name}: {value}" for name, value in measured["facts"].items()]
    if "times" in measured:
        machine = measured["times"]["machine"]
        lines.append(f"* times: {machine['machine']}; commit {machine['commit']}, {machine['date']}; 29 slices a call")
    lines += ["", "## In short", "", *_decision(measured), "", *_short_lines(rows, measured), "", "## Every solver", ""]
    lines += [*_READING, ""]
    lines += [_row(*_HEAD), _row(*("---" if i == 0 else "---:" for i in range(len(_HEAD))))]
    lines += [_row(", ".join(names), *_cells(row, measured)) for names, row in _distinct(rows)]
    if others:
        lines += ["", "## Other weights", "", *_other_lines(others, measured)]
    if measured["stacks"]:
        lines += ["", "## Slices of a stack", "", *_stack_lines(measured["stacks"])]
    if measured["curve"]:
        lines += ["", "## Error along the bridge", "", *_curve_lines(measured["curve"])]
    if measured["fits"]:
        lines += ["", "## Fitted coefficients", "", *_fit_lines(measured["fits"])]
    return "\n".join(lines) + "\n"


def _decision(measured: Mapping[str, Any]) -> Iterator[str]:
    rows = measured["rows"]
    said = {"equal": "RMSE, SSIM and texture", "sample": "these and the spread between samples"}
    for claim, name in said.items():
        best = fewest(rows, claim)
        number = f"none but the published {REFERENCE[1]} so far"
        if best:
            number = f"**{best['evaluations']}**" + (f" ({best['solver']})" if best["evaluations"] > 1 else "")
        yield f"* fewest evaluations with {name} of the published sampler's {REFERENCE[1]}: {number}"
    own = next((row for row in rows if [row["solver"], row["evaluations"]] == measured["default"]), None)
    if own and "against" in own:
        ratios = [spread_to_error(row, rows) for row in (own, *(r for r in rows if _is_reference(r)))]
        yield (
            f"* a sample of the weights' own settings: {own['evaluations']} ({own['solver']}), RMSE to the published "
            f"{REFERENCE[1]} {_interval(own['against']['rmse'], 4, '+')}; spread {ratios[0]:.2f} of the error of one "
            f"evaluation, that of the published {REFERENCE[1]} {ratios[1]:.2f}, a calibrated one 1"
        )


def _short_lines(rows: list[dict[str, Any]], measured: Mapping[str, Any]) -> Iterator[str]:
    """The published sampler beside the solver that was chosen for samples, or the default one, in few columns."""
    best = fewest(rows, "sample")
    solvers = {REFERENCE[0], best["solver"] if best else "DBIM-2", "DBIM-2"}
    yield _row(*_SHORT_HEAD)
    yield _row(*("---" if i == 0 else "---:" for i in range(len(_SHORT_HEAD))))
    for names, row in _distinct(rows):
        shown = [name for name in names if name in solvers]
        if shown and row["evaluations"] in _SHORT:
            label = "any" if len(names) > 4 else ", ".join(shown)
            cells = dict(zip(_HEAD, (label, *_cells(row, measured))))
            yield _row(*(cells[name] for name in _SHORT_HEAD))


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _distinct(rows: list[dict[str, Any]]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """(solvers, row) of the rows that differ."""
    names: dict[str, list[str]] = {}
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = json.dumps([row["evaluations"], row["patients"]])
        first.setdefault(key, row)
        names.setdefault(key, []).append(row["solver"])
    for key, row in first.items():
        yield names[key], row


def _interval(estimate: Mapping[str, float], places: int, sign: str = "") -> str:
    value, low, high = (f"{estimate[name]:{sign}.{places}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} – {high})"


def _is_reference(row: Mapping[str, Any]) -> bool:
    return (row["solver"], row["evaluations"]) == REFERENCE


def _cells(row: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[str]:
    own = row["estimates"]
    reference = next((r for r in measured["rows"] if _is_reference(r)), None)
    times = measured.get("times", {}).get("ms", {})
    yield str(row["evaluations"])
    yield _interval(own["rmse"], 4)
    against = row.get("against", {}).get("rmse")
    yield _interval(against, 4, "+") if against else "-"
    yield f"{own['rmse_heart']['value']:.4f}"
    yield _interval(own["ssim"], 4)
    yield _interval(own["texture"], 2)
    yield f"{own['texture_bias']['value']:+.2f}"
    spread = own.get("spread")
    yield f"{spread['value'] / reference['estimates']['spread']['value']:.2f}" if spread and reference else "-"
    calibrated = spread_to_error(row, measured["rows"])
    yield f"{calibrated:.2f}" if calibrated else "-"
    for name in ("rmse_of_mean", "ssim_of_mean"):
        yield f"{own[name]['value']:.4f}" if name in own else "-"
    time = times.get(str(row["evaluations"])) if "samples" in row and row["samples"] > 1 else None
    yield f"{time:.1f}" if time else "-"
    yield "sample" if row.get("sample") else "yes" if row.get("equal") else ""


def _other_lines(others: list[dict[str, Any]], measured: Mapping[str, Any]) -> Iterator[str]:
    head = ("weights", "method", "image", *_HEAD[1:])
    shown = [i for i, name in enumerate(head) if name != "ms per slice"]
    yield from (*_OTHERS, "", _row(*(head[i] for i in shown)))
    yield _row(*("---" if i < 3 else "---:" for i in shown))
    for row in others:
        cells = row["solver"], row["other"], row["image"], *_cells(row, measured)
        yield _row(*(cells[i] for i in shown))


def _stack_lines(stacks: list[dict[str, dict[str, float]]]) -> Iterator[str]:
    yield f"{len(stacks)} {_STACKS[0]}"
    yield from _STACKS[1:]
    yield ""
    yield _row("image", "roughness / AC", "disagreement / AC", "RMSE")
    yield _row("---", "---:", "---:", "---:")
    for name in stacks[0]:
        shares = [np.mean([one[name][m] / one["AC"][m] for one in stacks]) for m in ("roughness", "disagreement")]
        rmse = np.mean([one[name]["rmse"] for one in stacks])
        yield _row(name, f"{shares[0]:.3f}", f"{shares[1]:.3f}", f"{rmse:.4f}")


def _curve_lines(curve: list[dict[str, float]]) -> Iterator[str]:
    yield "RMSE of the network's prediction of AC from states of the forward process."
    yield ""
    yield _row("t", "m", "sigma", "RMSE")
    yield _row("---:", "---:", "---:", "---:")
    for one in curve:
        yield _row(f"{one['t']:.0f}", f"{one['m']:.4f}", f"{one['sigma']:.4f}", f"{one['rmse']:.4f}")


def _fit_lines(fits: Mapping[str, list[list[float]]]) -> Iterator[str]:
    yield "Columns of `diffusion/solvers.py`; the first row boots, of the last only the prediction counts."
    yield ""
    yield _row("evaluations", "row", "px", "pF", "py", "ka", "w0", "w1", "w2", "cy")
    yield _row(*("---:",) * 10)
    for evaluations, rows in fits.items():
        for i, row in enumerate(rows):
            last = i + 1 == len(rows)
            step = ["-"] * 5 if last else [f"{value:.6f}" for value in row[3:8]]
            yield _row(evaluations, i, *(f"{value:.6f}" for value in row[:3]), *step)


def as_csv(measured: Mapping[str, Any]) -> str:
    """One line per solver, number of evaluations and measure: value and limits at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["solver", "evaluations", "measure", "value", "low", "high"])
    for row in measured["rows"]:
        for kind in ("estimates", "against"):
            for name, estimate in row.get(kind, {}).items():
                label = name if kind == "estimates" else f"{name} - 200 steps"
                writer.writerow([row["solver"], row["evaluations"], label, *estimate.values()])
    return out.getvalue()
