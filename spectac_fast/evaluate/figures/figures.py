"""Pictures: the panel of one study (NC, corrected, AC, differences) and the panel of a cohort (NC, AC, truth)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectac_fast.outputs import PROGRAM, appearing
from spectac_fast.terms import PLANES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

PLANE_NAMES = {"SA": "short axis", "VLA": "vertical long axis", "HLA": "horizontal long axis"}
VIEW_MM = 220.0
DIFFERENCE_LIMIT = 30.0
DPI = 160
_NOTE_LETTERS_PER_INCH = 18
_INK = "#1b1b1f"
_FAINT = "#6b6b73"
STYLE: dict[RcKeyType, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def crop(values: np.ndarray, pixel_mm: tuple[float, float], view_mm: float = VIEW_MM) -> np.ndarray:
    """The central ``view_mm`` x ``view_mm`` of a slice [H, W], or as much of it as there is."""
    half = [round(view_mm / abs(p) / 2) for p in pixel_mm]
    rows, columns = values.shape
    top, left = max(rows // 2 - half[0], 0), max(columns // 2 - half[1], 0)
    return values[top : rows // 2 + half[0], left : columns // 2 + half[1]]


def _limits(signed: bool) -> tuple[float, float]:
    return (-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT) if signed else (0.0, 100.0)


def _show(axes: Axes, values: np.ndarray, pixel_mm: tuple[float, float], *, signed: bool) -> None:
    from spectac_fast.evaluate.figures import colours

    low, high = _limits(signed)
    axes.imshow(
        crop(values, pixel_mm),
        cmap=colours.difference() if signed else colours.perfusion(),
        vmin=low,
        vmax=high,
        interpolation="bicubic",
        aspect=abs(pixel_mm[0] / pixel_mm[1]),
    )
    axes.set_axis_off()


def _bar(figure: Figure, box: tuple[float, float, float, float], *, signed: bool, label: str) -> None:
    """A horizontal colour bar in figure coordinates (left, bottom, width, height)."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from spectac_fast.evaluate.figures import colours

    norm = Normalize(*_limits(signed))
    cmap = colours.difference() if signed else colours.perfusion()
    bar = figure.colorbar(ScalarMappable(norm, cmap), cax=figure.add_axes(box), orientation="horizontal")
    if signed:
        ticks = [-DIFFERENCE_LIMIT, -DIFFERENCE_LIMIT / 2, 0, DIFFERENCE_LIMIT / 2, DIFFERENCE_LIMIT]
        bar.set_ticks(ticks, labels=[f"{t:+.0f}" if t else "0" for t in ticks])
    else:
        bar.set_ticks([0, 25, 50, 75, 100])
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, width=0.6, pad=2, labelsize=8)
    bar.set_label(label, fontsize=8.5, labelpad=3)


def _save(figure: Figure, path: Path) -> Path:
    """Write a PNG by atomic rename, without a time stamp, so that equal data give equal bytes."""
    with appearing(path) as part:
        figure.savefig(part, dpi=DPI, format="png", metadata={"Software": PROGRAM})
    return path


@dataclass(frozen=True)
class Group:
    """Columns that stand together: their heads, a title above them (may be empty), and the label of the bar below."""

    columns: Sequence[str]
    title: str = ""
    bar: str = ""
    signed: bool = False


@dataclass(frozen=True)
class _Layout:
    """Places of the tiles, in inches; the angle of the row names."""

    tile: float
    rows: int
    widths: tuple[int, ...]
    left: float
    top: float
    foot: float
    space: float = 0.05
    gap: float = 0.22
    turned: float = 90.0

    @property
    def size(self) -> tuple[float, float]:
        columns = sum(self.widths)
        width = self.left + columns * (self.tile + self.space) + (len(self.widths) - 1) * self.gap + 0.10
        return width, self.top + self.rows * (self.tile + self.space) - self.space + self.foot

    def x(self, group: int, column: int) -> float:
        before = sum(self.widths[:group]) + column
        return self.left + before * (self.tile + self.space) + group * self.gap

    def y(self, row: int) -> float:
        return self.foot + (self.rows - 1 - row) * (self.tile + self.space)

    def box(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Inches -> figure coordinates."""
        w, h = self.size
        return x / w, y / h, width / w, height / h


def _text(figure: Figure, layout: _Layout, x: float, y: float, text: str, **style: Any) -> None:
    """Text at x, y in inches from the lower left."""
    width, height = layout.size
    figure.text(x / width, y / height, text, **style)


def _draw(
    path: Path,
    layout: _Layout,
    groups: Sequence[Group],
    names: Sequence[str],
    tiles: Sequence[Sequence[np.ndarray]],
    pixel_mm: Sequence[Sequence[tuple[float, float]]],
    *,
    title: str,
    note: str,
) -> Path:
    """Tiles [row][column] under the heads of their groups, row names at the left, bars and small print below."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side, height = layout.tile, layout.size[1]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=layout.size)
        FigureCanvasAgg(figure)
        _text(figure, layout, layout.left, height - 0.16, title, va="top", fontsize=11.5, weight="bold")
        lines = textwrap.fill(note, round(_NOTE_LETTERS_PER_INCH * (layout.size[0] - layout.left)))
        _text(figure, layout, layout.left, 0.07, lines, va="bottom", fontsize=7, color=_FAINT, linespacing=1.4)
        for i, name in enumerate(names):
            middle = layout.y(i) + side / 2
            _text(
                figure,
                layout,
                layout.left - 0.09,
                middle,
                name,
                rotation=layout.turned,
                ha="right",
                va="center",
                fontsize=8.5,
                linespacing=1.35,
                multialignment="center",
            )
        first = 0
        for g, group in enumerate(groups):
            start, end = layout.x(g, 0), layout.x(g, len(group.columns) - 1) + side
            head = height - layout.top + 0.07
            _text(figure, layout, (start + end) / 2, head + 0.22, group.title, ha="center", va="bottom", weight="bold")
            for j, name in enumerate(group.columns):
                _text(figure, layout, layout.x(g, j) + side / 2, head, name, ha="center", va="bottom", fontsize=9)
                for i in range(len(names)):
                    axes = figure.add_axes(layout.box(layout.x(g, j), layout.y(i), side, side))
                    _show(axes, tiles[i][first + j], pixel_mm[i][first + j], signed=group.signed)
            first += len(group.columns)
            if group.bar:
                inset = 0.14 * (end - start)
                box = layout.box(start + inset, layout.foot - 0.30, end - start - 2 * inset, 0.11)
                _bar(figure, box, signed=group.signed, label=group.bar)
        return _save(figure, path)


def study_panel(
    path: Path,
    slices: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    pixel_mm: Mapping[str, tuple[float, float]],
    *,
    title: str,
    note: str = "",
) -> Path:
    """Draw one phase: rows SA, VLA, HLA; columns NC, corrected, AC, NC - AC, corrected - AC. Writes a PNG.

    Args:
        path: where the PNG goes.
        slices: for each plane at hand (NC, corrected, AC), each [H, W], all in one unit: % of the AC peak of the
            heart region, NC multiplied by the gain.
        pixel_mm: (row, column) of each plane.
        title: what is shown.
        note: small print below, such as the convention.
    """
    planes = [plane for plane in PLANES if plane in slices]
    groups = [
        Group(("NC", "corrected", "AC"), bar="% of the AC peak in the heart region"),
        Group(("NC − AC", "corrected − AC"), bar="difference, percentage points", signed=True),
    ]
    tiles = []
    for plane in planes:
        nc, corrected, ac = slices[plane]
        tiles.append([nc, corrected, ac, nc - ac, corrected - ac])
    layout = _Layout(tile=1.62, rows=len(planes), widths=(3, 2), left=0.46, top=0.76, foot=1.08)
    names = [f"{plane}\n{PLANE_NAMES[plane]}" for plane in planes]
    sizes = [[pixel_mm[plane]] * 5 for plane in planes]
    return _draw(path, layout, groups, names, tiles, sizes, title=title, note=note)


def cohort_panel(
    path: Path,
    patients: Sequence[tuple[str, Mapping[str, Mapping[str, np.ndarray]]]],
    pixel_mm: tuple[float, float],
    *,
    title: str,
    note: str = "",
) -> Path:
    """Draw several patients: a row each, for every plane the columns NC, AC, truth. Writes a PNG.

    Args:
        path: where the PNG goes.
        patients: (name, {plane: {"NC" | "AC" | "truth": [H, W]}}); each image in % of its own peak, as on a reading
            screen. All patients have the same planes and kinds.
        pixel_mm: (row, column).
        title, note: head and small print.
    """
    first = patients[0][1]
    planes = [plane for plane in PLANES if plane in first]
    kinds = list(first[planes[0]])
    groups = [Group(kinds, title=f"{plane}, {PLANE_NAMES[plane]}") for plane in planes]
    middle = len(planes) // 2
    groups[middle] = Group(kinds, groups[middle].title, bar="% of each image's peak in the heart region")
    tiles = [[images[plane][kind] for plane in planes for kind in kinds] for _, images in patients]
    layout = _Layout(
        tile=1.05, rows=len(patients), widths=(len(kinds),) * len(planes), left=0.54, top=1.0, foot=1.08, space=0.03
    )
    sizes = [[pixel_mm] * len(tiles[0])] * len(patients)
    return _draw(path, layout, groups, [name for name, _ in patients], tiles, sizes, title=title, note=note)


def models_panel(
    path: Path,
    images: Mapping[str, Mapping[str | None, np.ndarray]],
    pixel_mm: tuple[float, float],
    *,
    title: str,
    note: str = "",
) -> Path:
    """Draw one phase as every model gives it: a row each, columns SA, VLA, HLA (those there are), then their
    differences to AC.

    Args:
        path: where the PNG goes.
        images: {"AC" | "NC" | model: {plane: [H, W]}} in the order of the rows, all in one unit: % of the AC peak of
            the heart region, NC multiplied by the gain. All have the same planes, a plane of unknown name is None; AC
            is one of them.
        pixel_mm: (row, column).
        title, note: head and small print.
    """
    planes = [plane for plane in (*PLANES, None) if plane in images["AC"]]
    names = [plane or "slice" for plane in planes]
    groups = [
        Group(names, bar="% of the AC peak in the heart region"),
        Group([f"{name} − AC" for name in names], bar="difference, percentage points", signed=True),
    ]
    tiles = [
        [row[plane] for plane in planes] + [row[plane] - images["AC"][plane] for plane in planes]
        for row in images.values()
    ]
    # However few planes there are, title and bars need their room.
    tile = max(1.2, 2.4 / len(planes))
    layout = _Layout(
        tile=tile, rows=len(images), widths=(len(planes),) * 2, left=1.55, top=0.76, foot=1.08, space=0.04, turned=0.0
    )
    names = [textwrap.fill(name, 20) for name in images]
    sizes = [[pixel_mm] * len(tiles[0])] * len(images)
    return _draw(path, layout, groups, names, tiles, sizes, title=title, note=note)
