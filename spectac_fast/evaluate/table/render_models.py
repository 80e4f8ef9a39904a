"""The parts of the results table about its models: trainings, seeds, and the published table beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_REGIONS = {"whole": "whole field", "heart": "heart region"}
_PUBLISHED = """Other patients, another camera and an evaluation that is not public: only ranks and gaps to BBDM can be
set side by side, and nothing here is a reproduction. PSNR is left out of the ranks: the published column does not
follow from the published RMSE by any one data range. A model that samples is taken by its single sample, whole field.
"""


def markdown_table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table whose first column is flush left."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rule, *lines))


def cell(estimate: Mapping[str, float | None] | None, digits: int, sign: str = "") -> str:
    """``0.912 (0.905 – 0.919)``, or the value alone where there is no interval."""
    if estimate is None or estimate["value"] is None:
        return "–"
    text = f"{estimate['value']:{sign}.{digits}f}"
    if estimate["low"] is None:
        return text
    return f"{text} ({estimate['low']:{sign}.{digits}f} – {estimate['high']:{sign}.{digits}f})"


def sections(table: Mapping[str, Any]) -> list[str]:
    """The sections there is something to say in, each with its heading."""
    parts = []
    if lines := _seeds(table):
        header = ["row", "region", "trainings", "SSIM", "PSNR, dB", "RMSE"]
        head = "## Several trainings\n\nOne recipe from several seeds: mean ± standard deviation (n - 1) of trainings."
        parts.append(f"{head}\n\n{markdown_table(header, lines)}")
    if table["models"]:
        parts.append(f"## Models\n\n{_models(table)}")
    if table["published"]:
        parts.append(f"## Beside the published table\n\n{_PUBLISHED}\n{_beside(table)}")
    return parts


def _seeds(table: Mapping[str, Any]) -> list[list[str]]:
    lines = []
    for row in table["rows"]:
        for region, name in _REGIONS.items():
            spread = row[region].get("trainings")
            if spread is not None:
                cells = [
                    f"{spread[key]['mean']:.{digits}f} ± {spread[key]['sd']:.{digits}f}"
                    for key, digits in (("ssim", 4), ("psnr", 2), ("rmse", 4))
                ]
                lines.append([row["label"], name, str(len(spread["rmse"]["values"])), *cells])
    return lines


def _models(table: Mapping[str, Any]) -> str:
    header = ["model", "method", "parameters", "width", "slices seen", "recipe", "seeds", "steps", "minutes", "threads"]
    lines = []
    for model in table["models"]:
        millions = None if model["parameters"] is None else f"{model['parameters'] / 1e6:.2f} M"
        remarks = [f"targets clipped to {model['clip']}" if model["clip"] else ""]
        remarks.append(f"averaged weights, decay {model['average']}" if model["average"] else "")
        remarks.append(f"features {model['features']}" if model["features"] else "")
        cells = [model["method"], millions, model["width"], model["slices_seen"], model["recipe"]]
        cells += [_all(model[key]) for key in ("seeds", "steps", "minutes")]
        cells += [model["threads"], "; ".join(remark for remark in remarks if remark) or None]
        lines.append([model["name"], *("–" if cell is None else str(cell) for cell in cells)])
    return markdown_table([*header, "remarks"], lines)


def _all(values: Sequence[Any]) -> str | None:
    """The values of all trainings; None if no card tells one."""
    return ", ".join("–" if v is None else str(v) for v in values) if any(v is not None for v in values) else None


def _beside(table: Mapping[str, Any]) -> str:
    header = ["method", "our row"]
    for whose in ("published", "ours"):
        header += [f"{whose}: SSIM", "rank", "gap", "RMSE", "rank", "gap", "PSNR, dB"]
    lines = []
    for entry in table["published"]:
        line = [entry["method"], entry["our_row"]]
        for whose in ("published", "our"):
            for metric in ("ssim", "rmse"):
                gap = entry[f"{whose}_{metric}_gap"]
                line += [f"{entry[f'{whose}_{metric}']:.4f}", str(entry[f"{whose}_{metric}_rank"])]
                line.append("–" if gap is None else f"{gap:+.4f}")
            line.append(f"{entry[f'{whose}_psnr']:.2f}")
        lines.append(line)
    return markdown_table(header, lines)
