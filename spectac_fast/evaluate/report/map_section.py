"""The report's section on the attenuation map: three planes through the heart, with the outline of what was counted."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.analysis import Phase
from spectac_fast.evaluate.report.gather import Stack
from spectac_fast.evaluate.report.map_files import ReportMap
from spectac_fast.evaluate.report.words import NAMES

MAP_LINK = '<li><a href="#map">Attenuation map</a></li>'
# White is this much, 1/cm; pictures are so wide and high, mm, and their pixels so large.
_WHITE, _WIDE_MM, _PIXEL_MM = 0.2, 440.0, 2.0
# Of the maximum in the left ventricle: what the outline encloses.
_OUTLINED = 0.5
_NEAR_MM = 40.0
_LINE = np.array([255, 140, 40], np.uint8)
# Two voxel axes of each plane as (right, down), LPS: as readers look at them.
_PLANES = {
    "Transaxial": ((1.0, 0, 0), (0, 1.0, 0)),
    "Coronal": ((1.0, 0, 0), (0, 0, -1.0)),
    "Sagittal": ((0, 1.0, 0), (0, 0, -1.0)),
}


def map_section(phases: Sequence[Phase], maps: Sequence[ReportMap]) -> Iterator[str]:
    """The section; nothing without maps."""
    shown = [(phase, one) for phase in phases if (one := map_for(phase, maps)) is not None]
    if not shown:
        return
    yield '<section aria-labelledby="map"><h2 id="map">Attenuation map</h2>'
    yield (
        f"<p class=faint>Through the middle of the ventricle; black is 0, white {_WHITE:g}/cm. To look at: the body’s "
        "outline, dark lungs, the heart within. The line encloses what counts more than half of the ventricle’s "
        "maximum, where the map lies in the frame of reference of the images.</p>"
    )
    for phase, one in shown:
        yield f'<h3>{phase.name.capitalize()}</h3><div class="maps" style="--maps:3">'
        for name, uri, said in _pictures(phase, one):
            alt = html.escape(f"Attenuation map, {phase.name}, {name.lower()}{said}")
            yield f'<figure><img src="{uri}" alt="{alt}" class="mu"><figcaption>{name}</figcaption></figure>'
        yield f"</div><p>{html.escape(_said(phase, one))}</p>"
    yield "</section>"


def map_for(phase: Phase, maps: Sequence[ReportMap]) -> ReportMap | None:
    """The map of a phase: one in the frame of reference of its images before others."""
    mine = [one for one in maps if one.phase == phase.name]
    return min(mine, key=lambda one: one.found.frame != phase.frame, default=None)


def _pictures(phase: Phase, one: ReportMap) -> Iterator[tuple[str, str, str]]:
    """(name, image as a data URI, what is outlined in words) of each plane."""
    heart, together = images.ventricle_middle(phase), one.found.frame == phase.frame
    kind = next((kind for kind in ("physics", "AC", "NC") if "SA" in phase.stacks.get(kind, {})), "")
    middle = _middle(one) if heart is None or not together else heart
    for name, axes in _PLANES.items():
        points = _plane(middle, _middle(one), *map(np.array, axes))
        grey = np.rint(np.clip(_sampled(one, points) / _WHITE, 0, 1) * 255).astype(np.uint8)
        pixels = np.repeat(grey[..., None], 3, axis=-1)
        if together and kind:
            counts = phase.stacks[kind]["SA"]
            pixels[_edge(_counts(counts, points) > _OUTLINED * phase.peaks[kind])] = _LINE
        yield name, _png(pixels), f", outline of {NAMES[kind]}" if together and kind else ""


def _said(phase: Phase, one: ReportMap) -> str:
    heart = images.ventricle_middle(phase)
    whose = "" if one.found.frame == phase.frame else " It has another frame of reference than the images."
    if heart is None or whose:
        return f"Of this phase.{whose}"
    steps = np.arange(-_NEAR_MM, _NEAR_MM + 1, 4.0)
    around = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    around = around[np.linalg.norm(around, axis=1) <= _NEAR_MM]
    values = _sampled(one, heart + around)
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"Within {_NEAR_MM:g} mm of the ventricle’s middle: {middle:.3f}/cm (5 to 95 %: {low:.3f} to {high:.3f})."


def _middle(one: ReportMap) -> NDArray[np.float64]:
    return one.found.first + (np.array(one.found.values.shape) - 1) / 2 @ one.found.steps


def _plane(
    through: NDArray[np.float64], about: NDArray[np.float64], right: NDArray[np.float64], down: NDArray[np.float64]
) -> NDArray[np.float64]:
    """LPS points [rows, columns, 3] of a square picture of a plane through one point and, within it, about another."""
    side = np.arange(-_WIDE_MM / 2, _WIDE_MM / 2, _PIXEL_MM) + _PIXEL_MM / 2
    normal = np.cross(right, down)
    corner = about + normal * (normal @ (through - about))
    return corner + side[None, :, None] * right + side[:, None, None] * down


def _sampled(one: ReportMap, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Attenuation at LPS points [..., 3], 1/cm."""
    from scipy.ndimage import map_coordinates

    index = (points - one.found.first) @ np.linalg.inv(one.found.steps)
    return map_coordinates(one.found.values.astype(np.float64), np.moveaxis(index, -1, 0), order=1)


def _counts(stack: Stack, points: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.ndimage import map_coordinates

    index = (points - stack.origin) @ np.linalg.inv(stack.steps)
    return map_coordinates(stack.counts.astype(np.float64), np.moveaxis(index, -1, 0), order=1)


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    from scipy.ndimage import binary_erosion

    return inside & ~binary_erosion(inside)


def _png(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
