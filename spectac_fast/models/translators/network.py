"""What translators that run a network have in common: attributes, working size, neighbours, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from spectac_fast.data.facts import FACTS
from spectac_fast.models.description import Description
from spectac_fast.models.engine.batches import in_batches
from spectac_fast.models.engine.engine import Engine, engine
from spectac_fast.models.engine.first_stage import only_run
from spectac_fast.models.engine.fit import Fit
from spectac_fast.models.translator import check_slices, with_facts, with_neighbours

_Slices = TypeVar("_Slices", Tensor, tuple[Tensor, ...])


class NetworkTranslator:
    """Base of the `Translator`s of networks; a method adds its `name` and `translate`.

    multiple: what the network's rows and columns must be divisible by. context_slices: how many neighbouring slices
    on either side it looks at. facts: names of what it is told of a study besides. `field_px`: (rows, columns) that it
    was trained on and sees at least; (0, 0) where slices are resized.
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
        facts: Sequence[str] = (),
    ) -> None:
        unknown = sorted(set(facts) - FACTS.keys())
        if unknown:
            raise ValueError(f"facts must be out of {', '.join(FACTS)}, found {unknown[0]!r}.")
        self.facts = tuple(facts)
        self.model = model.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
        only_run(self.model)
        self.pixel_mm, self.gain, self.card = description.pixel_mm, description.gain, description.card
        self.weights_sha256, self.device = description.weights_sha256, device
        self.fit = Fit(description.fit, description.size, multiple)
        self.field_px = description.size if description.fit == "pad" else (0, 0)
        self.context_mm = tuple(k * description.slice_mm for k in range(-context_slices, context_slices + 1) if k)
        self.engines: dict[torch.dtype, Engine] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Weights and all, without what is made of them at first use."""
        return self.__dict__ | {"engines": {}}

    @property
    def engine(self) -> Engine:
        """The network made ready to run, its body in autocast's dtype within autocast and in float32 otherwise.

        Made at first use, because weights are read into a translator that is there.
        """
        kind = self.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        if dtype not in self.engines:
            self.engines[dtype] = engine(self.model, dtype)
        return self.engines[dtype]

    @torch.no_grad()
    def run(
        self,
        compute: Callable[[Tensor, Tensor], _Slices],
        nc: Tensor,
        seeds: Tensor | None,
        neighbours: Tensor | None,
    ) -> _Slices:
        """compute(slices and neighbours [b, 1 + n, rows, columns], seeds [b]) -> [b, 1, rows, columns] for all of nc.

        It may also return a tuple of such tensors. Checks the arguments of `Translator.translate`, fits the slices to
        the working size and back, and keeps to fixed batch sizes.
        """
        images, seeds = self.inputs(nc, seeds, neighbours)
        return self.fitted_back(in_batches(compute, images, seeds), nc)

    def fitted_back(self, found: _Slices, nc: Tensor) -> _Slices:
        """Slices at the working size, or a tuple of them, at the size of nc."""
        if isinstance(found, tuple):
            return tuple(self.fit.from_network(part, tuple(nc.shape[-2:])) for part in found)
        return self.fit.from_network(found, tuple(nc.shape[-2:]))

    def inputs(
        self, nc: Tensor, seeds: Tensor | None, neighbours: Tensor | None, facts: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(slices, neighbours and facts [B, 1 + n, rows, columns] at the working size, seeds [B]) on the model's
        device.

        ValueError for arguments that `Translator.translate` does not take.
        """
        check_slices(nc, seeds)
        images = with_neighbours(nc.to(self.device), neighbours, len(self.context_mm))
        images = with_facts(images, facts, len(self.facts))
        seeds = torch.arange(len(nc)) if seeds is None else seeds
        return self.fit.to_network(images), seeds.to(self.device)
