"""Attenuation maps drawn from what an NC reconstruction leaves open: a Brownian bridge from NC to mu.

`models.mumap` gives the one map that is most likely; the maps that are drawn here differ where the counts do not say
what attenuates. OSEM by each of them makes that a deviation of counts (`correct.physics.deviation`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectac_fast.device import resolve_device
from spectac_fast.errors import UsageError
from spectac_fast.models.description import describe, read_apart
from spectac_fast.models.methods.bbdm import BBDMTranslator, model_of
from spectac_fast.models.mumap import MapVolumes
from spectac_fast.models.translators.bridge import load_bridge
from spectac_fast.models.uncertainty import read_calibration
from spectac_fast.reconstruct.grid import Grid

NAME = "mumap-bridge"
# Model units of NC where no camera looked: less than no counts, which are -1.
UNSEEN = -1.5


def marked(seen: Tensor) -> Tensor:
    """[B, 1 + 2 context, H, W] of what `models.mumap.seen_slices` makes: a slice, the bridge's end, and its neighbours,
    with the field of the last channel written into each of them.
    """
    return torch.where(seen[:, -1:] > 0, seen[:, :-1], UNSEEN)


class MapBridge(MapVolumes):
    """A trained bridge that draws maps.

    voxel_mm, size, card, weights_sha256: see `MapVolumes`. calibration: by what its maps' distances from their mean are
    to be multiplied, "temperature", and which share of the counts is uncertain besides, "floor", so that AC by its maps
    differs as much as AC by the true map does; see `models.uncertainty`.
    """

    def __init__(self, tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> None:
        self._translator = load_bridge(BBDMTranslator, model_of, tensors, header, path, device)
        model = self._translator.model
        super().__init__(describe(header, path), model.context_slices, model.multiple, device)
        self.calibration = read_calibration(path, self.weights_sha256)

    @torch.no_grad()
    def samples(self, nc: Tensor, grid: Grid, count: int, seed: int = 0) -> Tensor:
        """`count` maps float32 [count, nz, m, m] in 1/cm of an NC volume [nz, n, n] on `grid`, on the voxels of
        `MapModel.predict`; a function of the seed.

        All slices of a map meet the same noise: where the network is unsure it errs alike in neighbouring slices.
        Raises UsageError for fewer than one.
        """
        if count < 1:
            raise UsageError(f"samples: expected at least one map, found {count}.")
        seen, working = self.seen(nc, grid)
        translator = self._translator
        end, context = translator.model.start(marked(seen))
        sampler = translator.sampler(translator.evaluations(None, count), None, None, None)
        seeds = torch.full((len(end),), seed, dtype=torch.int64, device=end.device)
        drawn = sampler(end, seeds, count, context=context)
        assert isinstance(drawn, Tensor)
        return torch.stack([self.placed(units[:, 0], working, grid, nc.device) for units in drawn])


def load_map_bridge(path: str | Path | None = None, device: str = "auto") -> MapBridge:
    """The shipped bridge, or that of a weight file.

    Raises SetupError where none is installed, InputError for a file that is not such a model.
    """
    return MapBridge(*read_apart(NAME, path), torch.device(resolve_device(device)))
