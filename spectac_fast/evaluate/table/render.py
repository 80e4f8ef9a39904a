"""The results table as text: Markdown for the repository, aligned columns for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectac_fast.evaluate.own.segments import section as own_segments
from spectac_fast.evaluate.table import floor
from spectac_fast.evaluate.table.render_models import cell, sections
from spectac_fast.evaluate.table.render_models import markdown_table as _markdown_table

_NAMES = {"whole": "Whole field", "heart": "Heart region"}
_HEAD_NAMES = {
    "rows": "Rows",
    "matching": "Matching",
    "scale": "Scale",
    "bounded": "Bounded networks",
    "data_range": "Data range",
    "ssim": "SSIM",
    "rmse": "RMSE",
    "psnr": "PSNR",
    "per_slice": "Per slice",
    "heart": "Heart region",
    "interval": "Interval",
    "p": "p",
    "empty_slices": "Empty slices",
    "segments": "Segments",
    "normal_limit": "Normal limit",
    "left_out": "Left out",
}


_DIGITS = {"ssim": 4, "psnr": 2, "rmse": 4}


def _span(seeds: Sequence[int]) -> str:
    ordered = sorted(seeds)
    if ordered == list(range(ordered[0], ordered[0] + len(ordered))):
        return f"{ordered[0]} – {ordered[-1]}" if len(ordered) > 1 else str(ordered[0])
    return ", ".join(map(str, ordered))


def _pooled(table: Mapping[str, Any], region: str) -> str:
    lines = []
    for row in _with_floor(table):
        cells = row[region]
        separated = cells.get("separated_from_baselines")
        lines.append(
            [
                row["label"],
                cell(cells["ssim"], 4),
                cell(cells["psnr"], 2),
                cell(cells["rmse"], 4),
                cell(cells.get("rmse_over_linear"), 3),
                "" if separated is None else "yes" if separated else "no",
            ]
        )
    return _markdown_table(["row", "SSIM", "PSNR, dB", "RMSE", "RMSE / linear", "better, intervals separated"], lines)


def _with_floor(table: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The rows, and NC at its best scale behind those that are no networks."""
    networks = [not row["baseline"] for row in table["rows"]]
    first = networks.index(True) if True in networks else len(networks)
    known = {"label": floor.LABEL, "seconds_per_slice": None, **table["floor"]["AC"]}
    return [*table["rows"][:first], known, *table["rows"][first:]]


def _paired(table: Mapping[str, Any], key: str, named: str) -> str:
    lines = []
    for row in table["rows"]:
        for region, name in _NAMES.items():
            against = row[region].get(key)
            if against is None:
                continue
            line = [row["label"], name.lower(), against[named]]
            for metric, digits in _DIGITS.items():
                line += [cell(against[metric], digits, "+"), _probability(against[metric]["p"])]
            lines.append(line)
    header = ["row", "region", f"best {named}", "SSIM difference", "p", "PSNR difference, dB", "p"]
    header += ["RMSE difference", "p"]
    return _markdown_table(header, lines) if lines else "No row to compare."


def _probability(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def _per_slice(table: Mapping[str, Any]) -> str:
    lines = []
    for row in table["rows"]:
        cells = row["whole"]
        line = [row["label"], cell(cells["slice_psnr"], 2), cell(cells["slice_rmse"], 4), cell(cells["psnr_gap"], 2)]
        lines.append([*line, str(row["capped_slices"]), f"{1000 * row['seconds_per_slice']:.2f}"])
    header = ["row", "PSNR per slice, dB", "RMSE per slice", "psnr_gap, dB", "capped slices", "ms per slice"]
    return _markdown_table(header, lines)


def _segments(table: Mapping[str, Any]) -> str:
    lines = []
    known = [*table["reference_segments"].items(), *((row["label"], row["segments"]) for row in table["rows"])]
    if table["head"]["case_seeds"] is None:
        return own_segments(known[:1] + known[2:])
    for label, cells in known:
        low = ["–", "–"]
        if cells["low"] is not None:
            low = [f"{cells['low']} of {cells['normal_segments']}", str(cells["new_low"])]
        error = [cell(cells["error"], 2), cell(cells["error_over_nc"], 3)]
        error += [cell(cells["truth_error"], 2), cell(cells["truth_error_over_nc"], 3)]
        lines.append([label, *error, cell(cells["contrast"], 3), cell(cells["contrast_over_ac"], 3), *low])
    header = [
        "row",
        "error to AC, %",
        "/ NC",
        "error to truth, %",
        "/ NC",
        "defect contrast",
        "contrast / AC",
        "low in normals",
        "new",
    ]
    return _markdown_table(header, lines)


def _facts(head: Mapping[str, Any]) -> list[str]:
    """The head of the table: whose images, by which models, on what, and what its numbers are."""
    own = f"that of these patients: {head['patients_gain']:.4f}"
    facts = [
        f"Patients: {_patients(head)}; {head['slices']} slices, {head['empty_slices']} of them empty",
        f"AC/NC gain: {head['gain']:.4f} ({own}). Seed {head['seed']}, {head['resamples']} bootstrap resamples",
        f"Commit {head['commit']}, spectac_fast {head['version']}; device {head['device']}; {head['machine']}",
    ]
    said = head["convention"]
    return (
        _not_unseen(head)
        + facts
        + _refused(head)
        + [f"{name}: {said[key]}" for key, name in _HEAD_NAMES.items() if key in said]
    )


def _patients(head: Mapping[str, Any]) -> str:
    if head["case_seeds"] is not None:
        return f"{head['patients']} ({head['normal_patients']} normal), seeds {_span(head['case_seeds'])}"
    stacks = ", ".join(f"{count} {name}" for name, count in head["stacks"].items())
    sizes = [
        f"{rows} x {columns} pixels of {pixel:g} mm, slices {depth:g} mm apart"
        + (f" ({many} stacks)" if len(head["grids"]) > 1 else "")
        for rows, columns, (depth, pixel, _), many in head["grids"]
    ]
    digest = f"SHA-256 of their NC counts {head['pairs_sha256'][:16]}"
    return f"{head['patients']}, stacks: {stacks}; {', '.join(sizes)}; {digest}"


def _not_unseen(head: Mapping[str, Any]) -> list[str]:
    """Which models were trained on patients of the table, as far as their cards tell: a sentence, if there are any."""
    of = head["patients"]
    trained = ", ".join(f"{name} (on {count} of {of})" for name, count in head["seen_in_training"].items())
    return [f"Not unseen: trained on patients of this table, which flatters: {trained}"] if trained else []


def _refused(head: Mapping[str, Any]) -> list[str]:
    """Whose studies a model does not take, if there are any."""
    said = " ".join(head["refused"]).rstrip(".")
    return [f"Patients left out, whom a model does not take: {said}"] if said else []


def remarks(head: Mapping[str, Any]) -> list[str]:
    """What a reader of the figures alone must know too, one sentence each; often nothing."""
    left = head["convention"].get("left_out")
    return [f"{line}." for line in (*_not_unseen(head), *_refused(head), *([f"Left out: {left}"] if left else []))]


def markdown(table: Mapping[str, Any]) -> str:
    """The whole table as Markdown, its convention first. Intervals stand in parentheses."""
    head = table["head"]
    shown = "pairs of one's own" if head["case_seeds"] is None else "synthetic patients"
    parts = [
        f"# NC to AC: results on {shown}, metric profile {head['metric_profile']}",
        "\n".join(f"- {fact}." for fact in _facts(head)),
        *(f"## {name}\n\n{_pooled(table, region)}" for region, name in _NAMES.items()),
        floor.section(table),
        "## Paired with the best baseline\n\nBest baseline: lowest RMSE in that region.\n\n"
        + _paired(table, "against_best_baseline", "baseline"),
        "## Paired with the best row\n\nBest row: lowest RMSE in that region.\n\n"
        + _paired(table, "against_best_row", "row"),
        *sections(table),
        "## Per slice, whole field\n\n`psnr_gap` = PSNR per slice - pooled PSNR; it is never negative, and large where "
        f"the error sits in few slices. Time: one series a call.\n\n{_per_slice(table)}",
    ]
    if table["reference_segments"] is not None:
        parts.append(f"## 17 segments\n\n{_segments(table)}")
    return "\n\n".join(parts) + "\n"


def aligned(header: Sequence[str], lines: Sequence[Sequence[str]], groups: Mapping[int, str] | None = None) -> str:
    """Columns for a terminal: the first flush left, the others flush right, two spaces apart.

    groups: {first column: title}, a line above the header; a group stands two spaces farther from the one before.
    """
    groups = groups or {}
    widths = [max(len(line[i]) for line in (header, *lines)) for i in range(len(header))]
    before = ["" if i == 0 else "    " if i in groups else "  " for i in range(len(header))]

    def join(line: Sequence[str]) -> str:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
        return "".join(gap + cell for gap, cell in zip(before, cells, strict=True)).rstrip()

    text = [join(line) for line in (header, *lines)]
    if groups:
        titles = ""
        for first, title in groups.items():
            start = sum(map(len, before[: first + 1])) + sum(widths[:first])
            titles = titles.ljust(start) + title
        text.insert(0, titles.rstrip())
    return "\n".join(text)


def pooled_values(table: Mapping[str, Any]) -> list[tuple[str, dict[str, dict[str, float]], float | None]]:
    """The rows of a table as ``terminal`` takes them, without intervals."""
    return [
        (
            row["label"],
            {region: {name: row[region][name]["value"] for name in ("ssim", "psnr", "rmse")} for region in _NAMES},
            row["seconds_per_slice"],
        )
        for row in _with_floor(table)
    ]


def terminal(rows: Sequence[tuple[str, Mapping[str, Mapping[str, float]], float | None]]) -> str:
    """Pooled metrics, whole field beside heart region, for a terminal.

    rows: (label, {"whole" | "heart": {"ssim", "psnr", "rmse"}}, seconds per slice or None).
    """
    timed = any(seconds is not None for _, _, seconds in rows)
    lines = []
    for label, regions, seconds in rows:
        line = [label]
        for region in _NAMES:
            cells = regions[region]
            line += [f"{cells['ssim']:.4f}", f"{cells['psnr']:.2f}", f"{cells['rmse']:.4f}"]
        if timed:
            line.append("–" if seconds is None else f"{1000 * seconds:.2f}")
        lines.append(line)
    metrics = ["SSIM", "PSNR dB", "RMSE"]
    header, groups = ["", *metrics, *metrics], {1: "whole field", 4: "heart region"}
    if timed:
        header.append("ms/slice")
        groups[7] = ""
    return aligned(header, lines, groups)
