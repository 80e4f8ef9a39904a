"""Pixels of a report: rows of slices about the heart, and polar maps, as small PNGs with a palette."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate.figures import colours
from spectac_fast.evaluate.report.analysis import Phase
from spectac_fast.evaluate.report.gather import Stack

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

VIEW_MM = 128.0
TILE = 96
MOST_TILES = 14
# Limits in % of maximum: perfusion, difference, standard deviation, mean difference of many patients.
FULL, DIFFERENCE, DEVIATION, BIAS = 100.0, 30.0, 15.0, 10.0
# Scales with zero in their middle.
SIGNED = ("difference", "bias")
# Radius of a polar map -> depth from base to apex: rings of one width, as the 17 segments are customarily drawn.
_RINGS, _DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0), (1.0, 0.87, 0.62, 0.34, 0.0)


@dataclass(frozen=True)
class Window:
    """Which slices of a plane are shown, and the (row, column) index in the middle of every tile."""

    slices: NDArray[np.int64]
    middle: tuple[float, float]


def half_extent(phases: Sequence[Phase], plane: str) -> float:
    """How far from its middle the ventricle reaches across the slices of a plane, mm: the most of all phases."""
    found = [phase.ventricle for phase in phases if phase.ventricle is not None]
    reach = [(0.5 * (v.apex_mm - v.base_limit_mm) if plane == "SA" else v.radius_mm) + 0.5 * v.wall_mm for v in found]
    return max(reach, default=40.0)


def ventricle_middle(phase: Phase) -> NDArray[np.float64] | None:
    """The middle of the ventricle, LPS mm; None where none was found."""
    sa, v = phase.stacks.get(phase.found_on, {}).get("SA"), phase.ventricle
    if v is None or sa is None:
        return None
    size = [(n - 1) / 2 for n in sa.counts.shape]
    where = (0.5 * (v.apex_mm + v.base_limit_mm), *v.centre_mm[1:])
    return sa.point([c + sign * mm / d for c, sign, mm, d in zip(size, (-1, -1, 1), where, sa.spacing_mm)])


def window(phase: Phase, plane: str, stack: Stack, half_mm: float) -> Window:
    """The slices within `half_mm` of the ventricle's middle, at most fourteen; of the stack's where it was not found.

    Phases of one extent have as many slices, so that stress stands over rest.
    """
    count = len(stack.counts)
    middle = (np.array(stack.counts.shape) - 1) / 2
    heart = ventricle_middle(phase)
    if heart is not None:
        inside = stack.index(heart)
        # Stress and rest, or planes of two frames of reference, may not know of each other.
        if (np.abs(inside - middle) * stack.spacing_mm < 60).all():
            middle = inside
    reach = round(half_mm / stack.spacing_mm[0])
    first, last = max(0, round(middle[0]) - reach), min(count - 1, round(middle[0]) + reach)
    shown = np.arange(first, max(last, first) + 1)
    if len(shown) > MOST_TILES:
        shown = np.unique(np.rint(np.linspace(first, last, MOST_TILES)).astype(int))
    return Window(shown, (float(middle[1]), float(middle[2])))


def tiles(stack: Stack, shown: Window, peak: float) -> NDArray[np.float64]:
    """The shown slices in % of `peak` about the ventricle, [TILE, slices * TILE]."""
    from scipy.ndimage import map_coordinates

    steps = ((np.arange(TILE) + 0.5) / TILE - 0.5) * VIEW_MM
    grid = np.meshgrid(
        shown.middle[0] + steps / stack.spacing_mm[1], shown.middle[1] + steps / stack.spacing_mm[2], indexing="ij"
    )
    row = [map_coordinates(stack.counts[k].astype(np.float64), grid, order=3, mode="nearest") for k in shown.slices]
    return 100 / peak * np.concatenate(row, axis=1)


def disc(polar: NDArray[np.float64], side: int = 192) -> NDArray[np.float64]:
    """A polar map [24, 72] as a disc [side, side]: apex in the middle, anterior above, lateral right; NaN outside."""
    from scipy.ndimage import map_coordinates

    axis = (np.arange(side) + 0.5) / side * 2 - 1
    x, y = np.meshgrid(axis, -axis)
    radius = np.hypot(x, y)
    levels, angles = polar.shape
    level = np.interp(radius, _RINGS, _DEPTHS) * levels - 0.5
    angle = np.degrees(np.arctan2(y, x)) % 360 * angles / 360
    closed = np.concatenate([polar, polar[:, :1]], axis=1)
    values = map_coordinates(closed, [np.clip(level, 0, levels - 1), angle], order=1)
    return np.where(radius <= 1.0 + 1.5 / side, values, np.nan)


def perfusion_colour(values: NDArray) -> NDArray[np.uint8]:
    """% of maximum -> place in the palette of ``PALETTES["perfusion"]``."""
    return _place(values / FULL)


def difference_colour(values: NDArray) -> NDArray[np.uint8]:
    """Percentage points -> place in ``PALETTES["difference"]``, zero in the middle."""
    return _place(0.5 + values / (2 * DIFFERENCE))


def bias_colour(values: NDArray) -> NDArray[np.uint8]:
    """The same of a mean over patients, which is smaller."""
    return _place(0.5 + values / (2 * BIAS))


def deviation_colour(values: NDArray) -> NDArray[np.uint8]:
    """% of maximum -> place in ``PALETTES["deviation"]``."""
    return _place(values / DEVIATION)


COLOURS: dict[str, Callable[[NDArray], NDArray[np.uint8]]] = {
    "perfusion": perfusion_colour,
    "difference": difference_colour,
    "bias": bias_colour,
    "deviation": deviation_colour,
}


def _place(share: NDArray) -> NDArray[np.uint8]:
    return np.rint(np.clip(np.nan_to_num(share), 0, 1) * 254).astype(np.uint8)


def palette(scale: str) -> NDArray[np.uint8]:
    """The 255 colours [255, 3] of a scale; "perfusion-cool" and the like are perfusion in another table."""
    if scale == "deviation":
        from matplotlib import colormaps

        chosen: Colormap = colormaps["viridis"]
    else:
        chosen = colours.difference() if scale in SIGNED else colours.table(scale.partition("-")[2] or "warm")
    return np.rint(chosen(np.linspace(0, 1, 255))[:, :3] * 255).astype(np.uint8)


def rgb(values: NDArray, scale: str) -> NDArray[np.uint8]:
    """Values -> colours [..., 3] of a scale."""
    return palette(scale)[COLOURS[scale.partition("-")[0]](values)]


def png(values: NDArray, scale: str) -> str:
    """Values [rows, columns] in the colours of a scale as a data URI; NaN is transparent."""
    from PIL import Image

    places = COLOURS[scale.partition("-")[0]](values)
    image = Image.fromarray(np.where(np.isnan(values), 255, places).astype(np.uint8))
    image.putpalette([*palette(scale).ravel().tolist(), 0, 0, 0])
    options = {"transparency": 255} if np.isnan(values).any() else {}
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True, **options)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
