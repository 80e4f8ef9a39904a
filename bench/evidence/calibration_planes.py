"""Errors and deviations of what `spectac correct` writes: the planes of a phase combined."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.scale import heart_mask, to_model
from spectac_fast.evaluate.calibration import Voxels, deviation
from spectac_fast.evaluate.table.phase import Phase, slice_seeds
from spectac_fast.evaluate.table.variants import COMBINED, SEPARATE, Row
from spectac_fast.models.translator import told
from spectac_fast.terms import PLANES

if TYPE_CHECKING:
    from spectac_fast.cohort.cohort import Cohort
    from spectac_fast.models.translator import SamplingTranslator


class Planes:
    """The heart region of one phase of a patient in all three planes: the default images, and the samples' spread."""

    def __init__(self, model: SamplingTranslator, cohort: Cohort, index: int, phase: str, samples: int) -> None:
        self._model, self._planes = model, Phase(cohort, index, phase, 0)
        self._spread = {plane: self._drawn(plane, samples) for plane in PLANES}
        # Once here, so that judging takes no evaluations: rows of one model share its run.
        self._planes.correct(Row("", model))

    def voxels(self, temperature: float, floor: float, *, combined: bool) -> Voxels:
        """Errors in model units with the deviations that are announced for them, which need no temperature any more."""
        groups = COMBINED if combined else SEPARATE
        scale = self._planes.scale * self._model.gain
        images, _ = self._planes.correct(Row("", self._model, together=groups))
        announced = {p: deviation(s, temperature, floor).astype(np.float32) for p, s in self._spread.items()}
        announced = self._planes.together(announced, 0.0, groups)
        errors, deviations = [], []
        for plane in PLANES:
            heart = heart_mask(images[plane].shape, self._planes.spacing_mm)
            errors.append((to_model(self._planes.ac[plane], scale) - to_model(images[plane], scale))[heart])
            deviations.append(announced[plane][heart])
        return Voxels(np.concatenate(errors), np.concatenate(deviations))

    def _drawn(self, plane: str, samples: int) -> NDArray[np.float32]:
        """The spread [slices, rows, columns] of a plane's samples, in model units; 0 in slices far from the heart."""
        nc, spacing = self._planes.nc[plane], self._planes.spacing_mm
        inside = np.flatnonzero(heart_mask(nc.shape, spacing).any(axis=(1, 2)))
        # The grids of the planes lie half a voxel apart, so that a voxel of one needs a slice more of another.
        part = slice(max(inside[0] - 1, 0), inside[-1] + 2)
        given = to_model(nc, self._planes.scale)
        beside = neighbours(given, spacing[0], self._model.context_mm)[part]
        seeds = slice_seeds(0, self._planes.key, self._planes.phase, plane, len(nc))[part]
        _, std = self._model.moments(
            torch.from_numpy(given[part, None]),
            seeds,
            samples=samples,
            neighbours=torch.from_numpy(beside),
            **told(self._model, self._planes.facts, len(beside)),
        )
        spread = np.zeros_like(given)
        spread[part] = std[:, 0].cpu().numpy()
        return spread
