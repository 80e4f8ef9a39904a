"""Palette (github.com/Janspiry/Palette-Image-to-Image-Diffusion-Models): `N_Network.pth`, `N_Network_ema.pth`.

A state dict `denoise_fn.*`; files that are no average also hold the noise schedule of the phase they were saved in. The
published test samples with another schedule than the training, and with the raw network: which of the two files it is,
only its name says.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor

from spectac_fast.diffusion.vp import PALETTE_SAMPLING, PALETTE_TRAINING, VPProcess
from spectac_fast.errors import InputError

from . import Imported
from ._shapes import Shapes, check_predicts_noise, unet_config

MODELS = ("palette",)
_PREFIX = "denoise_fn."
_HEADS = {"num_head_channels": 32}
_DROPOUT = 0.2
_BUFFERS = frozenset(PALETTE_TRAINING.buffers())


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    network = {name: value for name, value in tensors.items() if name.startswith(_PREFIX)}
    buffers = {name: value for name, value in tensors.items() if name in _BUFFERS}
    if unknown := sorted(tensors.keys() - network.keys() - buffers.keys()):
        raise InputError(f"{source} is not in layout palette: it holds {unknown[0]} ({len(unknown)} unknown tensors)")
    unet = unet_config(Shapes(tensors, _PREFIX, source), _HEADS, embedding="cond_embed")
    beside = unet["in_channels"] - 2 * unet["out_channels"]
    if beside < 0 or beside % 2:
        raise InputError(
            f"{source} takes {unet['in_channels']} channels and gives {unet['out_channels']}; "
            "Palette takes twice as many as it gives, condition and state, and two for each neighbour"
        )
    config = {
        "network": {**unet, "kind": "palette_unet", "dropout": _DROPOUT},
        "training": asdict(_schedule(buffers, source) if buffers else PALETTE_TRAINING),
        "sampling": asdict(PALETTE_SAMPLING),
        "defaults": {"steps": PALETTE_SAMPLING.num_timesteps, "samples": 1, "solver": "ancestral", "eta": 1.0},
        "clip": [-1.0, 1.0],
        "size": [256, 256],
        "fit": "resize",
    }
    return Imported("palette", config, network)


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    check_predicts_noise(VPProcess(**config["training"]))
    return {**{name: value.float() for name, value in tensors.items()}, **VPProcess(**config["training"]).buffers()}


def _schedule(buffers: dict[str, Tensor], source: str) -> VPProcess:
    """The linear schedule that the stored levels follow."""
    if missing := sorted(_BUFFERS - buffers.keys()):
        raise InputError(f"{source} is not in layout palette: it lacks {missing[0]} beside the rest of its schedule")
    level = buffers["gammas"].double().numpy()
    beta = 1.0 - level / np.append(1.0, level[:-1])
    slope, first = np.polyfit(np.arange(len(beta)), beta, 1)
    # Levels are stored in single precision: the ends of the line are known to a few digits, and were chosen with few.
    for digits in (1, 2, 3, 4):
        start, end = (float(f"{value:.{digits}g}") for value in (first, first + slope * (len(beta) - 1)))
        if len(beta) > 1 and 0 < start <= end < 1:
            process = VPProcess(len(beta), "linear", start, end)
            if all(_close(buffers[name], expected) for name, expected in process.buffers().items()):
                return process
    raise InputError(f"{source} holds a noise schedule of {len(beta)} levels that is not linear in beta")


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-3, atol=1e-5)
