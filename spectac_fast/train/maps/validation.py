"""A quick look at unseen patients while a network of attenuation maps is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.cohort.map_cohort import MapCohort
from spectac_fast.models.mumap import MU_UNIT, mu_of, units_of
from spectac_fast.reconstruct.maps import BODY_MU, contour_from_nc
from spectac_fast.terms import PHASES
from spectac_fast.train.maps.paths import Paths
from spectac_fast.train.maps.slices import MapSlices

Translate = Callable[[Tensor], Tensor]
# More than lung; the body is where a true map exceeds it.
_BODY = 0.02


class MapValidation:
    """Errors of maps, means over patients and phases.

    "nmae": mean absolute error of mu in the body over the largest true mu of the patient; "heart_nmae": the same within
    60 mm of the ventricle; "survival": mean relative error, in the heart, of the share of photons that the views of
    180 degrees see, by which AC multiplies counts. `rows`: those of the body's outline filled with 0.13/cm ("uniform")
    and of a CT's map ("ct").
    """

    def __init__(
        self, cohort: MapCohort | JoinedCohort, cases: Sequence[int], context: int, device: torch.device
    ) -> None:
        self.slices, self.context, self.device = MapSlices(cohort, cases), context, device
        self.paths = Paths(self.slices.shape[0], self.slices.pixel_mm, views=32)
        self.rows = {
            "uniform": self.scores(lambda seen: units_of(BODY_MU * contour_from_nc(seen[:, :1]))),
            "ct": self._mean([self._errors(case, phase, self._ct(case)) for case in cases for phase in PHASES]),
        }

    def scores(self, translate: Translate) -> dict[str, float]:
        """Of what gives a map in model units of what a network sees of slices."""
        found = []
        for case in self.slices.cases:
            for phase in PHASES:
                seen, _, _ = self.slices.stack(case, phase, self.context)
                with torch.inference_mode():
                    made = torch.cat([translate(part.to(self.device)).cpu() for part in seen.split(16)])
                found.append(self._errors(case, phase, mu_of(made.float()).clamp_min(0)))
        return self._mean(found)

    def _ct(self, case: int) -> Tensor:
        return torch.from_numpy(self.slices.cohort.volume(case, "MU_CT").astype(np.float32))[:, None]

    def _errors(self, case: int, phase: str, mu: Tensor) -> dict[str, float]:
        _, units, heart = self.slices.stack(case, phase, 0)
        true = mu_of(units)
        error, most = (mu - true).abs(), float(true.max()) or MU_UNIT
        survival = self.paths.error(mu, true, heart).abs()
        return {
            "nmae": float(error[true > _BODY].mean()) / most,
            "heart_nmae": float(error[heart > 0.5].mean()) / most,
            "survival": float(survival[heart > 0.5].mean()),
        }

    @staticmethod
    def _mean(results: Sequence[dict[str, float]]) -> dict[str, float]:
        return {key: round(float(np.mean([errors[key] for errors in results])), 5) for key in results[0]}
