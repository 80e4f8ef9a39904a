"""The statement as one HTML page that prints on one sheet of A4: everything inline, nothing fetched."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spectac_fast.evaluate.html_head import html_head
from spectac_fast.evaluate.own import words
from spectac_fast.evaluate.own.seen import SHOWN, Seen
from spectac_fast.evaluate.own.statement import bias_maps
from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.bullseye import bullseye
from spectac_fast.evaluate.report.page import bar
from spectac_fast.outputs import NOTICE

_MINUS_AC = {"NC": "NC − AC", "corrected": "Corrected − AC"}
_HEADS = {"NC": "NC", "corrected": "Corrected", "AC": "AC", "difference": "Corrected − AC"}
_LONGEST = 150


def page(said: Mapping[str, Any], seen: Sequence[Seen]) -> str:
    """The whole page. said: of `statement.statement`; seen: the phases that it is about."""
    conventions = ". ".join(f"{_safe(name)}: {_safe(text)}" for name, text in words.CONVENTIONS.items())
    parts = [
        *html_head(words.TITLE, "spectac_fast.evaluate.own", "statement.css"),
        f'<header><h1>{words.TITLE}</h1><div class="notice">{NOTICE}</div></header>',
        '<main><div class="two top">',
        f"<section><h2>What was measured</h2>{_list(words.measured(said))}</section>",
        *_results(said),
        "</div>",
        *_segments(said, seen),
        *_worst(said, seen),
        '<div class="two">',
        _lines("Warnings", words.warned(said), "None."),
        _lines("In no pair", words.left_out(said), "Nothing: every series had its partner."),
        "</div>",
        f"</main><footer><p>{conventions}.</p>"
        f"<p>Every number with its interval, and those that depend on counts: table.md, table.json. Commit "
        f"{_safe(said['commit'])}. No name or identifier of a patient is in this page.</p></footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _safe(text: str) -> str:
    return html.escape(text.replace("`", "")).replace(" %", "&nbsp;%")


def _list(said: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{_safe(name)}</dt><dd>{_safe(text)}</dd>' for name, text in said.items())}</dl>"


def _results(said: Mapping[str, Any]) -> Iterator[str]:
    yield "<section><h2>How far from AC</h2><table><thead><tr>"
    yield '<th scope="col"></th><th scope="col">NC</th><th scope="col">corrected</th><th scope="col">ratio</th></tr>'
    yield "</thead><tbody>"
    for head, *cells in words.results(said):
        yield f'<tr><th scope="row">{_safe(head)}</th>{"".join(map(_cell, cells))}</tr>'
    yield "</tbody></table></section>"


def _cell(text: str) -> str:
    """A number, and its interval below it."""
    value, _, interval = text.partition(" (")
    return f"<td>{_safe(value)}{f'<br><small>({_safe(interval)}</small>' if interval else ''}</td>"


def _segments(said: Mapping[str, Any], seen: Sequence[Seen]) -> Iterator[str]:
    if not said["segments"]:
        yield "<p>No short-axis series: no segments.</p>"
        return
    whose = words.patients(said["segments"]["patients"])
    yield f'<h2>Bias of the 17 segments, percentage points, mean of {whose}</h2><div class="two"><div>'
    yield '<div class="maps">'
    for kind, polar in bias_maps(seen).items():
        name = _MINUS_AC[kind]
        yield f"<figure><figcaption>{name}</figcaption>{bullseye(polar, 'bias', 'mean', name)}</figure>"
    yield f"</div>{bar('bias')}</div>"
    yield '<table class="segments"><thead><tr><th scope="col">segment</th>'
    yield "".join(f'<th scope="col">{name}</th>' for name in _MINUS_AC.values()) + "</tr></thead><tbody>"
    for one in said["segments"]["bias"]:
        cells = "".join(f"<td>{words.number(one[kind], 1, '+')}</td>" for kind in _MINUS_AC)
        yield f'<tr><th scope="row">{one["segment"]} {one["name"]}</th>{cells}</tr>'
    yield "</tbody></table></div>"


def _worst(said: Mapping[str, Any], seen: Sequence[Seen]) -> Iterator[str]:
    yield '<h2>Where it failed most</h2><div class="worst"><div class="head"></div>'
    yield "".join(f'<div class="head">{name}</div>' for name in _HEADS.values())
    by_place = {(one.number, one.phase): one for one in seen}
    for one in said["worst"]:
        found = by_place[one["patient"], one["phase"]]
        assert found.tiles is not None
        planes = ", ".join(found.planes)
        yield (
            f"<div><b>Patient {one['patient']}</b>{one['phase']}: {planes}<br>{100 * one['corrected']:.0f}&nbsp;% from "
            f"AC (NC {100 * one['NC']:.0f}&nbsp;%)</div>"
        )
        for kind, name in _HEADS.items():
            uri = images.png(found.tiles[kind], "perfusion-warm" if kind in SHOWN else "difference")
            alt = f"Patient {one['patient']}, {one['phase']}, {name}: middle slices, {planes}"
            yield f'<div><img src="{uri}" alt="{alt}"></div>'
    yield f'</div><div class="bars">{bar("perfusion-warm")}{bar("difference")}</div>'


def _lines(head: str, lines: Sequence[str], otherwise: str) -> str:
    shown = [textwrap.shorten(line, _LONGEST, placeholder=" …") for line in lines[: words.MOST_LINES]]
    if len(lines) > words.MOST_LINES:
        shown.append(f"{len(lines) - words.MOST_LINES} more kinds: statement.md")
    items = "".join(f"<li>{_safe(line)}</li>" for line in shown)
    return f"<section><h2>{head}</h2>{f'<ul>{items}</ul>' if shown else f'<p>{otherwise}</p>'}</section>"
