"""What small fields and other pixels cost, as a page and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bench.outputs import MADE_BY, appearing
from spectac_fast.correct.doubts.small_field import REFUSED, REFUSED_SHAPE, TOLERATED


def write_page(folder: Path) -> None:
    """The page and the picture of what was measured into a folder."""
    facts = json.loads((folder / "fields.json").read_text())
    pixels = folder / "pixels.json"
    facts["pixels"] = json.loads(pixels.read_text())["rows"] if pixels.is_file() else []
    plot(facts, folder / "fields.png")
    with appearing(folder / "fields.md") as part:
        part.write_text(page(facts), encoding="utf-8")


def page(facts: Mapping[str, Any]) -> str:
    """Facts, a row for every field, and one for every pixel size."""
    columns = list(dict.fromkeys((row["way"], row["kind"]) for row in facts["rows"]))
    found = {(row["way"], row["kind"], row["field_mm"]): row for row in facts["rows"]}
    sizes = sorted({row["field_mm"] for row in facts["rows"]})
    lines = [
        "# What do a small field and other pixels cost?",
        "",
        "Made by `python -m bench fields --data DIR --train DIR ... --store`. Fields are cut out of whole studies",
        "(435 mm), corrected, and held against the whole studies' correction: root mean square over voxels of",
        "the heart region above 20 % of its maximum, relative to theirs. Each cell: mean over patients / worst of",
        "them, %. What lies outside of a field is filled in from the surroundings of a population",
        "(`spectac_fast/cohort/surroundings.py`), except where it says not, where the nearest counts fall off.",
        "Kinds of field: cropped squares, zeros around squares (SA alone only), zeros around circles.",
        "",
        f"* {facts['patients']} validation patients of seeds {facts['seeds'][0]} - {facts['seeds'][1]}, stress or rest",
        f"* surroundings: {facts['surroundings']}",
        f"* weights SHA-256 {facts['weights_sha256'][:16]}, commit {facts['commit']}",
        "",
    ]
    for said, prefix in (
        ("Counts as they are:", ""),
        ("After the one factor that suits each corrected stack best, which leaves what a reader sees:", "rescaled "),
    ):
        lines += [
            said,
            "",
            "| field, mm | " + " | ".join(f"{way}: {kind}" for way, kind in columns) + " |",
            "|" + " ---: |" * (len(columns) + 1),
        ]
        for mm in sizes:
            cells = [found.get((*column, mm)) for column in columns]
            lines.append(f"| {mm} | " + " | ".join(_cell(row, prefix) for row in cells) + " |")
        lines.append("")
    lines += _limits(facts)
    if facts["pixels"]:
        lines += [
            "",
            "## Pixels",
            "",
            "Made by `python -m bench pixels --data DIR`.",
            "Studies of 3.4 mm (protocol matrix128) resampled to cubic voxels of each size, corrected, and held",
            "against the same studies at 6.8 mm: AC / NC is brought to those pixels and multiplied by their NC.",
            f"{len(facts['pixels'][0]['patients'])} patients, three planes.",
            "",
            "| pixels, mm | mean, % | worst, % |",
            "| ---: | ---: | ---: |",
            *(
                f"| {row['pixel_mm']:g} | {100 * row['mean']:.2f} | {100 * row['worst']:.2f} |"
                for row in facts["pixels"]
            ),
        ]
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any] | None, prefix: str) -> str:
    return "" if row is None else f"{100 * row[prefix + 'mean']:.1f} / {100 * row[prefix + 'worst']:.1f}"


def _limits(facts: Mapping[str, Any]) -> list[str]:
    """What follows for each way: which fields are refused, and which are warned about."""
    from spectac_fast.data.geometry.around import Expected

    lines = []
    for way, told in facts["expected"].items():
        known = Expected(**{name: tuple(values) for name, values in told.items()})
        silent = max((mm for mm, worst in zip(known.field_mm, known.worst) if worst > TOLERATED), default=0.0)
        lines.append(
            f"* {way}: refused below {known.least(REFUSED, REFUSED_SHAPE):.0f} mm, where the mean exceeds "
            f"{100 * REFUSED:.0f} %, or {100 * REFUSED_SHAPE:.0f} % after a factor; "
            f"warned about up to {silent:.0f} mm, where the worst patient exceeds {100 * TOLERATED:.0f} %."
        )
    return lines


def plot(facts: Mapping[str, Any], path: Path) -> None:
    """Mean and worst of the patients over the field, a panel each way, and over the pixel size."""
    ways = list(dict.fromkeys(row["way"] for row in facts["rows"]))
    figure = Figure(figsize=(3.6 * (len(ways) + 1), 3.6), layout="constrained")
    *fields, pixels = figure.subplots(1, len(ways) + 1)
    for way, axes in zip(ways, fields):
        own = [row for row in facts["rows"] if row["way"] == way]
        for kind in dict.fromkeys(row["kind"] for row in own):
            rows = sorted((row for row in own if row["kind"] == kind), key=lambda row: row["field_mm"])
            sizes = [row["field_mm"] for row in rows]
            (line,) = axes.plot(sizes, [100 * row["mean"] for row in rows], marker=".", label=kind)
            axes.plot(sizes, [100 * row["worst"] for row in rows], color=line.get_color(), linestyle=":")
        axes.axhline(100 * TOLERATED, color="grey", linewidth=0.8)
        axes.set(xlabel="field, mm", ylabel="error in the heart, %", ylim=(0, 30), title=way)
        axes.legend(fontsize=8)
    rows = facts["pixels"]
    pixels.plot([row["pixel_mm"] for row in rows], [100 * row["mean"] for row in rows], marker=".", label="mean")
    pixels.plot([row["pixel_mm"] for row in rows], [100 * row["worst"] for row in rows], linestyle=":", label="worst")
    pixels.axhline(100 * TOLERATED, color="grey", linewidth=0.8)
    pixels.set(xlabel="pixels, mm", ylabel="error in the heart, %", ylim=(0, None), title="other pixels, whole field")
    with appearing(path) as part:
        figure.savefig(part, dpi=110, format="png", metadata=MADE_BY)
