"""What a network is shown of a series: a field as wide as those it was trained on, whatever the file holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectac_fast.data.geometry.field import Field, field_of
from spectac_fast.data.geometry.resample import InPlane
from spectac_fast.data.scale import count_scale
from spectac_fast.errors import InputError
from spectac_fast.formats.series import Series

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator

# Of the trained field: without surroundings less than that is refused (zeros around cost 2 to 5 % there), and with
# them what is continued is said from there on.
_ENOUGH, _SAID = 0.75, 0.8
# Headers round pixel sizes.
_ROUNDED_MM = 1.0


@dataclass(frozen=True, eq=False)
class View:
    """counts: float32 [slices, rows, columns] on the model's grid, widened and continued where the series ends.

    part: where the model's grid of the series itself lies in it. inside: bool [slices, rows, columns] of the series'
    own grid, where zeros were put around it; None where it fills its grid.
    """

    counts: NDArray[np.float32]
    part: tuple[slice, slice, slice]
    inside: NDArray[np.bool_] | None = None

    def own(self, stack: NDArray[np.float32]) -> NDArray[np.float32]:
        """The part of a stack [slices, rows, columns] like `counts` that the series itself fills."""
        return stack[self.part]

    def bounded(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values on the series' own grid with zeros where it has them put around it."""
        return values if self.inside is None else np.where(self.inside, values, np.float32(0))


def trained_mm(translator: Translator) -> float | None:
    """The width of the field that a network was trained on, mm; None where it does not matter."""
    pixels = getattr(translator, "field_px", None)
    return min(pixels) * translator.pixel_mm if pixels else None


def field_needed(translator: Translator, *, alone: bool) -> float:
    """The least field that a model corrects rightly, mm. alone: not averaged with the other two planes."""
    surroundings = getattr(translator, "surroundings", None)
    if surroundings:
        return surroundings.field_mm[1 if alone else 0]
    return _ENOUGH * (trained_mm(translator) or 0.0)


def checked_field(series: Series, translator: Translator, *, alone: bool = False) -> Field:
    """The field of a series; InputError if it is too small for the model."""
    whole = Field(min(n * mm for n, mm in zip(series.counts.shape[1:], series.pixel_mm)))
    if trained_mm(translator) is None:
        return whole
    try:
        scale = count_scale(series.counts, series.spacing_mm)
    except ValueError:
        return whole
    field, needed = field_of(series.counts, series.pixel_mm, scale, series.plane), field_needed(translator, alone=alone)
    if field.across_mm < needed - _ROUNDED_MM:
        planes = "of one plane alone" if alone else "about the heart"
        raise InputError(
            f"{series.path}: expected a field {planes} of at least {needed:.0f} mm, found {field.across_mm:.0f} mm; "
            "what is missing around it decides how much was attenuated."
        )
    return field


def field_warning(series: Series, field: Field, translator: Translator) -> list[str]:
    """A sentence where much of what the network sees is not in the file."""
    trained = trained_mm(translator)
    if trained is None or field.across_mm >= _SAID * trained:
        return []
    around = "zeros" if field.inside is not None else "nothing"
    taken = "patients who look alike in it" if getattr(translator, "surroundings", None) else "nowhere"
    return [
        f"{series.path}: expected a field of {trained:.0f} mm, found {field.across_mm:.0f} mm with {around} around; "
        f"what lies there is taken from {taken}, and its correction is less sure."
    ]


def view_of(
    series: Series, field: Field, grid: InPlane, stack: NDArray[np.float32], scale: float, translator: Translator
) -> View:
    """A series as the model is shown it.

    grid: the way to the model's pixels; stack: counts there. scale: of the phase.
    """
    everything = (slice(None), slice(None), slice(None))
    surroundings = getattr(translator, "surroundings", None)
    known = surroundings.planes.get(series.plane) if surroundings else None
    shape, least = stack.shape[1:], getattr(translator, "field_px", None) or (0, 0)
    missing = [max(wanted - n, 0) for wanted, n in zip(least, shape)]
    held = _held(series.counts)
    ends = (held.start, len(stack) - held.stop)
    if known is None or not (any(missing) or any(ends) or field.inside is not None):
        return View(stack, everything)
    before = [extra // 2 for extra in missing]
    sides = [(first, extra - first) for first, extra in zip(before, missing)]
    inside = np.ones(series.counts.shape[1:], bool) if field.inside is None else field.inside
    # Pixels that the zeros around went into are not known.
    there = grid.to_model(inside[None].astype(np.float32))[0] > 0.999
    axes = [
        (np.arange(n + sum(side)) - side[0] - (n - 1) / 2) * mm
        for n, side, mm in zip(stack.shape, ((0, 0), *sides), (abs(series.slice_mm), *grid.pixel_mm))
    ]
    continued = known.continued(
        np.pad(stack[held], ((0, 0), *sides)) / np.float32(scale),
        np.pad(there, sides),
        (axes[0][held], *axes[1:]),
        (abs(series.slice_mm), *grid.pixel_mm),
    )
    # Slices of zeros at the ends are none: a neighbour that is not there is the last one that is.
    counts = np.pad(continued * np.float32(scale), (ends, (0, 0), (0, 0)), mode="edge")
    part = (slice(None), *(slice(first, first + n) for first, n in zip(before, shape)))
    bounds = None
    if field.inside is not None or any(ends):
        bounds = np.zeros(series.counts.shape, bool)
        bounds[held] = inside
    return View(counts, part, bounds)


def _held(counts: NDArray[np.float32]) -> slice:
    """From the first to the last slice that holds any counts."""
    numbers = np.flatnonzero(counts.any(axis=(1, 2)))
    return slice(int(numbers[0]), int(numbers[-1]) + 1)
