"""Regression: one evaluation of the bridge's network, trained on the error of AC itself. The honest challenger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.models.description import describe, reading
from spectac_fast.models.networks.attenuation import Attenuation
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.translators.network import NetworkTranslator
from spectac_fast.tracing import phase


def context_of(network: nn.Module) -> int:
    """How many neighbours on either side a network sees that takes two channels, and two for each of them, and gives
    one; ValueError for other channels.
    """
    if network.in_channels < 2 or network.in_channels % 2 or network.out_channels != 1:
        raise ValueError(
            "the network must take 2 channels, and two for each neighbour, and give 1 (attenuation_paths adds the "
            f"others of a factor), found {network.in_channels} and {network.out_channels}."
        )
    return network.in_channels // 2 - 1


class Regression(nn.Module):
    """AC from NC and its neighbours by the same network that a bridge runs, at its start (state = condition, t = 0).

    forward([B, 1 + 2 context, H, W]) -> [B, 1, H, W], both in model units. The network predicts AC - NC.

    Raises ValueError for a network of other channels.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.denoise_fn = network
        self.context_slices = context_of(network)

    def forward(self, seen: Tensor) -> Tensor:
        nc = seen[:, :1]
        t = torch.zeros(len(seen), dtype=torch.int64, device=seen.device)
        return nc + self.denoise_fn(nc, t, context=seen)


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
            return nc + self.engine.prepare(seen, (0,))(nc, start)


def model_of(config: Mapping[str, Any]) -> Regression:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none."""

    def line(x: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return x, x.new_ones(()), -x

    return Regression(build_network(config["network"], Attenuation(config["gain"], line)))


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> RegressionTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        config, state = _as_now(header["config"], tensors)
        model = model_of(config)
        translator = RegressionTranslator(
            model,
            describe(header, path),
            device,
            multiple=model.denoise_fn.multiple,
            context_slices=model.context_slices,
        )
    fill(model, {name: value.float() for name, value in state.items()}, str(path))
    return translator


def _as_now(config: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and tensors of a file that says 2 + K channels where files now say K `attenuation_paths`."""
    network = config["network"]
    paths = network.get("out_channels", 1) - 2
    if paths < 1:
        return config, tensors
    network = {**network, "out_channels": 1, "attenuation_paths": paths}
    return {**config, "network": network}, {
        name.replace("denoise_fn.", "denoise_fn.network.", 1): value for name, value in tensors.items()
    }
