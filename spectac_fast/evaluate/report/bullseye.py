"""A polar map as an SVG: the continuous map, the outlines of the 17 segments, their means."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate.regional.segments import means
from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.analysis import segment, signed

_R = 100.0
# Outer and inner radius of each ring, its number of segments, and the angle at which the first begins.
RINGS = ((1.0, 0.75, 6, 60.0), (0.75, 0.5, 6, 60.0), (0.5, 0.25, 4, 45.0))


def places() -> list[tuple[float, float]]:
    """Where the number of each segment stands: (x, y) with y upwards, in radii of the map."""
    spots = []
    for outer, inner, count, start in RINGS:
        middle, width = 0.5 * (outer + inner), 360 / count
        for k in range(count):
            angle = math.radians(start + (k + 0.5) * width)
            spots.append((middle * math.cos(angle), middle * math.sin(angle)))
    return [*spots, (0.0, 0.0)]


def spokes() -> list[tuple[float, float, float, float]]:
    """Lines between segments of a ring: x0, y0, x1, y1 with y upwards, in radii of the map."""
    lines = []
    for outer, inner, count, start in RINGS:
        for k in range(count):
            angle = math.radians(start + k * 360 / count)
            c, s = math.cos(angle), math.sin(angle)
            lines.append((inner * c, inner * s, outer * c, outer * s))
    return lines


def bullseye(polar: NDArray[np.float64], scale: str, phase: str, name: str) -> str:
    """One map. scale: "perfusion", "difference" or "bias"; phase, name: for those who hear the page."""
    values = means(polar)
    low, high = int(values.argmin()), int(values.argmax())
    if scale in images.SIGNED:
        texts = [signed(v) for v in values]
        said = f"from {signed(values[low])} points in {segment(low)} to {signed(values[high])} in {segment(high)}"
    else:
        texts = [f"{v:.0f}" for v in values]
        said = f"from {values[low]:.0f} % in {segment(low)} to {values[high]:.0f} % in {segment(high)}"
    rings = "".join(f'<circle r="{_R * radius:g}"/>' for radius in (1.0, 0.75, 0.5, 0.25))
    lines = "".join(f'<path d="M{_R * a:.1f} {-_R * b:.1f}L{_R * c:.1f} {-_R * d:.1f}"/>' for a, b, c, d in spokes())
    numbers = "".join(
        f'<text x="{_R * x:.1f}" y="{-_R * y + 4:.1f}">{text}</text>' for (x, y), text in zip(places(), texts)
    )
    walls = (
        '<text class="wall" x="0" y="-106">anterior</text><text class="wall" x="0" y="114">inferior</text>'
        '<text class="wall" transform="translate(-106 0) rotate(-90)">septal</text>'
        '<text class="wall" transform="translate(107 0) rotate(90)">lateral</text>'
    )
    return (
        f'<svg viewBox="-118 -118 236 236" role="img" aria-label="Polar map, {phase}, {name}: {said}">'
        f'<image href="{images.png(images.disc(polar), scale)}" x="-100" y="-100" width="200" height="200"/>'
        f'<g fill="none" stroke="#fff" stroke-opacity=".55" stroke-width=".8">{rings}{lines}</g>'
        # White myocardium would vanish into a white page.
        f'<circle r="{_R:g}" fill="none" stroke="#55555f" stroke-width="1.2"/>{numbers}{walls}</svg>'
    )
