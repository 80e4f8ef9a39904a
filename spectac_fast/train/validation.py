"""A quick look at unseen patients during training: RMSE of one evaluation against the rows that need no network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from spectac_fast.cohort.paired import PairedCohort
from spectac_fast.models.facts import join_facts
from spectac_fast.terms import IDEAL
from spectac_fast.train.slices import SlicePairs

Translate = Callable[[Tensor], Tensor]


class Validation:
    """Per-patient RMSE in model units (pooled over a patient's voxels of all phases and planes, then averaged).

    `rmse(translate)` -> {"field", "heart", "heart_rescaled"}; the heart is the 60 mm sphere about each stack's centre,
    rescaled means after the one factor a patient that suits its counts there best, so that "heart_rescaled" of the row
    "identity" is that of NC at its best scale. Where the cohort holds IDEAL, also "ideal_field" and so on, against
    that; `rows` then holds AC's own errors to it. facts: names of those that `translate` sees behind the neighbours,
    all of them known.
    """

    def __init__(
        self,
        cohort: PairedCohort,
        cases: Sequence[int],
        gain: float,
        line: tuple[float, float],
        context: int,
        device: torch.device,
        facts: Sequence[str] = (),
    ) -> None:
        self.context, self.device = context, device
        self.targets = {"": "AC"} | ({"ideal_": IDEAL} if IDEAL in cohort.kinds else {})
        shares = dict.fromkeys(self.targets.values(), 1.0)
        self.patients = [SlicePairs(cohort, [i], gain, shares, facts) for i in cases]
        slope, offset = line
        self.rows = {
            "identity": self.rmse(lambda nc: nc[:, :1]),
            "linear": self.rmse(lambda nc: slope * nc[:, :1] + offset),
        }
        if IDEAL in cohort.kinds:
            self.rows["AC"] = self._mean([self._errors(p, p.select(np.arange(len(p)))[1]) for p in self.patients])

    def rmse(self, translate: Translate) -> dict[str, float]:
        """Mean per-patient RMSE, whole field and heart; `translate` gets slices and neighbours as channels."""
        results = []
        for patient in self.patients:
            every = np.arange(len(patient))
            beside = join_facts(patient.neighbours(every, self.context), patient.facts(every), patient.shape)
            seen = torch.cat([patient.select(every)[0], beside], dim=1)
            with torch.inference_mode():
                found = torch.cat([translate(part.to(self.device)).cpu() for part in seen.split(29)])
            results.append(self._errors(patient, found))
        return self._mean(results)

    def _errors(self, patient: SlicePairs, found: Tensor) -> dict[str, float]:
        every = np.arange(len(patient))
        heart = torch.from_numpy(patient.heart(every))[:, None]
        errors = {}
        for prefix, kind in self.targets.items():
            wanted = patient.select(every, targets=kind)[1].double()
            squared = (found - wanted).square()
            errors[f"{prefix}field"] = float(squared.mean().sqrt())
            errors[f"{prefix}heart"] = float(squared[heart].mean().sqrt())
            errors[f"{prefix}heart_rescaled"] = _rescaled_rmse(found[heart].double() + 1.0, wanted[heart] + 1.0)
        return errors

    @staticmethod
    def _mean(results: Sequence[dict[str, float]]) -> dict[str, float]:
        return {key: float(np.mean([errors[key] for errors in results])) for key in results[0]}

    def scores(self, translate: Translate) -> dict[str, float]:
        """`rmse` with the ratios that the project's goals are stated in: to the linear row, and after one factor to NC
        after one factor.
        """
        found = self.rmse(translate)
        ratios = {}
        for key, value in found.items():
            name, row = ("nc", "identity") if key.endswith("rescaled") else ("linear", "linear")
            ratios[f"{key}_over_{name}"] = round(value / self.rows[row][key], 4)
        return {key: round(value, 5) for key, value in found.items()} | ratios


def _rescaled_rmse(found: Tensor, wanted: Tensor) -> float:
    """Root mean square of what the best factor for some counts leaves of their error."""
    square = float(found @ found)
    factor = float(found @ wanted) / square if square else 1.0
    return float((factor * found - wanted).square().mean().sqrt())
