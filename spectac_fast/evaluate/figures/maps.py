"""The picture of an attenuation map: what it was made from, the map, and what it corrects, in transaxial slices."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.evaluate.figures import colours
from spectac_fast.evaluate.figures.figures import DPI, STYLE
from spectac_fast.outputs import PROGRAM, appearing
from spectac_fast.reconstruct.acquired import central
from spectac_fast.reconstruct.grid import Grid

# Transaxial slices, mm above the heart's middle; then one of each other direction through it.
_HEIGHTS_MM = (54, 27, 0, -27, -54)
_TILE, _LETTERS_PER_INCH = 1.25, 18
# 1/cm, of the map's scale: beyond soft tissue.
_MU_MOST = 0.2


def map_panel(
    path: Path,
    volumes: Mapping[str, Tensor],
    grid: Grid,
    heart_mm: NDArray[np.float64],
    *,
    maps: frozenset[str],
    title: str,
    note: str,
) -> Path:
    """Draw rows of slices of volumes {name: [z, y, x]} on `grid`, or wider, as a PNG, about a place (x, y, z) in mm.

    maps: names of those that are attenuation maps, in 1/cm; of the others 100 % is the 99.5th percentile within 60 mm
    of the place.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    x, y = (_nearest(axis, at) for axis, at in zip((grid.axis_x(), grid.axis_y()), heart_mm))
    heights = [_nearest(grid.axis_z(), heart_mm[2] + mm) for mm in _HEIGHTS_MM]
    heads = [*(f"{mm:+d} mm" if mm else "transaxial, heart" for mm in _HEIGHTS_MM), "coronal", "sagittal"]
    width, height = len(heads) * _TILE + 0.9, len(volumes) * (_TILE + 0.22) + 0.95
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        figure.text(0.85 / width, 1 - 0.14 / height, title, va="top", fontsize=11.5, weight="bold")
        small = textwrap.fill(note, round(_LETTERS_PER_INCH * (width - 0.9)))
        figure.text(0.85 / width, 0.07 / height, small, va="bottom", fontsize=7, color="#6b6b73", linespacing=1.4)
        for line, (name, wide) in enumerate(volumes.items()):
            volume = central(wide, grid.n).cpu().numpy()
            # From head to feet, as a reader expects it.
            shown = [*(volume[k] for k in heights), volume[::-1, y], volume[::-1, :, x]]
            bottom = height - 0.62 - (line + 1) * (_TILE + 0.22) + 0.22
            how: dict[str, Any] = {"cmap": "gray", "vmin": 0, "vmax": _MU_MOST}
            if name not in maps:
                how = {"cmap": colours.perfusion(), "vmin": 0, "vmax": _full(volume, grid, heart_mm)}
            for column, (head, image) in enumerate(zip(heads, shown)):
                box = (0.85 + column * _TILE, bottom, _TILE - 0.05, _TILE - 0.05)
                axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
                axes.set_axis_off()
                if line == 0:
                    axes.set_title(head, fontsize=7.5, pad=2)
                axes.imshow(image, interpolation="bicubic", **how)
            figure.text(
                0.78 / width, (bottom + 0.5 * _TILE) / height, name, rotation=90, ha="right", va="center", fontsize=9
            )
        with appearing(path) as part:
            figure.savefig(part, dpi=DPI, format="png", metadata={"Software": PROGRAM})
    return path


def _nearest(axis: NDArray[np.float64], at: float) -> int:
    return int(np.abs(axis - at).argmin())


def _full(volume: NDArray[np.float32], grid: Grid, heart_mm: NDArray[np.float64]) -> float:
    z, y, x = np.meshgrid(grid.axis_z(), grid.axis_y(), grid.axis_x(), indexing="ij")
    near = ((np.stack([x, y, z], -1) - heart_mm) ** 2).sum(-1) < 60.0**2
    return float(np.quantile(volume[near], 0.995)) if near.any() else float(volume.max())
