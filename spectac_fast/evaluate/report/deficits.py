"""The report's table of perfusion deficits: summed scores, total deficit, extent, severity, and whose limits."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from spectac_fast.evaluate.regional.deficit import LIMIT_SD, WORST_LOSS, Deficit
from spectac_fast.evaluate.report.analysis import Phase
from spectac_fast.evaluate.report.words import NAMES, ORDER

DEFICIT_LINK = '<li><a href="#deficits">Deficits</a></li>'
_SUMMED = {"stress": "SSS", "rest": "SRS"}


def deficit_table(phases: Sequence[Phase]) -> Iterator[str]:
    """The section; where there are no limits, why not; nothing without maps."""
    if not any(phase.normals for phase in phases):
        return
    yield '<section aria-labelledby="deficits"><h2 id="deficits">Perfusion deficit</h2>'
    judged = [phase for phase in phases if phase.deficits]
    if not judged:
        yield f"<p>{html.escape(next(phase.normals for phase in phases if phase.normals))}</p></section>"
        return
    kinds = [kind for kind in ORDER if any(kind in phase.deficits for phase in judged)]
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Table of perfusion deficits"><table>'
    yield '<thead><tr><th scope="col">Against normal limits</th>'
    yield "".join(f'<th scope="col">{NAMES[kind]}</th>' for kind in kinds)
    yield "</tr></thead><tbody>"
    for head, cells in rows(judged, kinds):
        yield f'<tr><th scope="row">{head}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
    yield "</tbody></table></div>"
    yield (
        f"<p class=faint>Normal limits: {html.escape(judged[0].normals)}, NC against their NC, all corrected "
        f"ones against their AC. A place counts {LIMIT_SD:g} SD below the normal mean; its score rises to 4 where "
        f"{100 * WORST_LOSS:.0f} % of that is lost (Slomka 2005). Scores of segments, 0 to 4, summed: SSS of stress, "
        "SRS of rest, SDS their difference. TPD: total perfusion deficit; extent: share of the ventricle below the "
        "limit; severity: how far below the normal mean, on average. Synthetic normals are not your patients’.</p>"
        "</section>"
    )


def rows(phases: Sequence[Phase], kinds: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(head, a cell for each kind of image) of every line."""
    by_name = {phase.name: phase.deficits for phase in phases}
    for phase in phases:
        yield _SUMMED[phase.name], [_cell(phase.deficits.get(kind), "{0.summed}") for kind in kinds]
    if {"stress", "rest"} <= by_name.keys():
        both = [(by_name["stress"].get(kind), by_name["rest"].get(kind)) for kind in kinds]
        yield "SDS", [str(a.summed - b.summed).replace("-", "−") if a and b else "–" for a, b in both]
    for head, form in (
        ("TPD, %", "{0.total:.0f}"), ("extent, %", "{0.extent:.0f}"), ("severity, SD", "{0.severity:.1f}"),
    ):  # fmt: skip
        for phase in phases:
            yield f"{phase.name} {head}", [_cell(phase.deficits.get(kind), form) for kind in kinds]


def _cell(found: Deficit | None, form: str) -> str:
    return "–" if found is None else form.format(found)
