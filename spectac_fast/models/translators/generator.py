"""Generators that make AC from NC in one evaluation, as translators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.models.description import Description, describe, reading
from spectac_fast.models.networks.attenuation import Attenuation, of_image
from spectac_fast.models.networks.build import build_network, is_bounded
from spectac_fast.models.translators.network import NetworkTranslator


class GeneratorTranslator(NetworkTranslator):
    """Base of the GAN translators; a method adds its `name`.

    model: forward(x [B, model.in_channels, H, W], seeds int64 [B]) -> [B, C, H, W]. A network that was trained on
    colour copies of grey images gets copies, and the mean of its channels is the answer. bounded: whether that passes
    nowhere 1 (`is_bounded`).
    """

    bounded = False

    def __init__(self, model: nn.Module, context_slices: int, description: Description, device: torch.device) -> None:
        if context_slices and model.in_channels != 1 + 2 * context_slices:
            raise ValueError(
                f"a network with {context_slices} neighbouring slices on either side must take "
                f"{1 + 2 * context_slices} channels, found {model.in_channels}."
            )
        super().__init__(model, description, device, multiple=model.multiple, context_slices=context_slices)

    @classmethod
    def build(
        cls, tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device
    ) -> GeneratorTranslator:
        """The translator of a weight file; InputError if its description and tensors do not make one."""
        with reading(path):
            config = header["config"]
            model = build_network(config["network"], Attenuation(float(config["gain"]), of_image))
            context = config.get("context_slices", config["network"].get("context_slices", 0))
            if context is None:
                beside, odd = divmod(model.in_channels - 1, 2)
                neighbours = "" if odd else f", {beside} for its neighbours"
                raise ValueError(
                    f"no shape tells what a generator from {model.in_channels} channels to one is given; "
                    f"set context_slices, 0 for copies of the slice{neighbours}."
                )
            translator = cls(model, int(context), describe(header, path), device)
            translator.bounded = is_bounded(config["network"])
        fill(model, tensors, str(path))
        return translator

    def translate(
        self, nc: Tensor, seeds: Tensor | None = None, *, neighbours: Tensor | None = None, **options: Any
    ) -> Tensor:
        """See `Translator.translate`; a single evaluation, for which steps, samples and solvers mean nothing.

        The seeds matter only to a network whose dropout stays active.
        """
        return self.run(self._generate, nc, seeds, neighbours)

    def _generate(self, images: Tensor, seeds: Tensor) -> Tensor:
        channels = self.model.in_channels
        copies = images if images.shape[1] == channels else images.expand(-1, channels, -1, -1)
        return self.model(copies, seeds).mean(dim=1, keepdim=True)
