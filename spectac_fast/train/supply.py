"""Batches as a network takes them: augmented, at its size, on its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from spectac_fast.models.engine.fit import Fit
from spectac_fast.train.augment import Fields, Uptake
from spectac_fast.train.maps.slices import MapSlices
from spectac_fast.train.slices import Batch, SlicePairs


def fit_of(settings: Mapping[str, Any], multiple: int) -> Fit:
    """How slices are brought to the size of a recipe's data settings. multiple: as of `Supply`."""
    return Fit(settings["fit"], tuple(settings["size"]), multiple)


class Supply:
    """Batches of a recipe's data settings (see recipe.py). What it hands out is a function of the generator alone.

    context: neighbouring slices on either side. multiple: what the network's rows and columns must be divisible by.
    """

    def __init__(
        self,
        pairs: SlicePairs | MapSlices,
        settings: Mapping[str, Any],
        device: torch.device,
        context: int,
        multiple: int,
    ) -> None:
        self.pairs, self.settings, self.device, self.context = pairs, settings, device, context
        self.fit = fit_of(settings, multiple)
        made = {"fields": Fields, "uptake": Uptake}
        # What a recipe does not ask for is not passed on, for not all data have it.
        self.augment = {name: of(**settings[name]) for name, of in made.items() if settings.get(name)}

    def batch(self, rng: np.random.Generator) -> Batch:
        """Slices, targets, heart mask and neighbours at the network's size, float32 on the device."""
        nc, ac, heart, neighbours = self._draw(rng)
        if not self.settings["paired"]:
            # Another draw: the slice's own AC is then hardly ever the one that goes with it.
            ac = self._draw(rng).ac
        if self.settings["clip"] is not None:
            ac = ac.clamp(*self.settings["clip"])
        # As an image the mask is -1 outside the heart, like everything a fit brings in.
        images = self.fit.to_network(torch.cat([nc, ac, 2.0 * heart - 1.0, neighbours], dim=1).to(self.device))
        nc, ac, heart, neighbours = (part.contiguous() for part in images.tensor_split((1, 2, 3), dim=1))
        return Batch(nc, ac, 0.5 * (heart + 1.0), neighbours)

    def _draw(self, rng: np.random.Generator) -> Batch:
        settings = self.settings
        shift_px, jitter = settings["shift_px"], settings["scale_jitter"]
        return self.pairs.batch(rng, settings["batch"], shift_px, jitter, self.context, **self.augment)
