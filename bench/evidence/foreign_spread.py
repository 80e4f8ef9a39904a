"""The spread of a model's samples of a series, for the benchmark of foreign input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from spectac_fast.data.facts import NOTHING_KNOWN, StudyFacts
from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.seeds import stable_seed
from spectac_fast.data.spread import central_slices, heart_spread
from spectac_fast.models.translator import told

if TYPE_CHECKING:
    from spectac_fast.models.translator import SamplingTranslator

# Of each slice that is looked at: enough to see what a series has, few enough to draw for hundreds of them.
SAMPLES = 4


def spread_of(
    model: SamplingTranslator,
    stack: NDArray[np.floating],
    spacing_mm: Sequence[float],
    key: str,
    facts: StudyFacts = NOTHING_KNOWN,
) -> float:
    """`heart_spread` of a series in model units, as `spectac correct --uncertainty` would see it; key: of its noise,
    facts: what its header would say.
    """
    taken = central_slices(len(stack), spacing_mm[0])
    given = np.asarray(stack, np.float32)
    beside = neighbours(given, spacing_mm[0], model.context_mm)[taken]
    seeds = torch.full((len(taken),), stable_seed(key), dtype=torch.int64)
    given_slices, around = torch.from_numpy(given[taken, None]), torch.from_numpy(beside)
    known = told(model, facts, len(beside))
    _, std = model.moments(given_slices, seeds, samples=SAMPLES, neighbours=around, **known)
    return heart_spread(std[:, 0].cpu().numpy(), stack.shape, spacing_mm)
