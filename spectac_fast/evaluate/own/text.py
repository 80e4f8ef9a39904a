"""The statement as Markdown, with everything that is too long for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectac_fast.evaluate.own import words
from spectac_fast.evaluate.table.render_models import markdown_table
from spectac_fast.outputs import NOTICE


def text(said: Mapping[str, Any]) -> str:
    """The whole text. said: of `statement.statement`."""
    parts = [
        "# NC to AC: results on pairs of one's own, a statement",
        f"**{NOTICE}** No name or identifier of a patient is in this text.",
        "## What was measured",
        _bullets([f"{name}: {line}." for name, line in words.measured(said).items()]),
        "## How far from AC",
        markdown_table(["", "NC", "corrected", "corrected / NC"], words.results(said)),
        "## Bias of the 17 segments, percentage points",
        _segments(said),
        "## Where it failed most",
        markdown_table(
            ["patient", "phase", "difference to AC, %", "NC's"],
            [
                [str(one["patient"]), one["phase"], f"{100 * one['corrected']:.1f}", f"{100 * one['NC']:.1f}"]
                for one in said["worst"]
            ],
        ),
        "## Warnings",
        _bullets(words.warned(said)) or "None.",
        "## In no pair",
        _bullets(words.left_out(said)) or "Nothing: every series had its partner.",
        "## Conventions",
        _bullets([f"{name}: {line}." for name, line in words.CONVENTIONS.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _segments(said: Mapping[str, Any]) -> str:
    if not said["segments"]:
        return "No short-axis series: no segments."
    lines = [
        [f"{one['segment']} {one['name']}", *(words.number(one[kind], 1, "+") for kind in ("NC", "corrected"))]
        for one in said["segments"]["bias"]
    ]
    return markdown_table(["segment", "NC - AC", "corrected - AC"], lines)
