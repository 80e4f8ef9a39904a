"""Training data of attenuation maps: transaxial slices of NC, their neighbours, and the true map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.cohort.map_cohort import MapCohort
from spectac_fast.models.mumap import compressed, level_of, units_of
from spectac_fast.terms import PHASES
from spectac_fast.train.augment import shifted
from spectac_fast.train.slices import Batch

_HEART_MM = 60.0
# Of the slices that are drawn; photons leave the heart within its own.
_OF_HEART = 0.6


class MapSlices:
    """All slices of some cases of a cohort of maps, whose volumes stay on disk.

    Model units are those of `models.mumap`. `Batch.nc` is a slice's NC, `neighbours` its NC neighbours from below to
    above and, last, the camera's field; `ac` is the true map; `heart` is 1 within 60 mm of the middle of the left
    ventricle. gain: of counts between NC and target, which a map does not have.
    """

    gain = 1.0

    def __init__(self, cohort: MapCohort | JoinedCohort, cases: Sequence[int]) -> None:
        self.cohort, self.cases = cohort, list(cases)
        self.shape, self.pixel_mm = cohort.shape, float(cohort.spacing_mm[1])
        stacks = [(case, f"NC_{phase.upper()}") for case in self.cases for phase in PHASES]
        self._levels = {of: level_of(self._counts(*of), self.pixel_mm) for of in stacks}
        self._fields = {case: self._field(case) for case in self.cases}
        self._hearts = {case: cohort.heart(case) for case in self.cases}
        depths = {case: len(cohort.volume(case, "MU")) for case in self.cases}
        self._depths = depths
        self._slices = [(*of, z) for of in stacks for z in range(depths[of[0]])]
        near = [
            abs(z - self._hearts[case][0]) * self.pixel_mm < _HEART_MM for case, _, z in self._slices
        ]  # fmt: skip
        self._near, self._far = np.flatnonzero(near), np.flatnonzero(~np.array(near))

    def __len__(self) -> int:
        return len(self._slices)

    def stack(self, case: int, phase: str, context: int) -> tuple[Tensor, Tensor, Tensor]:
        """All slices of a case: what a network sees of it [nz, 2 + 2 context, H, W], its true map, and the heart, each
        [nz, 1, H, W].
        """
        kind = f"NC_{phase.upper()}"
        every = np.arange(self._depths[case])
        parts = [self._images(case, kind, int(z), context, 1.0) for z in every]
        seen, mu, heart = torch.stack(parts).tensor_split((2 + 2 * context, 3 + 2 * context), dim=1)
        return seen, mu, 0.5 * (heart + 1.0)

    def residual_power(self) -> float:
        """Mean squared difference of NC and map over every pixel, in model units."""
        sums = np.zeros(2)
        for (case, kind), level in self._levels.items():
            mu = torch.from_numpy(self.cohort.volume(case, "MU").astype(np.float32))
            squares = (compressed(self._counts(case, kind) / level) - units_of(mu)).square()
            sums += float(squares.double().sum()), squares.numel()
        return sums[0] / sums[1]

    def batch(
        self,
        rng: np.random.Generator,
        size: int,
        shift_px: int,
        jitter: float,
        context: int = 0,
    ) -> Batch:
        """A random batch with a random shift and count factor for each slice, most of them through the heart."""
        near = rng.random(size) < _OF_HEART
        indices = np.where(near, rng.choice(self._near, size), rng.choice(self._far, size))
        factors = rng.uniform(1 - jitter, 1 + jitter, size)
        shifts = rng.integers(-shift_px, shift_px + 1, size=(size, 2))
        chosen = [self._slices[index] for index in indices]
        group = torch.stack(
            [
                shifted(self._images(case, kind, z, context, factor), int(dy), int(dx))
                for (case, kind, z), factor, (dy, dx) in zip(chosen, factors, shifts, strict=True)
            ]
        )
        nc, beside, mu, heart = (
            part.contiguous() for part in group.tensor_split((1, 2 + 2 * context, 3 + 2 * context), dim=1)
        )
        return Batch(nc, mu, 0.5 * (heart + 1.0), beside)

    def _images(self, case: int, kind: str, z: int, context: int, factor: float) -> Tensor:
        """[4 + 2 context, H, W] in model units: a slice, its neighbours, the field, the map, the heart."""
        offsets = np.array([0, *(k for k in range(-context, context + 1) if k)])
        within = (z + offsets).clip(0, self._depths[case] - 1)
        counts = torch.from_numpy(self.cohort.volume(case, kind)[within].astype(np.float32))
        nc = compressed(counts * (factor / self._levels[case, kind]))
        mu = torch.from_numpy(self.cohort.volume(case, "MU")[z].astype(np.float32))
        heart = torch.from_numpy(self._ball(case, z)).float()
        return torch.cat([nc, torch.stack([self._fields[case], units_of(mu), 2.0 * heart - 1.0])])

    def _counts(self, case: int, kind: str) -> Tensor:
        return torch.from_numpy(self.cohort.volume(case, kind).astype(np.float32))

    def _field(self, case: int) -> Tensor:
        half = self.cohort.cases[case]["field_mm"] / 2
        inside = [np.abs(np.arange(n) - (n - 1) / 2) * self.pixel_mm < half for n in self.shape]
        return 2.0 * torch.from_numpy(np.logical_and.outer(*inside)).float() - 1.0

    def _ball(self, case: int, z: int) -> NDArray[np.bool_]:
        height, y, x = self._hearts[case]
        rows, columns = (np.arange(n) for n in self.shape)
        away = (z - height) ** 2 + (rows - y)[:, None] ** 2 + (columns - x) ** 2
        return away * self.pixel_mm**2 < _HEART_MM**2
