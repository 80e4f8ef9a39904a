"""The report as one HTML page: everything inline, nothing fetched, nothing that needs a script."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files

import numpy as np

from spectac_fast._version import __version__
from spectac_fast.evaluate.figures.figures import PLANE_NAMES
from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.analysis import Phase, segment, signed, summary, warnings_of
from spectac_fast.evaluate.report.bullseye import bullseye
from spectac_fast.evaluate.report.gather import ReportStudy
from spectac_fast.outputs import NOTICE, PROGRAM

NAMES = {"NC": "NC", "corrected": "Corrected", "AC": "AC (CT)", "difference": "Corrected − NC", "SD": "Uncertainty"}
_ORDER = {"SA": "apex to base", "VLA": "septal to lateral", "HLA": "inferior to anterior"}
_RINGS = (6, 12, 16)
# Changes of this many points stand out in the table.
_MARKED = 5.0


def page(study: ReportStudy, phases: Sequence[Phase], *, title: str = "") -> str:
    """The whole page. title: what the user calls it; a pseudonym without."""
    name = html.escape(title or f"Study {study.pseudonym}")
    style = files("spectac_fast.evaluate.report").joinpath("style.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f'<meta name="generator" content="{PROGRAM} {__version__}">',
        f"<title>{name}: attenuation correction without CT</title>",
        f"<style>{style}</style></head><body>",
        '<a class="skip" href="#main">Skip to the images</a>',
        f"<header><div><h1>Attenuation correction without CT</h1><p class=faint>{name}</p></div>",
        f'<p class="notice">{NOTICE}</p></header>',
        '<nav aria-label="Contents"><ul><li><a href="#maps">Polar maps</a></li>'
        '<li><a href="#segments">Segments</a></li>'
        '<li><a href="#slices">Slices</a></li><li><a href="#making">How it was made</a></li></ul></nav>',
        '<main id="main">',
        *_cards(study, phases),
        *_maps(phases),
        *_table(phases),
        *_slices(phases),
        *_making(study, phases),
        f"</main><footer><p>{NOTICE} Corrected images are estimated from NC images alone; compare them with NC. "
        f"No patient identity is in this page. spectac_fast {__version__}.</p></footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _cards(study: ReportStudy, phases: Sequence[Phase]) -> Iterator[str]:
    yield '<div class="cards">'
    for phase in phases:
        lines = summary(phase) or ["No short-axis series: no segments."]
        yield _card(phase.name.capitalize(), lines)
    found = warnings_of(study, phases)
    if found:
        yield _card("Warnings", found, "warn")
    else:
        yield _card("Warnings", ["None: geometry, counts and ventricle are within what is usual."])
    yield "</div>"


def _card(head: str, lines: Sequence[str], kind: str = "") -> str:
    items = "".join(f"<li>{html.escape(line[:1].upper() + line[1:]).replace(' %', '&nbsp;%')}</li>" for line in lines)
    return f'<section class="card {kind}"><h3>{head}</h3><ul>{items}</ul></section>'


def _maps(phases: Sequence[Phase]) -> Iterator[str]:
    with_maps = [phase for phase in phases if phase.polar]
    if not with_maps:
        return
    yield '<section aria-labelledby="maps"><h2 id="maps">Polar maps</h2>'
    yield "<p class=faint>Apex in the middle, anterior above, septum at the left. Numbers: mean of each segment.</p>"
    for phase in with_maps:
        drawn = [(NAMES[kind], polar, "perfusion") for kind, polar in phase.polar.items()]
        if "NC" in phase.polar and "corrected" in phase.polar:
            drawn.insert(2, (NAMES["difference"], phase.polar["corrected"] - phase.polar["NC"], "difference"))
        yield f'<h3>{phase.name.capitalize()}</h3><div class="maps" style="--maps:{max(len(drawn), 3)}">'
        for name, polar, scale in drawn:
            yield f"<figure>{bullseye(polar, scale, phase.name, name)}<figcaption>{name}</figcaption></figure>"
        yield "</div>"
    yield f'<div class="bars">{_bar("perfusion")}{_bar("difference")}</div></section>'


def _bar(scale: str) -> str:
    """A colour bar with its ticks and unit."""
    ticks, unit = {
        "perfusion": (("0", "25", "50", "75", "100"), "% of each image’s maximum in the left ventricle"),
        "difference": (("−30", "−15", "0", "+15", "+30"), "difference, percentage points"),
        "deviation": (("0", "5", "10", "15"), "standard deviation, % of maximum"),
    }[scale]
    stops = ", ".join("#{:02x}{:02x}{:02x}".format(*images.palette(scale)[k]) for k in range(0, 255, 12))
    labels = "".join(f"<span>{tick}</span>" for tick in ticks)
    return (
        f'<div class="bar"><div class="ramp" style="background:linear-gradient(to right, {stops})"></div>'
        f'<div class="ticks">{labels}</div><div>{unit}</div></div>'
    )


def _table(phases: Sequence[Phase]) -> Iterator[str]:
    with_segments = [phase for phase in phases if phase.segments]
    if not with_segments:
        return
    yield '<section aria-labelledby="segments"><h2 id="segments">Seventeen segments</h2>'
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Table of segments"><table>'
    yield "<caption>Uptake, % of each image’s maximum.</caption><thead><tr>"
    yield '<th rowspan="2" scope="col">Segment</th>'
    columns = [[*phase.segments, *(["change"] if phase.change is not None else [])] for phase in with_segments]
    for phase, kinds in zip(with_segments, columns):
        yield f'<th colspan="{len(kinds)}" scope="colgroup">{phase.name.capitalize()}</th>'
    yield "</tr><tr>"
    for kinds in columns:
        yield "".join(f'<th scope="col">{NAMES.get(kind, "Change")}</th>' for kind in kinds)
    yield "</tr></thead><tbody>"
    for k in range(17):
        ring = ' class="ring"' if k in _RINGS else ""
        cells = "".join(_cells(phase, kinds, k) for phase, kinds in zip(with_segments, columns))
        yield f'<tr{ring}><th scope="row">{segment(k)}</th>{cells}</tr>'
    yield "</tbody></table></div></section>"


def _cells(phase: Phase, kinds: Sequence[str], k: int) -> str:
    cells = []
    for j, kind in enumerate(kinds):
        classes = ["first"] if j == 0 else []
        if kind == "change":
            value = phase.change[k]
            classes += ["up"] if value >= _MARKED else ["down"] if value <= -_MARKED else []
            text = signed(value)
        else:
            text = f"{phase.segments[kind][k]:.0f}"
        cells.append(f'<td class="{" ".join(classes)}">{text}</td>' if classes else f"<td>{text}</td>")
    return "".join(cells)


def _slices(phases: Sequence[Phase]) -> Iterator[str]:
    yield '<section aria-labelledby="slices"><h2 id="slices">Slices</h2>'
    yield (
        "<p class=faint>Stress over rest. Each image in % of its own maximum in the left ventricle; what is brighter, "
        "such as liver or gut, is white.</p>"
    )
    scales = {"perfusion"}
    for plane, name in PLANE_NAMES.items():
        rows = list(_rows(phases, plane))
        if not rows:
            continue
        most = max(count for *_, count, _ in rows)
        label = f"{name.capitalize()} ({plane}), {_ORDER[plane]}"
        yield f'<h3>{label}</h3><div class="scroll strips" style="--most:{most}" tabindex="0" role="region" '
        yield f'aria-label="{label}">'
        before = None
        for phase, kind, scale, uri, count, height in rows:
            scales.add(scale)
            first = ' class="first"' if kind != before else ""
            before = kind
            alt = f"{name}, {phase}, {NAMES[kind]}: {count} slices, {_ORDER[plane]}"
            yield (
                f"<figure{first}><figcaption><b>{NAMES[kind]}</b> <span>{phase}</span></figcaption>"
                f'<img src="{uri}" alt="{alt}" width="{count * height}" height="{height}" style="--n:{count}"></figure>'
            )
        yield "</div>"
    bars = "".join(_bar(scale) for scale in ("perfusion", "difference", "deviation") if scale in scales)
    yield f'<div class="bars">{bars}</div></section>'


def _rows(phases: Sequence[Phase], plane: str) -> Iterator[tuple[str, str, str, str, int, int]]:
    """(phase, kind, scale, image, slices, height) of one plane, the phases of a kind below each other."""
    half = images.half_extent(phases, plane)
    for kind in ("corrected", "NC", "difference", "AC", "SD"):
        for phase in phases:
            values = _values(phase, kind, plane, half)
            if values is not None:
                scale = {"difference": "difference", "SD": "deviation"}.get(kind, "perfusion")
                height, width = values.shape
                yield phase.name, kind, scale, images.png(values, scale), width // height, height


def _values(phase: Phase, kind: str, plane: str, half_mm: float) -> np.ndarray | None:
    def shown(of: str, peak: str) -> np.ndarray | None:
        stack = phase.stacks.get(of, {}).get(plane)
        if stack is None or peak not in phase.peaks:
            return None
        return images.tiles(stack, images.window(phase, plane, stack, half_mm), phase.peaks[peak])

    if kind == "SD":
        return shown("SD", "corrected")
    if kind != "difference":
        return shown(kind, kind)
    nc, corrected = shown("NC", "NC"), shown("corrected", "corrected")
    return corrected - nc if nc is not None and corrected is not None and nc.shape == corrected.shape else None


def _making(study: ReportStudy, phases: Sequence[Phase]) -> Iterator[str]:
    yield '<section aria-labelledby="making"><h2 id="making">How it was made</h2><dl>'
    for sentence in study.made_by:
        yield f"<dt>Correction</dt><dd>{html.escape(sentence)}</dd>"
    for phase in phases:
        planes: Mapping[str, object] = next(iter(phase.stacks.values()), {})
        for plane, stack in planes.items():
            slices, rows, columns = stack.counts.shape
            mm = stack.spacing_mm
            yield (
                f"<dt>{phase.name.capitalize()} {plane}</dt><dd>{slices} slices of {rows} × {columns}, voxels of "
                f"{mm[0]:g} × {mm[1]:g} × {mm[2]:g} mm; at hand: {', '.join(NAMES[k] for k in phase.stacks)}</dd>"
            )
        if phase.ventricle is not None:
            yield f"<dt>{phase.name.capitalize()} ventricle</dt><dd>{_geometry(phase)}</dd>"
    yield (
        "<dt>Polar maps</dt><dd>The largest count within the wall along the normals of a half-ellipsoid; found once a "
        "phase and used for all its images. Maximum: the map’s 99th percentile. Segments: AHA (Cerqueira 2002).</dd>"
        f"<dt>Study</dt><dd>{study.files} series; pseudonym {study.pseudonym}, a hash of the study’s UID</dd>"
        "</dl></section>"
    )


def _geometry(phase: Phase) -> str:
    v = phase.ventricle
    how = f"set by hand: {', '.join(phase.set_by_hand)}; the rest found" if phase.set_by_hand else "found"
    centre, tilt = (", ".join(f"{x:.1f}" for x in values) for values in (v.centre_mm, v.tilt_deg))
    return (
        f"{how} on {NAMES[phase.found_on]}: centre_mm [{centre}], tilt_deg [{tilt}], radius_mm {v.radius_mm:.1f}, "
        f"length_mm {v.length_mm:.1f}, base_mm {v.base_mm:.1f}"
    )
