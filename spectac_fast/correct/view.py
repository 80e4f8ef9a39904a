"""What a network is shown of a series: a field as wide as those it was trained on, whatever the file holds of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.correct.scales import PLANES
from spectac_fast.data.geometry.around import Stack
from spectac_fast.data.geometry.lattice import Lattice
from spectac_fast.data.geometry.margin import continued

if TYPE_CHECKING:
    from spectac_fast.data.geometry.around import Filling
    from spectac_fast.data.geometry.field import Field
    from spectac_fast.data.geometry.resample import InPlane
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator

# Of a pixel of the model must lie so much in the field for it to be known.
_KNOWN = 0.999
_EVERYTHING = (slice(None), slice(None), slice(None))
# Directions of slices, rows' numbers and columns' numbers along (long axis to the base, up, lateral), as
# `reconstruct.planes.cuts` has them.
_AXES = {
    "SA": np.array([[-1, 0, 0], [0, -1, 0], [0, 0, 1]]),
    "VLA": np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]]),
    "HLA": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}


@dataclass(frozen=True, eq=False)
class View:
    """A series as a model sees it.

    source: the counts that are corrected, on the source's grid. counts: the same on the model's grid, float32 [slices,
    rows, columns], widened to the field that the model was trained on. known: bool, alike, False outside of the
    series' field; None where nothing is. part: where the series' own grid lies in it. lattice: where its voxels lie.
    """

    source: NDArray[np.float32]
    counts: NDArray[np.float32]
    known: NDArray[np.bool_] | None
    part: tuple[slice, ...]
    lattice: Lattice

    def own(self, stack: NDArray) -> NDArray:
        """The part of a stack [slices, rows, columns] like `counts` that the series itself has."""
        return stack[self.part]


def view_of(series: Series, field: Field, grid: InPlane, translator: Translator) -> View:
    """A series whose outside is continued as `margin.continued` does; widened where surroundings can fill it in."""
    source = continued(series, field)
    counts = grid.to_model(source)
    shape = counts.shape
    lattice = Lattice.of_series(series, grid, shape[1:])
    known = np.ones(shape, bool)
    if field.inside is not None:
        known = grid.to_model(field.inside.astype(np.float32)) > _KNOWN
    sides = [(0, 0), (0, 0), (0, 0)]
    if field.ends_within and _surroundings(translator, series.plane):
        missing = [max(least - n, 0) for least, n in zip(getattr(translator, "field_px", (0, 0)), shape[1:])]
        sides = [(0, 0), *((extra // 2, extra - extra // 2) for extra in missing)]
    part = tuple(slice(before, before + n) for (before, _), n in zip(sides, shape))
    counts, known = np.pad(counts, sides), np.pad(known, sides)
    before = np.array([first for first, _ in sides])
    lattice = Lattice(counts.shape, lattice.first - before @ lattice.steps, lattice.steps)
    return View(source, counts, None if known.all() else known, part, lattice)


def filled(
    series: Sequence[Series],
    views: Sequence[View],
    scales: Sequence[float],
    partners: Sequence[Sequence[int]],
    translator: Translator,
) -> list[View]:
    """The views with what lies outside of their fields filled in, given all that planes of one volume show."""
    found = list(views)
    done: dict[frozenset[int], dict[int, NDArray[np.float32]]] = {}
    for k, view in enumerate(views):
        surroundings = _surroundings(translator, series[k].plane)
        if view.known is None or surroundings is None:
            continue
        group = frozenset((k, *(other for other in partners[k] if series[other].plane in _AXES)))
        if group not in done:
            numbers = sorted(group, key=lambda n: PLANES.index(series[n].plane))
            lead = numbers[0]
            stacks = [_stack(views[n], scales[n], views[lead].lattice, series[lead].plane) for n in numbers]
            done[group] = dict(zip(numbers, surroundings.filled(stacks)))
        found[k] = replace(view, counts=done[group][k] * np.float32(scales[k]))
    return found


def whole(series: Sequence[Series], scale: float) -> list[Stack]:
    """The series of one volume, SA first, as a population's surroundings are made of them."""
    lattices = [Lattice.of_voxels(one) for one in series]
    views = [View(one.counts, one.counts, None, _EVERYTHING, lattice) for one, lattice in zip(series, lattices)]
    return [_stack(view, scale, lattices[0], series[0].plane) for view in views]


def _surroundings(translator: Translator, plane: str) -> Filling | None:
    return getattr(translator, "surroundings", None) if plane in _AXES else None


def _stack(view: View, scale: float, lead: Lattice, plane: str) -> Stack:
    """A view as surroundings see it, about the middle of the lattice of a series of that plane."""
    directions = lead.steps / np.linalg.norm(lead.steps, axis=1)[:, None]
    axes = _AXES[plane].T @ directions
    middle = lead.first + (np.array(lead.shape) - 1) / 2 @ lead.steps
    known = np.ones(view.counts.shape, bool) if view.known is None else view.known
    first, steps = (view.lattice.first - middle) @ axes.T, view.lattice.steps @ axes.T
    return Stack(view.counts / np.float32(scale), known, first, steps)
