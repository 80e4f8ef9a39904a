"""One phase of one patient, corrected by the rows of a table."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from spectac_fast.correct.agreement import agreed
from spectac_fast.data.lattice import Lattice
from spectac_fast.data.neighbours import neighbours
from spectac_fast.data.phantom.heart import Axes
from spectac_fast.data.phantom.planes import cuts
from spectac_fast.data.scale import to_counts, to_model
from spectac_fast.data.seeds import stable_seed
from spectac_fast.data.terms import PLANES
from spectac_fast.errors import InputError, SpectacError

if TYPE_CHECKING:
    from spectac_fast.data.cohort import Cohort
    from spectac_fast.evaluate.variants import Row


class Phase:
    """The planes of one phase of a cohort's patient: `nc` and `ac`, {plane: counts}, the phase's `scale`, `spacing_mm`.

    seed: of the noise of its slices. Rows that share a model, its options and what it is given share its run.
    Raises InputError where NC or AC is not finite.
    """

    def __init__(self, cohort: Cohort, index: int, phase: str, seed: int) -> None:
        self.case_seed, self.phase = cohort.cases[index]["seed"], phase
        self.scale, self.spacing_mm = cohort.scale(index, phase), cohort.spacing_mm
        self.nc, self.ac = {}, {}
        for plane in PLANES:
            nc, ac = cohort.pair(index, phase, plane)
            if not (np.isfinite(nc).all() and np.isfinite(ac).all()):
                raise InputError(f"{self._where(plane)}: NC or AC holds values that are not finite.")
            self.nc[plane], self.ac[plane] = nc, ac
        self._seed = seed
        self._known: dict[Any, tuple[dict[str, NDArray[np.float32]], float]] = {}

    def correct(self, row: Row) -> tuple[dict[str, NDArray[np.float32]], float]:
        """({plane: corrected counts}, seconds): as `correct` makes them, none below zero.

        The seconds are those of all `translate` calls, device synchronised, and of combining planes.
        Raises SpectacError where the row's values are not finite or of another shape.
        """
        counts, seconds = self._translated(row)
        start = time.perf_counter()
        stacks = self.together(counts, row.translator.gain, row.together)
        return stacks, seconds + time.perf_counter() - start

    def together(
        self, stacks: Mapping[str, NDArray[np.float32]], gain: float, groups: Sequence[tuple[str, ...]]
    ) -> dict[str, NDArray[np.float32]]:
        """Stacks of every plane with what they add to gain times NC averaged within groups of planes, as `correct` does
        (`correct.agreement`); a gain of 0 averages the stacks themselves.
        """
        nc = [self.nc[plane] for plane in PLANES]
        lattices = [_lattices(stack.shape, self.spacing_mm)[plane] for plane, stack in zip(PLANES, nc, strict=True)]
        own = [next(group for group in groups if plane in group) for plane in PLANES]
        partners = [
            [PLANES.index(other) for other in group if other != plane] for plane, group in zip(PLANES, own, strict=True)
        ]
        found = agreed([stacks[plane] for plane in PLANES], nc, gain, lattices, partners)
        return dict(zip(PLANES, found, strict=True))

    def _translated(self, row: Row) -> tuple[dict[str, NDArray[np.float32]], float]:
        """Every plane for itself."""
        key = (id(row.translator), row.given, tuple(sorted(row.options.items())))
        if key not in self._known:
            counts, seconds = {}, 0.0
            scale = self.scale * row.translator.gain
            for plane in PLANES:
                given = to_model(self.nc[plane], self.scale) if row.given == "NC" else to_model(self.ac[plane], scale)
                seeds = slice_seeds(self._seed, self.case_seed, self.phase, plane, len(given))
                raw, taken = translate(row, given, self.spacing_mm[0], seeds)
                if not np.isfinite(raw).all():
                    where = self._where(plane)
                    raise SpectacError(f"row {row.label!r} gave values that are not finite for {where}.")
                counts[plane] = to_counts(raw, scale)
                seconds += taken
            self._known[key] = counts, seconds
        return self._known[key]

    def _where(self, plane: str) -> str:
        return f"case {self.case_seed}, {self.phase} {plane}"


def slice_seeds(seed: int, case_seed: int, phase: str, plane: str, slices: int) -> torch.Tensor:
    """int64 [slices]: one seed for a series, as `correct` has it; the noise depends on the user's seed and on which
    series it is, not on the batch.
    """
    return torch.full((slices,), stable_seed(f"{seed}/{case_seed}/{phase}/{plane}"), dtype=torch.int64)


def translate(
    row: Row, nc: NDArray[np.float32], slice_mm: float, seeds: torch.Tensor
) -> tuple[NDArray[np.float32], float]:
    """One series [S, H, W] in model units -> prediction [S, H, W] in the row's own units, seconds."""
    batch = torch.from_numpy(nc)[:, None]
    beside = torch.from_numpy(neighbours(nc, slice_mm, row.translator.context_mm))
    start = time.perf_counter()
    output = row.translator.translate(batch, seeds=seeds, neighbours=beside, **row.options).to("cpu")
    seconds = time.perf_counter() - start
    if output.shape != batch.shape:
        raise SpectacError(f"row {row.label!r} returned shape {tuple(output.shape)} for {tuple(batch.shape)}.")
    return output[:, 0].float().numpy(), seconds


def _lattices(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> dict[str, Lattice]:
    """Where the planes of a phantom lie to each other: about one centre, along the axes of the heart."""
    long, up = np.eye(3)[:2]
    planes = cuts(Axes(long, up, np.cross(up, long), np.zeros(3)))
    return {
        plane: Lattice.about(cut.centre, np.array(spacing_mm)[:, None] * [cut.frames, cut.down, cut.right], shape)
        for plane, cut in planes.items()
    }
