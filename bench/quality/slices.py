"""The slices that quality is measured on, and the samplers that draw them: everything a measurement starts from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.cohort.cohort import Cohort
from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.scale import heart_mask, to_model
from spectac_fast.data.seeds import stable_seed
from spectac_fast.diffusion.bridge_sampler import BridgeSampler
from spectac_fast.diffusion.solvers import StepTable
from spectac_fast.models.translators.bridge import BridgeTranslator
from spectac_fast.terms import PLANES

PHASE = "stress"
_OFFSETS = (0, -4, 4)


@dataclass(frozen=True, eq=False)
class Slices:
    """Slices in model units: NC, what lies beside it, AC, noise seeds, heart, and which patient each belongs to.

    nc, ac: float32 [B, 1, H, W]. beside: float32 [B, neighbours, H, W]. seeds: int64 [B]. heart: bool [B, H, W].
    patient: int [B].
    """

    nc: Tensor
    beside: Tensor
    ac: Tensor
    seeds: Tensor
    heart: NDArray[np.bool_]
    patient: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.nc)


def central_slices(cohort: Cohort, translator: BridgeTranslator, cases: Iterable[int]) -> Slices:
    """A slice through the heart of each patient, of SA, VLA and HLA in turn, at three depths in turn."""
    wanted = []
    for case in cases:
        plane = PLANES[case % len(PLANES)]
        middle = len(cohort.pair(case, PHASE, plane)[0]) // 2
        wanted.append((case, plane, [middle + _OFFSETS[case // len(PLANES) % len(_OFFSETS)]]))
    return _gather(cohort, translator, wanted)


def whole_stack(cohort: Cohort, translator: BridgeTranslator, case: int, plane: str) -> Slices:
    """All slices of one plane of a patient."""
    return _gather(cohort, translator, [(case, plane, range(len(cohort.pair(case, PHASE, plane)[0])))])


def _gather(cohort: Cohort, translator: BridgeTranslator, wanted: Iterable[tuple[int, str, Iterable[int]]]) -> Slices:
    parts = []
    for case, plane, frames in wanted:
        scale, frames = cohort.scale(case, PHASE), list(frames)
        nc, ac = cohort.pair(case, PHASE, plane)
        given = to_model(nc, scale)
        beside = neighbours(given, cohort.spacing_mm[0], translator.context_mm)
        # Each slice its own: what all of a stack share is for the measurements to try.
        texts = (f"0/{cohort.cases[case]['seed']}/{PHASE}/{plane}/{frame}" for frame in range(len(nc)))
        seeds = np.array([stable_seed(text) for text in texts])
        target = to_model(ac, scale * translator.gain)
        heart, patient = heart_mask(nc.shape, cohort.spacing_mm), np.full(len(frames), case)
        own = given[frames, None], beside[frames], target[frames, None], seeds[frames], heart[frames], patient
        parts.append(own)
    nc, beside, ac, seeds, heart, patient = (np.concatenate(column) for column in zip(*parts))
    tensors = (torch.from_numpy(values) for values in (nc, beside, ac, seeds))
    return Slices(*tensors, heart, patient)


def draw(
    translator: BridgeTranslator, slices: Slices, table: StepTable, count: int, seeds: Tensor | None = None
) -> NDArray[np.float32]:
    """`count` samples of each slice, [count, B, H, W], none below zero counts, which is what `correct` writes.

    seeds: int64 [B] instead of the slices' own.
    """
    model = translator.model
    images, keys = translator.inputs(slices.nc, slices.seeds if seeds is None else seeds, slices.beside)
    with torch.no_grad():
        end, context = model.start(images)
    sampler = BridgeSampler(translator.engine, model.bridge, table, finish=model.finish, graphs=translator.graphs)
    found = sampler(end, keys, count, context=context)
    shape = tuple(slices.nc.shape[-2:])
    back = torch.stack([translator.fit.from_network(sample, shape) for sample in found])
    return back[:, :, 0].cpu().clamp(min=-1.0).numpy()
