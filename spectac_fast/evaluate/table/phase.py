"""One phase of one patient, corrected by the rows of a table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectac_fast.cohort.cohort import reference_plane
from spectac_fast.cohort.paired import PairedCohort, facts_of_patient, phases_of
from spectac_fast.correct.agreement import agreed
from spectac_fast.data.geometry.lattice import Lattice
from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.geometry.resample import InPlane
from spectac_fast.data.scale import count_scale, heart_mask, to_counts, to_model
from spectac_fast.data.seeds import stable_seed
from spectac_fast.errors import InputError, SpectacError
from spectac_fast.evaluate.regional.known import key_of
from spectac_fast.evaluate.regional.segments import segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.models.translator import told
from spectac_fast.reconstruct.grid import Axes
from spectac_fast.reconstruct.planes import cuts

if TYPE_CHECKING:
    from spectac_fast.evaluate.table.variants import Row

Planes = dict[str | None, NDArray[np.float32]]


class Phase:
    """The planes of one phase of a cohort's patient: `nc` and `ac`, {plane: counts}, the phase's `scale`, `spacing_mm`,
    and `facts`.

    seed: of the noise of its slices. Models are told what is known of the case, unless a row's options say otherwise
    ("facts"). Rows that share a model, its options and what it is given share its run.
    Raises InputError where NC or AC is not finite.
    """

    def __init__(self, cohort: PairedCohort, index: int, phase: str | None, seed: int) -> None:
        case = cohort.cases[index]
        self.key, self.phase = key_of(case), phase
        self._name = f"case {case['seed']}" if "seed" in case else f"patient {index + 1}"
        self.scale, self.spacing_mm = cohort.scale(index, phase), cohort.spacing_mm
        self.reference = reference_plane(cohort.series(index), phase)
        self.nc: Planes = {}
        self.ac: Planes = {}
        for plane in phases_of(cohort, index)[phase]:
            nc, ac = cohort.pair(index, phase, plane)
            if not (np.isfinite(nc).all() and np.isfinite(ac).all()):
                raise InputError(f"{self._where(plane)}: NC or AC holds values that are not finite.")
            self.nc[plane], self.ac[plane] = nc, ac
        self._seed, self._lv, self.facts = seed, case.get("lv", {}), facts_of_patient(cohort, index)
        self._views: dict[float, _View] = {}
        self._known: dict[Any, tuple[Planes, float]] = {}

    @property
    def hearts(self) -> dict[str | None, NDArray[np.bool_]]:
        """The heart region of every plane."""
        return {plane: heart_mask(nc.shape, self.spacing_mm) for plane, nc in self.nc.items()}

    def spacing_of(self, plane: str | None) -> tuple[float, float, float]:
        """(slice, row, column) spacing of a plane, mm."""
        return self.spacing_mm

    def segments(self, stacks: Planes) -> NDArray[np.float64]:
        """The 17 segments of the short-axis stack in % of maximum, by the known ventricle of a synthetic patient."""
        return segment_means(stacks["SA"], Ventricle.of_phantom(self._lv), self.spacing_mm)

    def correct(self, row: Row) -> tuple[Planes, float]:
        """({plane: corrected counts}, seconds): as `correct` makes them, none below zero.

        The seconds are those of all `translate` calls, device synchronised, of combining planes and of going back to
        the patient's pixel size.
        Raises SpectacError where the row's values are not finite or of another shape, InputError for slices that its
        model cannot take.
        """
        counts, seconds = self._translated(row)
        start = time.perf_counter()
        view = self._view(row)
        stacks = _averaged(counts, view.nc, view.spacing_mm, row.translator.gain, row.together)
        return view.carried_back(stacks, row), seconds + time.perf_counter() - start

    def together(self, stacks: Planes, gain: float, groups: Sequence[tuple[str, ...]]) -> Planes:
        """Stacks of every plane with what they add to gain times NC averaged within groups of planes, as `correct` does
        (`correct.agreement`); a gain of 0 averages the stacks themselves.
        """
        return _averaged(stacks, self.nc, self.spacing_mm, gain, groups)

    def warm_up(self, row: Row) -> None:
        """One series through the row's model, so that what it does once is in no time."""
        self._translate(row, next(iter(self.nc)))

    def _translated(self, row: Row) -> tuple[Planes, float]:
        """Every plane for itself, on the model's pixels."""
        key = (id(row.translator), row.given, row.wanted, tuple(sorted(row.options.items())))
        if key not in self._known:
            view, counts, seconds = self._view(row), {}, 0.0
            for plane in self.nc:
                raw, taken = self._translate(row, plane)
                if not np.isfinite(raw).all():
                    raise SpectacError(f"row {row.label!r} gave values that are not finite for {self._where(plane)}.")
                counts[plane] = to_counts(raw, view.scale * row.translator.gain)
                seconds += taken
            self._known[key] = counts, seconds
        return self._known[key]

    def _translate(self, row: Row, plane: str | None) -> tuple[NDArray[np.float32], float]:
        view = self._view(row)
        _, seen, scale, _ = view.given(row)
        seeds = slice_seeds(self._seed, self.key, self.phase, plane, len(seen[plane]))
        known = self.facts.but(row.wanted)
        given = {} if "facts" in row.options else told(row.translator, known, len(seeds))
        return translate(row, to_model(seen[plane], scale), self.spacing_mm[0], seeds, **given)

    def _view(self, row: Row) -> _View:
        model_mm = row.translator.pixel_mm
        if model_mm not in self._views:
            self._views[model_mm] = _View(self, model_mm)
        return self._views[model_mm]

    def _where(self, plane: str | None) -> str:
        return f"{self._name}, {' '.join(word for word in (self.phase, plane) if word) or 'its stack'}"


class _View:
    """The planes of a phase at a model's pixel size, and the scale that their NC has there."""

    def __init__(self, phase: Phase, model_mm: float) -> None:
        self._own = phase.nc, phase.ac
        self.grid = InPlane(next(iter(phase.nc.values())).shape[1:], phase.spacing_mm[1:], model_mm)
        self.spacing_mm = (phase.spacing_mm[0], *self.grid.pixel_mm)
        self.nc, self.ac = (
            {plane: self.grid.to_model(stack) for plane, stack in planes.items()} for planes in (phase.nc, phase.ac)
        )
        same = self.grid.unchanged
        self.scale = phase.scale if same else count_scale(self.nc[phase.reference], self.spacing_mm)

    def given(self, row: Row) -> tuple[Planes, Planes, float, float]:
        """What the row's model is given: counts as they are, counts on its pixels, their scale, and AC over them."""
        gain = row.translator.gain
        if row.given == "NC":
            return self._own[0], self.nc, self.scale, gain
        return self._own[1], self.ac, self.scale * gain, 1.0

    def carried_back(self, counts: Planes, row: Row) -> Planes:
        """Corrected counts on the patient's own pixels."""
        own, seen, scale, gain = self.given(row)
        return {
            plane: self.grid.carry_back(own[plane], seen[plane], stack, scale=scale, gain=gain)
            for plane, stack in counts.items()
        }


def slice_seeds(seed: int, patient: int | str, phase: str | None, plane: str | None, slices: int) -> torch.Tensor:
    """int64 [slices]: one seed for a series, as `correct` has it; the noise depends on the user's seed and on which
    series it is, not on the batch. patient: of `key_of`.
    """
    return torch.full((slices,), stable_seed(f"{seed}/{patient}/{phase}/{plane}"), dtype=torch.int64)


def translate(
    row: Row, nc: NDArray[np.float32], slice_mm: float, seeds: torch.Tensor, **given: torch.Tensor
) -> tuple[NDArray[np.float32], float]:
    """One series [S, H, W] in model units -> prediction [S, H, W] in the row's own units, seconds. given: what else is
    known of it, as `Translator.translate` takes it.
    """
    batch = torch.from_numpy(nc)[:, None]
    beside = torch.from_numpy(neighbours(nc, slice_mm, row.translator.context_mm))
    start = time.perf_counter()
    try:
        output = row.translator.translate(batch, seeds=seeds, neighbours=beside, **given, **row.options).to("cpu")
    except ValueError as error:
        size = f"{nc.shape[1]} x {nc.shape[2]}"
        raise InputError(f"row {row.label!r} cannot take slices of {size} pixels: {error}") from error
    seconds = time.perf_counter() - start
    if output.shape != batch.shape:
        raise SpectacError(f"row {row.label!r} returned shape {tuple(output.shape)} for {tuple(batch.shape)}.")
    return output[:, 0].float().numpy(), seconds


def _averaged(
    stacks: Planes, nc: Planes, spacing_mm: tuple[float, float, float], gain: float, groups: Sequence[tuple[str, ...]]
) -> Planes:
    """See `Phase.together`; nc and spacing_mm: of the voxels of the stacks."""
    planes = list(nc)
    partners = [
        [k for k, other in enumerate(planes) if other != plane and any({plane, other} <= {*group} for group in groups)]
        for plane in planes
    ]
    # How planes lie to each other is asked only where it is known.
    if not any(partners):
        return stacks
    lattices = [_lattices(nc[plane].shape, spacing_mm)[plane] for plane in planes]
    found = agreed(
        [stacks[plane] for plane in planes], list(nc.values()), gain, [1.0] * len(planes), lattices, partners
    )
    return dict(zip(planes, found, strict=True))


def _lattices(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> dict[str | None, Lattice]:
    """Where the planes of a phantom lie to each other: about one centre, along the axes of the heart."""
    long, up = np.eye(3)[:2]
    planes = cuts(Axes(long, up, np.cross(up, long), np.zeros(3)))
    return {
        plane: Lattice.about(cut.centre, np.array(spacing_mm)[:, None] * [cut.frames, cut.down, cut.right], shape)
        for plane, cut in planes.items()
    }
