"""A quick look at unseen patients during training: RMSE of one evaluation against the rows that need no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from spectac_fast.cohort.paired import PairedCohort
from spectac_fast.train.slices import SlicePairs

Translate = Callable[[Tensor], Tensor]


class Validation:
    """Per-patient RMSE in model units (pooled over a patient's voxels of all phases and planes, then averaged).

    `rmse(translate)` -> {"field": ..., "heart": ...}; the heart is the 60 mm sphere about each stack's centre.
    """

    def __init__(
        self,
        cohort: PairedCohort,
        cases: Sequence[int],
        gain: float,
        line: tuple[float, float],
        context: int,
        device: torch.device,
    ) -> None:
        self.context, self.device = context, device
        self.patients = [SlicePairs(cohort, [i], gain) for i in cases]
        slope, offset = line
        self.rows = {
            "identity": self.rmse(lambda nc: nc[:, :1]),
            "linear": self.rmse(lambda nc: slope * nc[:, :1] + offset),
        }

    def rmse(self, translate: Translate) -> dict[str, float]:
        """Mean per-patient RMSE, whole field and heart; `translate` gets slices and neighbours as channels."""
        results = []
        for patient in self.patients:
            every = np.arange(len(patient))
            nc, ac = patient.select(every)
            seen = torch.cat([nc, patient.neighbours(every, self.context)], dim=1)
            with torch.inference_mode():
                found = torch.cat([translate(part.to(self.device)).cpu() for part in seen.split(29)])
            heart = torch.from_numpy(patient.heart(every))[:, None]
            squared = (found - ac).double().square()
            results.append([float(squared.mean().sqrt()), float(squared[heart].mean().sqrt())])
        field, heart = np.mean(results, axis=0)
        return {"field": float(field), "heart": float(heart)}

    def against_linear(self, translate: Translate) -> dict[str, float]:
        """`rmse` with the ratios to the linear row that the project's goals are stated in."""
        found = self.rmse(translate)
        linear = self.rows["linear"]
        return {
            **{key: round(value, 5) for key, value in found.items()},
            **{f"{key}_over_linear": round(value / linear[key], 4) for key, value in found.items()},
        }
