"""Palette (github.com/Janspiry/Palette-Image-to-Image-Diffusion-Models): `N_Network.pth`, `N_Network_ema.pth`.

A state dict `denoise_fn.*`; files that are no average also hold the noise schedule of the phase they were saved in. The
published test samples with another schedule than the training, and with the raw network: which of the two files it is,
only its name says.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.checkpoints.configurations.palette import configured
from spectac_fast.diffusion.vp import PALETTE_SAMPLING, PALETTE_TRAINING, SCHEDULES, VPProcess
from spectac_fast.errors import InputError

from . import Imported
from ._shapes import SAMPLING, SIZE, Shapes, check_predicts_noise, heads_of, unet_config

__all__ = ["MODELS", "configured", "following", "read", "write"]
MODELS = ("palette",)
_PREFIX = "denoise_fn."
_HEAD_CHANNELS = 32  # of every published template
_DROPOUT = 0.2
_SCHEDULE = (
    "no tensor tells the noise schedule of testing, which is another than that of training; the template's is taken"
)
_OFF = "no tensor tells it, and only training uses it"
_TRAINING = "averaged files hold no noise schedule; the template's is taken (it does not change results)"
_BUFFERS = frozenset(PALETTE_TRAINING.buffers())


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    network = {name: value for name, value in tensors.items() if name.startswith(_PREFIX)}
    buffers = {name: value for name, value in tensors.items() if name in _BUFFERS}
    if unknown := sorted(tensors.keys() - network.keys() - buffers.keys()):
        raise InputError(f"{source} is not in layout palette: it holds {unknown[0]} ({len(unknown)} unknown tensors)")
    shapes = Shapes(tensors, _PREFIX, source)
    heads, assumed = heads_of(shapes, _HEAD_CHANNELS)
    unet = unet_config(shapes, heads, embedding="cond_embed")
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
    assumed |= {f"sampling.{name}": _SCHEDULE for name in config["sampling"]}
    assumed |= {} if buffers else {f"training.{name}": _TRAINING for name in config["training"]}
    assumed |= {f"defaults.{name}": SAMPLING for name in config["defaults"]}
    assumed |= {"clip": SAMPLING, "size": SIZE, "fit": SIZE, "network.dropout": _OFF}
    return Imported("palette", config, network, assumed)


def following(config: Mapping[str, Any]) -> dict[str, Any]:
    """See the folder's page: every timestep is a step."""
    return {"defaults.steps": config["sampling"]["num_timesteps"]}


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    check_predicts_noise(VPProcess(**config["training"]))
    return {**{name: value.float() for name, value in tensors.items()}, **VPProcess(**config["training"]).buffers()}


def _schedule(buffers: dict[str, Tensor], source: str) -> VPProcess:
    """The schedule that the stored levels follow; InputError where it is none that is known."""
    if missing := sorted(_BUFFERS - buffers.keys()):
        raise InputError(f"{source} is not in layout palette: it lacks {missing[0]} beside the rest of its schedule")
    level = buffers["gammas"].double().numpy()
    beta = 1.0 - level / np.append(1.0, level[:-1])
    # Levels are stored in single precision: the ends of a line are known to a few digits, and were chosen with few.
    for schedule, digits in itertools.product(SCHEDULES, (1, 2, 3, 4)):
        start, end = (float(f"{value:.{digits}g}") for value in _ends(beta, schedule))
        if len(beta) > 1 and 0 < start <= end < 1:
            process = VPProcess(len(beta), schedule, start, end)
            if all(_close(buffers[name], expected) for name, expected in process.buffers().items()):
                return process
    raise InputError(f"{source} holds a noise schedule of {len(beta)} levels that is none of {', '.join(SCHEDULES)}")


def _ends(beta: NDArray[np.float64], schedule: str) -> tuple[float, float]:
    """First and last beta of a schedule that these may follow."""
    power = {"scaled_linear": 0.5, "sqrt": 2.0}.get(schedule, 1.0)
    rising = len(beta) * int(schedule.removeprefix("warmup")) // 100 if schedule.startswith("warmup") else len(beta)
    if rising < 2 or schedule == "cosine":
        return PALETTE_TRAINING.beta_start, PALETTE_TRAINING.beta_end
    slope, first = np.polyfit(np.arange(rising), np.maximum(beta[:rising], 0.0) ** power, 1)
    first, last = max(first, 0.0), max(first + slope * (rising - 1), 0.0)
    return (first**2, last**2) if schedule == "scaled_linear" else (first, last)


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and np.allclose(found, expected, rtol=1e-3, atol=1e-5)
