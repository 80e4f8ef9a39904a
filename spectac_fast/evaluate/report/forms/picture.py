"""The summary of a report as one picture: polar maps, middle slices, what the segments say."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate.figures.figures import STYLE
from spectac_fast.evaluate.regional.segments import means
from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.analysis import Phase, reversibility, signed, summary, warnings_of
from spectac_fast.evaluate.report.bullseye import RINGS, places, spokes
from spectac_fast.evaluate.report.deficits import rows
from spectac_fast.evaluate.report.gather import ReportStudy
from spectac_fast.evaluate.report.page import ON_THEIR_OWN
from spectac_fast.evaluate.report.words import NAMES, ORDER
from spectac_fast.outputs import NOTICE, PROGRAM

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _ROW, _TOP, _DPI = 12.0, 2.75, 0.62, 128
_FAINT = "#5c5c66"


def summary_picture(
    study: ReportStudy, phases: Sequence[Phase], *, title: str = "", colours: str = "warm"
) -> tuple[NDArray[np.uint8], bytes]:
    """(pixels [rows, columns, 3], PNG) of the summary; equal studies give equal bytes. Arguments as `page.page`."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = _notes(study, phases)
    reversible = reversibility(phases)
    perfusion = f"perfusion-{colours}"
    height = _TOP + _ROW * (len(phases) + bool(reversible)) + 0.25 + 0.17 * len(notes)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH, height), dpi=_DPI)
        canvas = FigureCanvasAgg(figure)
        name = title or f"Study {study.pseudonym}"
        figure.text(0.02, 1 - 0.16 / height, f"Attenuation correction without CT   {name}", va="top", weight="bold")
        figure.text(0.98, 1 - 0.18 / height, NOTICE, va="top", ha="right", fontsize=8)
        for k, phase in enumerate(phases):
            _row(figure, phase, perfusion, (height - _TOP - (k + 1) * _ROW) / height, _ROW / height)
        if reversible:
            drawn = [(NAMES[kind], reversible[kind], "difference") for kind in ORDER if kind in reversible]
            bottom = (height - _TOP - (len(phases) + 1) * _ROW) / height
            _discs(figure, "stress − rest", drawn, bottom, _ROW / height)
            _scores(figure, phases, bottom, _ROW / height)
        figure.text(0.02, 0.1 / height, "\n".join(notes), va="bottom", fontsize=7.5, color=_FAINT, linespacing=1.35)
        canvas.draw()
    pixels = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    out = io.BytesIO()
    made_by = PngInfo()
    made_by.add_text("Software", PROGRAM)
    Image.fromarray(pixels).save(out, "PNG", pnginfo=made_by)
    return pixels, out.getvalue()


def _notes(study: ReportStudy, phases: Sequence[Phase]) -> list[str]:
    lines = [ON_THEIR_OWN] if any(phase.change is not None for phase in phases) else []
    lines += [f"{phase.name.capitalize()}: {' '.join(summary(phase))}" for phase in phases if phase.segments]
    lines += [f"Warning: {text}" for text in warnings_of(study, phases)]
    lines += study.made_by
    return [part for line in lines for part in textwrap.wrap(line, 190)]


def _discs(
    figure: Figure, head: str, drawn: Sequence[tuple[str, NDArray[np.float64], str]], bottom: float, height: float
) -> None:
    """A row of polar maps at the left: (name, map, scale) each."""
    figure.text(0.012, bottom + height / 2, head, rotation=90, va="center", weight="bold")
    side = 0.175
    for k, (name, polar, scale) in enumerate(drawn):
        axes = figure.add_axes((0.035 + k * (side + 0.01), bottom + 0.02 * height, side, 0.86 * height))
        _disc(axes, polar, scale)
        axes.set_title(name, fontsize=9, pad=3)


def _scores(figure: Figure, phases: Sequence[Phase], bottom: float, height: float) -> None:
    """Summed scores and perfusion deficits, beside the last row of maps."""
    judged = [phase for phase in phases if phase.deficits]
    if not judged:
        return
    kinds = [kind for kind in ORDER if any(kind in phase.deficits for phase in judged)]
    lines = [("", [NAMES[kind] for kind in kinds]), *rows(judged, kinds)]
    for k, (head, cells) in enumerate(lines):
        y = bottom + height * (0.88 - 0.085 * k)
        figure.text(0.64, y, head, fontsize=8.5, va="top", color=_FAINT)
        for j, cell in enumerate(cells):
            figure.text(0.79 + 0.065 * j, y, cell, fontsize=8.5, va="top", ha="right", weight="normal" if k else "bold")
    whose = textwrap.fill(f"Normal limits: {judged[0].normals}.", 70)
    figure.text(0.64, bottom + 0.02 * height, whose, fontsize=7, color=_FAINT)


def _row(figure: Figure, phase: Phase, perfusion: str, bottom: float, height: float) -> None:
    """One phase: its polar maps at the left, the middle slice of every plane at the right."""
    shown = [kind for kind in ("NC", "corrected", "physics") if kind in phase.stacks]
    drawn = [(NAMES[kind], phase.polar[kind], perfusion) for kind in shown if kind in phase.polar]
    if len(drawn) == 2 and "physics" not in shown:
        drawn.append((NAMES["difference"], drawn[1][1] - drawn[0][1], "difference"))
    _discs(figure, phase.name, drawn, bottom, height)
    share = 0.86 / max(len(shown), 2)
    for i, kind in enumerate(shown):
        for j, plane in enumerate(("SA", "VLA", "HLA")):
            stack = phase.stacks.get(kind, {}).get(plane)
            if stack is None or kind not in phase.peaks:
                continue
            window = images.window(phase, plane, stack, images.half_extent([phase], plane))
            row = images.tiles(stack, window, phase.peaks[kind])
            middle = row.shape[1] // images.TILE // 2
            tile = row[:, middle * images.TILE : (middle + 1) * images.TILE]
            side = share * _ROW / _WIDTH
            low = bottom + (0.03 + (share + 0.01) * (max(len(shown), 2) - 1 - i)) * height
            box = (0.64 + (side + 0.005) * j, low, side, share * height)
            axes = figure.add_axes(box)
            axes.imshow(images.rgb(tile, perfusion), interpolation="bicubic", aspect="auto")
            axes.set_axis_off()
            axes.text(0.03, 0.03, f"{window.slices[middle] + 1}", color="white", fontsize=6.5, transform=axes.transAxes)
            if i == 0:
                axes.set_title(plane, fontsize=9, pad=3)
            if j == 0:
                axes.text(-0.06, 0.5, NAMES[kind], rotation=90, transform=axes.transAxes, ha="right", va="center")


def _disc(axes: Axes, polar: NDArray[np.float64], scale: str) -> None:
    disc = images.disc(polar, 320)
    colours = images.rgb(disc, scale)
    colours[np.isnan(disc)] = 255
    axes.imshow(colours, extent=(-1, 1, -1, 1))
    angle = np.linspace(0, 2 * np.pi, 181)
    for radius in {edge for ring in RINGS for edge in ring[:2]}:
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="white", lw=0.5, alpha=0.6)
    # White myocardium would vanish into the white page.
    axes.plot(np.cos(angle), np.sin(angle), color="#55555f", lw=0.9)
    for x0, y0, x1, y1 in spokes():
        axes.plot([x0, x1], [y0, y1], color="white", lw=0.5, alpha=0.6)
    for (x, y), value in zip(places(), means(polar)):
        text = signed(value) if scale == "difference" else f"{value:.0f}"
        axes.text(
            x, y, text, ha="center", va="center", fontsize=7.5, weight="bold", color="white", path_effects=_edge()
        )
    axes.set_axis_off()


def _edge() -> list:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.8, foreground="black")]
