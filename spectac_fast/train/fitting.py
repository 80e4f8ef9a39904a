"""A solver fitted to a trained bridge and kept in its weight file (the arithmetic is diffusion/fitted.py's)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.cohort.paired import PairedCohort
from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.scale import to_model
from spectac_fast.diffusion.fitted import fit_table, long_path, stored
from spectac_fast.diffusion.solvers import StepTable, solver_table
from spectac_fast.models.translators.bridge import FITTED, BridgeTranslator

# Slices from the middle of a stack, in turn, so that a table does not know one depth alone.
_OFFSETS = (0, -4, 4)


def fitted_table(
    translator: BridgeTranslator, nc: Tensor, beside: Tensor, seeds: Tensor, evaluations: int, steps: int = 200
) -> StepTable:
    """DBIM of second order in so many evaluations, its numbers fitted to its own path of about `steps`.

    nc: float32 [B, 1, H, W] in model units. beside: what lies around them, as `translate` takes it. seeds: int64 [B].
    """
    model, fast = translator.model, translator.engine
    table = solver_table(model.bridge, evaluations)
    images, seeds = translator.seen(nc, seeds, beside)
    with torch.no_grad():
        end, context = model.start(images)
    path = long_path(fast, model.bridge, end, table.t, seeds=seeds, context=context, steps=steps)
    return fit_table(fast, end, table, path, context=context)


def central_nc(cohort: PairedCohort, translator: BridgeTranslator, cases: Sequence[int]) -> tuple[Tensor, Tensor]:
    """NC of a slice near the middle of every stack of some patients, and what lies beside it, as `translate` takes."""
    slices: list[NDArray[np.float32]] = []
    around: list[NDArray[np.float32]] = []
    for case in cases:
        for phase, plane in cohort.series(case):
            given = to_model(cohort.pair(case, phase, plane)[0], cohort.scale(case, phase))
            beside = neighbours(given, cohort.spacing_mm[0], translator.context_mm)
            frame = np.clip(len(given) // 2 + _OFFSETS[len(slices) % len(_OFFSETS)], 0, len(given) - 1)
            slices.append(given[frame])
            around.append(beside[frame])
    return torch.from_numpy(np.stack(slices)[:, None]), torch.from_numpy(np.stack(around))


def keep_tables(source: Path, target: Path, tables: Sequence[StepTable], facts: dict[str, Any]) -> None:
    """The weight file `source` with these tables as its solver, written to `target`; samples have as many evaluations
    as the first. facts: for the card, what they were fitted to."""
    tensors, header = load_weights(source)
    config = header["config"]
    defaults = config["defaults"] | {"solver": FITTED, "sample_steps": len(tables[0])}
    config |= {"defaults": defaults, FITTED: [stored(table) for table in tables]}
    save_weights(target, tensors, header["model"], config, header["card"] | {FITTED: facts})
