"""What translators that run a network have in common: attributes, working size, neighbours, batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from .batches import in_batches
from .description import Description
from .fit import Fit
from .translator import check_slices, with_neighbours


class NetworkTranslator:
    """Base of the `Translator`s of networks; a method adds its `name` and `translate`.

    multiple: what the network's rows and columns must be divisible by. context_slices: how many neighbouring slices
    on either side it looks at.
    """

    name: ClassVar[str]

    def __init__(
        self,
        model: nn.Module,
        description: Description,
        device: torch.device,
        *,
        multiple: int = 1,
        context_slices: int = 0,
    ) -> None:
        self.model = model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.pixel_mm, self.gain, self.card = description.pixel_mm, description.gain, description.card
        self.weights_sha256, self.device = description.weights_sha256, device
        self.fit = Fit(description.fit, description.size, multiple)
        self.context_mm = tuple(k * description.slice_mm for k in range(-context_slices, context_slices + 1) if k)

    @torch.no_grad()
    def run(
        self,
        compute: Callable[[Tensor, Tensor], Tensor],
        nc: Tensor,
        seeds: Tensor | None,
        neighbours: Tensor | None,
    ) -> Tensor:
        """compute(slices and neighbours [b, 1 + n, rows, columns], seeds [b]) -> [b, 1, rows, columns] for all of nc.

        Checks the arguments of `Translator.translate`, fits the slices to the working size and back, and keeps to
        fixed batch sizes.
        """
        check_slices(nc, seeds)
        if seeds is None:
            seeds = torch.arange(len(nc))
        images = with_neighbours(nc.to(self.device), neighbours, len(self.context_mm))

        def fitted(part: Tensor, part_seeds: Tensor) -> Tensor:
            return self.fit.from_network(compute(self.fit.to_network(part), part_seeds), tuple(part.shape[-2:]))

        return in_batches(fitted, images, seeds.to(self.device))
