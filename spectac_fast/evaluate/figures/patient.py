"""The picture of a real patient: what the camera counted, what was reconstructed of it, and what was corrected."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.scale import count_scale
from spectac_fast.evaluate.figures import colours
from spectac_fast.evaluate.figures.figures import DPI, STYLE, crop
from spectac_fast.formats.projections import Projections
from spectac_fast.outputs import PROGRAM, appearing

# Short-axis slices that are shown, mm from the middle towards the apex; both long axes are shown at the middle.
_SHORT_AXIS_MM = (27, 14, 0, -14, -27)
_VIEW_MM, _TILE, _LETTERS_PER_INCH = 150.0, 1.25, 18


def patient_panel(
    path: Path,
    projections: Projections,
    rows: Mapping[str, Mapping[str, NDArray[np.float32]]],
    pixel_mm: float,
    *,
    title: str,
    note: str,
) -> Path:
    """Draw views of the projections over rows of slices as a PNG.

    rows: {name: {"SA", "VLA", "HLA": [slices, rows, columns]}}, cubes of pixel_mm. Of every row 100 % is the 99.5th
    percentile of its short-axis stack in the heart region: routes differ in the counts that they call a whole heart.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = [*(f"SA {mm:+d} mm" if mm else "SA middle" for mm in _SHORT_AXIS_MM), "VLA", "HLA"]
    columns, lines = len(names), 1 + len(rows)
    width, height = columns * _TILE + 0.9, lines * (_TILE + 0.22) + 0.95
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)

        def tile(line: int, column: int, head: str):
            box = (
                0.85 + column * _TILE,
                height - 0.62 - (line + 1) * (_TILE + 0.22) + 0.22,
                _TILE - 0.05,
                _TILE - 0.05,
            )
            axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
            axes.set_axis_off()
            axes.set_title(head, fontsize=7.5, pad=2)
            return axes

        figure.text(0.85 / width, 1 - 0.14 / height, title, va="top", fontsize=11.5, weight="bold")
        small = textwrap.fill(note, round(_LETTERS_PER_INCH * (width - 0.9)))
        figure.text(0.85 / width, 0.07 / height, small, va="bottom", fontsize=7, color="#6b6b73", linespacing=1.4)
        views = projections.peak.counts
        for column, k in enumerate(np.linspace(0, len(views) - 1, columns).round().astype(int)):
            axes = tile(0, column, f"{projections.angles[k]:.0f}°")
            axes.imshow(views[k], cmap="gray_r", vmax=np.quantile(views, 0.999), interpolation="bicubic")
        for line, planes in enumerate(rows.values(), 1):
            scale = 100.0 / count_scale(planes["SA"], (pixel_mm,) * 3)
            shown = [planes["SA"][_slice(planes["SA"], mm, pixel_mm)] for mm in _SHORT_AXIS_MM]
            shown += [planes[plane][len(planes[plane]) // 2] for plane in ("VLA", "HLA")]
            for column, (head, image) in enumerate(zip(names, shown)):
                axes = tile(line, column, head if line == 1 else "")
                cut = crop(scale * image, (pixel_mm, pixel_mm), _VIEW_MM)
                axes.imshow(cut, cmap=colours.perfusion(), vmin=0, vmax=100, interpolation="bicubic")
        for line, name in enumerate(["projections", *rows]):
            middle = height - 0.62 - line * (_TILE + 0.22) - 0.5 * _TILE
            figure.text(0.78 / width, middle / height, name, rotation=90, ha="right", va="center", fontsize=9)
        with appearing(path) as part:
            figure.savefig(part, dpi=DPI, format="png", metadata={"Software": PROGRAM})
    return path


def _slice(stack: NDArray[np.float32], towards_apex_mm: float, pixel_mm: float) -> int:
    """Slices run from apex to base."""
    return int(np.clip(round((len(stack) - 1) / 2 - towards_apex_mm / pixel_mm), 0, len(stack) - 1))
