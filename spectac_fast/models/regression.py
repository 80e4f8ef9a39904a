"""Regression: one evaluation of the bridge's network, trained on the error of AC itself. The honest challenger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.tracing import phase

from .attenuation import attenuated, attenuation_factor
from .description import describe, reading
from .network_translator import NetworkTranslator
from .networks import build_network


class Regression(nn.Module):
    """AC from NC and its neighbours by the same network that a bridge runs, at its start (state = condition, t = 0).

    forward([B, 1 + 2 context, H, W]) -> [B, 1, H, W], both in model units. The network predicts AC - NC. If it gives
    2 + K channels, the second and those after it are the raw attenuation coefficient and K path lengths
    (models/attenuation.py), and AC is the mean of both estimates. gain: AC/NC gain of the training data.

    Raises ValueError for a network of other channels.
    """

    def __init__(self, network: nn.Module, gain: float) -> None:
        super().__init__()
        if network.in_channels < 2 or network.in_channels % 2 or network.out_channels == 2:
            raise ValueError(
                "the network must take 2 channels, and two for each neighbour, and give 1, or 3 and more with an "
                f"attenuation factor, found {network.in_channels} and {network.out_channels}."
            )
        self.denoise_fn = network
        self.gain = gain
        self.context_slices = network.in_channels // 2 - 1

    def forward(self, seen: Tensor) -> Tensor:
        t = torch.zeros(len(seen), dtype=torch.int64, device=seen.device)
        return self.image(seen[:, :1], self.denoise_fn(seen[:, :1], t, context=seen))

    def image(self, nc: Tensor, predicted: Tensor) -> Tensor:
        """AC from NC [B, 1, H, W] and what the network gives for it."""
        correction, mu, lengths = predicted.tensor_split([1, 2], dim=1)
        direct = nc + correction
        if not mu.shape[1]:
            return direct
        return 0.5 * (direct + attenuated(nc, attenuation_factor(mu, lengths), self.gain))


class RegressionTranslator(NetworkTranslator):
    """A trained regression as a `Translator`; nothing is drawn."""

    name = "regression"

    def translate(
        self, nc: Tensor, seeds: Tensor | None = None, *, neighbours: Tensor | None = None, **options: Any
    ) -> Tensor:
        """NC -> AC (see `Translator.translate`); every option is ignored."""
        return self.run(self._image, nc, seeds, neighbours)

    def _image(self, seen: Tensor, _: Tensor) -> Tensor:
        nc = seen[:, :1]
        start = torch.zeros(len(nc), dtype=torch.int64, device=nc.device)
        with phase("network"):
            return self.model.image(nc, self.engine.prepare(seen, (0,))(nc, start))


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> RegressionTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        description = describe(header, path)
        network = build_network(header["config"]["network"])
        model = Regression(network, description.gain)
        translator = RegressionTranslator(
            model, description, device, multiple=network.multiple, context_slices=model.context_slices
        )
    fill(model, {name: value.float() for name, value in tensors.items()}, str(path))
    return translator
