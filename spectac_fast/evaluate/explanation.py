"""Explanations of a study: a picture for each phase, a row for each plane, and the figures behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectac_fast.correct.study import prepare
from spectac_fast.data.lineup import kind_of
from spectac_fast.data.scale import percentile
from spectac_fast.data.study import Study
from spectac_fast.errors import InputError
from spectac_fast.evaluate.figures.figures import DPI, PLANE_NAMES, STYLE, VIEW_MM, crop
from spectac_fast.formats.series import Series
from spectac_fast.models.explain import Explanation, explain_slice
from spectac_fast.outputs import NOTICE, PROGRAM, Kind, Permit, appearing
from spectac_fast.terms import PHASES, PLANES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

    from spectac_fast.models.translator import Translator

_HEADS = ("NC", "corrected", "made from these counts", "from neighbouring slices", "attention")
_OUTLINE = "#39d5ff"
_TILE_IN = 1.75
_NEAR_MM = 45.0
_FIGURES = "explain.json"


@dataclass(frozen=True)
class Explained:
    """One slice of a series at the model's pixels of `pixel_mm`; nc: [H, W], model units; slice: its number from 1."""

    phase: str
    plane: str
    slice: int
    nc: NDArray[np.float32]
    pixel_mm: tuple[float, float]
    explanation: Explanation

    @property
    def shares(self) -> NDArray[np.float64]:
        """[1 + n, H, W]: what the counts of the slice and its neighbours add, % of all that is added."""
        change = self.explanation.value - self.explanation.baseline
        return 100.0 * self.explanation.attribution.double().numpy() / (change or 1.0)

    @property
    def attention(self) -> NDArray[np.float64] | None:
        """[H, W]: mean over blocks, as a multiple of what each pixel would get alike; None without attention."""
        maps = list(self.explanation.attention.values())
        return torch.stack(maps).double().mean(dim=0).numpy() * maps[0].numel() if maps else None

    def figures(self) -> dict[str, Any]:
        """What is written of it: values in model units, [0, scale] is [-1, 1]."""
        got = self.explanation
        return {
            "phase": self.phase,
            "plane": self.plane,
            "slice": self.slice,
            "region_pixels": int(got.region.sum()),
            "value": round(got.value, 5),
            "baseline": round(got.baseline, 5),
            "attributed": round(float(got.attribution.double().sum()), 5),
            "gap": round(got.gap, 6),
            "from_neighbours_percent": round(float(self.shares[1:].sum()), 2),
            "attention_blocks": list(got.attention),
        }


def nc_of(series: Sequence[Series]) -> list[Series]:
    """The NC series of a study, one for each phase and plane, in customary order."""
    first: dict[tuple[str, str], Series] = {}
    for one in series:
        if kind_of(one) == "NC":
            first.setdefault((one.phase, one.plane), one)
    return [first[phase, plane] for phase in PHASES for plane in PLANES if (phase, plane) in first]


def explained(
    study: Study, translator: Translator, number: int | None = None, *, step: Callable[[], None] = lambda: None
) -> list[Explained]:
    """One slice of every series of a study, explained (`models.explain.explain_slice`).

    number: of the slice, from 1; None is the middle one. step: called after each series. Raises InputError for a series
    without such a slice and as `correct_study` does, UsageError for a model without gradients to follow.
    """
    prepared = prepare(study, translator, {}, 0)
    rows = []
    for series, grid, stack, beside, facts in zip(
        study.series, prepared.grids, prepared.inputs, prepared.beside, prepared.facts
    ):
        k = len(stack) // 2 if number is None else number - 1
        if k >= len(stack):
            raise InputError(f"{series.path}: expected at least {number} slices, found {len(stack)}.")
        got = explain_slice(
            translator,
            torch.from_numpy(stack[k][None, None]),
            torch.from_numpy(wall(stack[k], grid.pixel_mm)),
            neighbours=torch.from_numpy(beside[k : k + 1]),
            facts=torch.from_numpy(facts[k : k + 1]),
        )
        rows.append(Explained(series.phase, series.plane, k + 1, stack[k], grid.pixel_mm, got))
        step()
    return rows


def wall(nc: NDArray[np.floating], pixel_mm: Sequence[float]) -> NDArray[np.bool_]:
    """The myocardium, roughly, of a slice [H, W] in model units: within 45 mm of the middle, above half of the counts
    that 2 % of the pixels there exceed. At least one pixel.
    """
    y, x = ((np.arange(n) - (n - 1) / 2) * abs(mm) for n, mm in zip(nc.shape, pixel_mm))
    near = np.hypot(y[:, None], x) <= max(_NEAR_MM, *map(abs, pixel_mm))
    counts = nc + 1.0
    return near & (counts >= 0.5 * percentile(counts[near], 98))


def check_places(folder: Path, phases: Iterable[str], permit: Permit) -> None:
    """Raise UsageError where what is written of these phases may not be written to a folder."""
    for phase in phases:
        permit.check(_picture(folder, phase), Kind.PICTURE)
    permit.check(folder / _FIGURES, Kind.JSON)


def _picture(folder: Path, phase: str) -> Path:
    return folder / f"explain-{phase}.png"


def write(folder: Path, rows: Sequence[Explained], translator: Translator) -> list[Path]:
    """A picture for each phase and explain.json in a folder; returns the files."""
    written = []
    for phase in dict.fromkeys(row.phase for row in rows):
        path = _picture(folder, phase)
        _draw(path, phase, [row for row in rows if row.phase == phase], translator.name)
        written.append(path)
    content = {
        "notice": NOTICE,
        "model": translator.name,
        "weights_sha256": translator.weights_sha256,
        "units": "model units: counts from 0 to the phase's scale are -1 to 1",
        "slices": [row.figures() for row in rows],
    }
    with appearing(folder / _FIGURES) as part:
        part.write_text(json.dumps(content, indent=1) + "\n")
    return [*written, folder / _FIGURES]


def _draw(path: Path, phase: str, rows: Sequence[Explained], model: str) -> None:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from spectac_fast.evaluate.figures import colours

    columns = _columns(rows)
    limit = max(_largest(row, tile) for row in rows for tile in (row.shares[0], _beside(row)))
    top = max((_largest(row, row.attention) for row in rows if row.attention is not None), default=1.0)
    scales = {
        "counts": (colours.perfusion(), 0.0, 100.0, "% of the phase's scale"),
        "share": (colours.difference(), -limit, limit, "share of the outlined mean, % a pixel"),
        "attention": (colours.perfusion(), 0.0, top, "times an even share"),
    }
    with mpl.rc_context(STYLE):
        width, height = 0.75 + _TILE_IN * len(columns), 1.55 + (_TILE_IN + 0.06) * len(rows)
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        title = f"What corrected counts are made from: {phase}"
        figure.text(0.62 / width, 1 - 0.14 / height, title, va="top", fontsize=11.5, weight="bold")
        axes = figure.subplots(
            len(rows),
            len(columns),
            squeeze=False,
            gridspec_kw={
                "left": 0.62 / width, "right": 1 - 0.06 / width, "top": 1 - 0.62 / height, "bottom": 0.93 / height,
                "wspace": 0.035, "hspace": 0.035,
            },
        )  # fmt: skip
        for row, line in zip(rows, axes):
            for (head, scale, tile), place in zip(_tiles(row, columns), line):
                cmap, low, high, _ = scales[scale]
                _show(place, tile, row, cmap, low, high)
                if row is rows[0]:
                    place.set_title(head, fontsize=9, pad=4)
            line[0].set_ylabel(f"{row.plane}, slice {row.slice}\n{PLANE_NAMES[row.plane]}", fontsize=8.5)
        kinds = [scale for _, scale, _ in _tiles(rows[0], columns)]
        for kind in dict.fromkeys(kinds):
            own = [axes[-1, k].get_position() for k, of in enumerate(kinds) if of == kind]
            _bar(figure, own[0].x0, own[-1].x1, *scales[kind])
        note = (
            f"Explained: the mean of what {model} corrects within the blue outline, by integrated gradients from no "
            f"counts to this slice. Central {VIEW_MM:.0f} mm. Research software: not for diagnosis."
        )
        figure.text(0.62 / width, 0.07 / height, note, va="bottom", fontsize=7, color="#6b6b73")
        with appearing(path) as part:
            figure.savefig(part, dpi=DPI, format="png", metadata={"Software": PROGRAM})


def _columns(rows: Sequence[Explained]) -> list[str]:
    """The heads of what there is to show: not every model sees neighbours or has attention."""
    without = set()
    if all(len(row.explanation.attribution) == 1 for row in rows):
        without.add(_HEADS[3])
    if all(row.attention is None for row in rows):
        without.add(_HEADS[4])
    return [head for head in _HEADS if head not in without]


def _tiles(row: Explained, columns: Sequence[str]) -> list[tuple[str, str, NDArray[np.floating]]]:
    """(head, scale, image) of every column."""
    counts = [50.0 * (image + 1.0) for image in (row.nc, row.explanation.image.numpy())]
    tiles = dict(zip(_HEADS, (*counts, row.shares[0], _beside(row), row.attention)))
    scales = dict(zip(_HEADS, ("counts", "counts", "share", "share", "attention")))
    return [(head, scales[head], tiles[head]) for head in columns]


def _largest(row: Explained, tile: NDArray[np.floating]) -> float:
    """The largest absolute value that is shown; never 0, which would leave a bar without an extent."""
    return float(np.abs(crop(tile, row.pixel_mm)).max()) or 1.0


def _beside(row: Explained) -> NDArray[np.float64]:
    return row.shares[1:].sum(axis=0)


def _show(
    axes: Axes, tile: NDArray[np.floating], row: Explained, cmap: str | Colormap, low: float, high: float
) -> None:
    aspect = abs(row.pixel_mm[0] / row.pixel_mm[1])
    axes.imshow(crop(tile, row.pixel_mm), cmap=cmap, vmin=low, vmax=high, interpolation="nearest", aspect=aspect)
    region = crop(row.explanation.region.numpy().astype(float), row.pixel_mm)
    axes.contour(region, levels=[0.5], colors=_OUTLINE, linewidths=0.8)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _bar(figure: Figure, left: float, right: float, cmap: str | Colormap, low: float, high: float, label: str) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import MaxNLocator

    height = figure.get_size_inches()[1]
    inset = 0.08 * (right - left)
    place = figure.add_axes((left + inset, 0.74 / height, right - left - 2 * inset, 0.1 / height))
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), cmap), cax=place, orientation="horizontal")
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])
    bar.update_ticks()
    bar.ax.tick_params(length=2, width=0.6, pad=2, labelsize=8)
    bar.set_label(label, fontsize=8.5, labelpad=3)
