"""The report as one HTML page: everything inline, nothing fetched, nothing that needs a script."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from spectac_fast._version import __version__
from spectac_fast.evaluate.figures.figures import PLANE_NAMES
from spectac_fast.evaluate.html_head import html_head
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.analysis import (
    MARKED,
    Phase,
    emphasised,
    reversibility,
    segment,
    signed,
    summary,
    warnings_of,
)
from spectac_fast.evaluate.report.bullseye import bullseye
from spectac_fast.evaluate.report.deficits import DEFICIT_LINK, deficit_table
from spectac_fast.evaluate.report.gather import ReportStudy, Stack
from spectac_fast.evaluate.report.map_files import ReportMap
from spectac_fast.evaluate.report.map_section import MAP_LINK, map_for, map_section
from spectac_fast.evaluate.report.words import NAMES, ORDER
from spectac_fast.outputs import NOTICE

_ORDER = {"SA": "apex to base", "VLA": "septal to lateral", "HLA": "inferior to anterior"}
_RINGS = (6, 12, 16)
ON_THEIR_OWN = (
    "Every image is in % of its own maximum in the left ventricle, NC and corrected each by itself: a change of the "
    "maximum does not show in Corrected − NC, a change of the pattern does."
)


def page(
    study: ReportStudy,
    phases: Sequence[Phase],
    *,
    title: str = "",
    colours: str = "warm",
    maps: Sequence[ReportMap] = (),
) -> str:
    """The whole page. title: what the user calls it; a pseudonym without. colours: of `figures.colours.TABLES`. maps:
    attenuation maps of the study.
    """
    perfusion = f"perfusion-{colours}"
    name = html.escape(title or f"Study {study.pseudonym}")
    parts = [
        *html_head(f"{name}: attenuation correction without CT", "spectac_fast.evaluate.report", "style.css"),
        '<a class="skip" href="#main">Skip to the images</a>',
        f"<header><div><h1>Attenuation correction without CT</h1><p class=faint>{name}</p></div>",
        f'<p class="notice">{NOTICE}</p></header>',
        '<nav aria-label="Contents"><ul><li><a href="#maps">Polar maps</a></li>'
        f"{DEFICIT_LINK if any(phase.normals for phase in phases) else ''}"
        '<li><a href="#segments">Segments</a></li>'
        '<li><a href="#slices">Slices</a></li>'
        f"{MAP_LINK if any(map_for(phase, maps) for phase in phases) else ''}"
        '<li><a href="#making">How it was made</a></li></ul></nav>',
        '<main id="main">',
        *_cards(study, phases),
        *_maps(phases, perfusion),
        *deficit_table(phases),
        *_table(phases),
        *_slices(phases, perfusion),
        *map_section(phases, maps),
        *_making(study, phases),
        f"</main><footer><p>{NOTICE} {_origin(phases)} Compare them with NC. "
        f"No patient identity is in this page. spectac_fast {__version__}.</p></footer></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _origin(phases: Sequence[Phase]) -> str:
    """What corrected images are made of, a sentence."""
    if not any("physics" in phase.stacks for phase in phases):
        return "Corrected images are estimated from NC images alone."
    return (
        "Corrected images are estimated from NC images alone; those by a map are the patient’s own counts, "
        "reconstructed with an attenuation map that nobody measured."
    )


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


def _maps(phases: Sequence[Phase], perfusion: str) -> Iterator[str]:
    with_maps = [phase for phase in phases if phase.polar]
    if not with_maps:
        return
    yield '<section aria-labelledby="maps"><h2 id="maps">Polar maps</h2>'
    yield (
        "<p class=faint>Apex in the middle, anterior above, septum at the left. Numbers: mean of each segment. "
        f"{ON_THEIR_OWN}</p>"
    )
    for phase in with_maps:
        polar = dict(phase.polar)
        if "NC" in polar and "corrected" in polar:
            polar["difference"] = polar["corrected"] - polar["NC"]
        kinds = [kind for kind in ORDER if kind in polar]
        drawn = [(kind, polar[kind], kind if kind == "difference" else perfusion) for kind in kinds]
        yield from _discs(phase.name, phase.name.capitalize(), drawn)
    if reversible := reversibility(phases):
        drawn = [(kind, reversible[kind], "difference") for kind in ORDER if kind in reversible]
        yield from _discs("stress minus rest", "Stress − rest (reversibility)", drawn)
        yield "<p class=faint>Below zero, blue: less at stress than at rest.</p>"
    yield f'<div class="bars">{bar(perfusion)}{bar("difference")}</div></section>'


def _discs(phase: str, head: str, drawn: Sequence[tuple[str, np.ndarray, str]]) -> Iterator[str]:
    """A row of maps: (kind of image, polar map, scale) each."""
    yield f'<h3>{head}</h3><div class="maps" style="--maps:{max(len(drawn), 3)}">'
    for kind, polar, scale in drawn:
        name = NAMES[kind]
        yield f"<figure>{bullseye(polar, scale, phase, name)}<figcaption>{name}</figcaption></figure>"
    yield "</div>"


def bar(scale: str) -> str:
    """A colour bar with its ticks and unit. scale: of `images.COLOURS`, of perfusion with its table behind a dash."""
    ticks, unit = {
        "perfusion": (("0", "25", "50", "75", "100"), "% of each image’s maximum in the left ventricle"),
        "difference": (("−30", "−15", "0", "+15", "+30"), "difference, percentage points"),
        "bias": (("−10", "−5", "0", "+5", "+10"), "mean difference, percentage points"),
        "deviation": (("0", "5", "10", "15"), "standard deviation, % of maximum"),
    }[scale.partition("-")[0]]
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
    yield '<div class="scroll" tabindex="0" role="region" aria-label="Table of segments"><table class="segments">'
    yield f"<caption>Uptake, % of each image’s maximum; changes of {MARKED} points and more are marked.</caption>"
    yield "<thead><tr>"
    yield '<th rowspan="2" scope="col">Segment</th>'
    columns = [_columns(phase) for phase in with_segments]
    for phase, values in zip(with_segments, columns):
        yield f'<th colspan="{len(values)}" scope="colgroup">{phase.name.capitalize()}</th>'
    yield "</tr><tr>"
    for values in columns:
        yield "".join(f'<th scope="col">{NAMES.get(kind, "Change")}</th>' for kind in values)
    yield "</tr></thead><tbody>"
    for k in range(17):
        ring = ' class="ring"' if k in _RINGS else ""
        cells = "".join(_cells(values, k) for values in columns)
        yield f'<tr{ring}><th scope="row">{segment(k)}</th>{cells}</tr>'
    yield "</tbody></table></div></section>"


def _columns(phase: Phase) -> dict[str, np.ndarray]:
    """Segments, [17], by kind of image, and their change where there is one."""
    change = phase.change
    return phase.segments | ({} if change is None else {"change": change})


def _cells(columns: Mapping[str, np.ndarray], k: int) -> str:
    cells = []
    for j, (kind, values) in enumerate(columns.items()):
        classes = ["first"] if j == 0 else []
        if kind == "change":
            classes += {1: ["up"], -1: ["down"], 0: []}[emphasised(values[k])]
            text = signed(values[k])
        else:
            text = f"{values[k]:.0f}"
        cells.append(f'<td class="{" ".join(classes)}">{text}</td>' if classes else f"<td>{text}</td>")
    return "".join(cells)


def _slices(phases: Sequence[Phase], perfusion: str) -> Iterator[str]:
    yield '<section aria-labelledby="slices"><h2 id="slices">Slices</h2>'
    yield (
        "<p class=faint>Stress over rest. Each image in % of its own maximum in the left ventricle; what is brighter, "
        "such as liver or gut, is white. Numbers: slices in the order named, from 1.</p>"
    )
    scales = {perfusion}
    for plane, name in PLANE_NAMES.items():
        rows = list(_rows(phases, plane, perfusion))
        if not rows:
            continue
        most = max(len(numbers) for *_, numbers, _ in rows)
        label = f"{name.capitalize()} ({plane}), {_ORDER[plane]}"
        yield f'<h3>{label}</h3><div class="scroll strips" style="--most:{most};--rows:{len(rows)}" '
        yield f'tabindex="0" role="region" aria-label="{label}">'
        before = None
        for phase, kind, scale, uri, numbers, height in rows:
            scales.add(scale)
            count = len(numbers)
            shown = "".join(f"<span>{number}</span>" for number in numbers)
            first = ' class="first"' if kind != before else ""
            before = kind
            alt = f"{name}, {phase}, {NAMES[kind]}: {count} slices, {_ORDER[plane]}"
            yield (
                f"<figure{first}><figcaption><b>{NAMES[kind]}</b> <span>{phase}</span></figcaption>"
                f'<img src="{uri}" alt="{alt}" width="{count * height}" height="{height}" style="--n:{count}">'
                f'<div class="numbers" style="--n:{count}">{shown}</div></figure>'
            )
        yield "</div>"
    bars = "".join(bar(scale) for scale in (perfusion, "difference", "deviation") if scale in scales)
    yield f'<div class="bars">{bars}</div></section>'


def _rows(
    phases: Sequence[Phase], plane: str, perfusion: str
) -> Iterator[tuple[str, str, str, str, Sequence[int], int]]:
    """(phase, kind, scale, image, numbers of its slices, height) of one plane, phases of a kind below each other."""
    half = images.half_extent(phases, plane)
    for kind in ORDER:
        for phase in phases:
            found = _values(phase, kind, plane, half)
            if found is not None:
                values, numbers = found
                scale = {"difference": "difference", "SD": "deviation", "map SD": "deviation"}.get(kind, perfusion)
                yield phase.name, kind, scale, images.png(values, scale), numbers, len(values)


def _values(phase: Phase, kind: str, plane: str, half_mm: float) -> tuple[np.ndarray, Sequence[int]] | None:
    """(tiles, numbers of the slices from 1), or nothing where there is no such image."""

    def shown(of: str, peak: str) -> tuple[np.ndarray, Sequence[int]] | None:
        stack = phase.stacks.get(of, {}).get(plane)
        if stack is None or peak not in phase.peaks:
            return None
        window = images.window(phase, plane, stack, half_mm)
        return images.tiles(stack, window, phase.peaks[peak]), [int(k) + 1 for k in window.slices]

    if kind in ("SD", "map SD"):
        return shown(kind, "corrected" if kind == "SD" else "physics" if "physics" in phase.peaks else "AC")
    if kind != "difference":
        return shown(kind, kind)
    nc, corrected = shown("NC", "NC"), shown("corrected", "corrected")
    if nc is None or corrected is None or nc[0].shape != corrected[0].shape:
        return None
    return corrected[0] - nc[0], corrected[1]


def _making(study: ReportStudy, phases: Sequence[Phase]) -> Iterator[str]:
    yield '<section aria-labelledby="making"><h2 id="making">How it was made</h2><dl>'
    for sentence in study.made_by:
        yield f"<dt>Correction</dt><dd>{html.escape(sentence)}</dd>"
    for phase in phases:
        planes: Mapping[str, Stack] = next(iter(phase.stacks.values()), {})
        for plane, stack in planes.items():
            slices, rows, columns = stack.counts.shape
            mm = stack.spacing_mm
            yield (
                f"<dt>{phase.name.capitalize()} {plane}</dt><dd>{slices} slices of {rows} × {columns}, voxels of "
                f"{mm[0]:g} × {mm[1]:g} × {mm[2]:g} mm; at hand: {', '.join(NAMES[k] for k in phase.stacks)}</dd>"
            )
        if phase.ventricle is not None:
            yield f"<dt>{phase.name.capitalize()} ventricle</dt><dd>{_geometry(phase, phase.ventricle)}</dd>"
    yield (
        "<dt>Polar maps</dt><dd>The largest count within the wall along the normals of a half-ellipsoid; found once a "
        "phase and used for all its images. Maximum: the map’s 99th percentile. Segments: AHA (Cerqueira 2002).</dd>"
        f"<dt>Study</dt><dd>{study.files} series; pseudonym {study.pseudonym}, a hash of the study’s UID</dd>"
        "</dl></section>"
    )


def _geometry(phase: Phase, v: Ventricle) -> str:
    how = f"set by hand: {', '.join(phase.set_by_hand)}; the rest found" if phase.set_by_hand else "found"
    centre, tilt = (", ".join(f"{x:.1f}" for x in values) for values in (v.centre_mm, v.tilt_deg))
    return (
        f"{how} on {NAMES[phase.found_on]}: centre_mm [{centre}], tilt_deg [{tilt}], radius_mm {v.radius_mm:.1f}, "
        f"length_mm {v.length_mm:.1f}, base_mm {v.base_mm:.1f}"
    )
