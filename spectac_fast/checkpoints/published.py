"""Checkpoints of the published BBDM implementation (github.com/xuekt98/BBDM): files, names and configuration keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import InputError
from spectac_fast.models.bbdm import BBDM
from spectac_fast.models.unet import UNetModel

from .weights import fill

_UNET_ARGUMENTS = (
    "in_channels", "model_channels", "out_channels", "num_res_blocks", "attention_resolutions", "channel_mult",
    "conv_resample", "num_heads", "num_head_channels", "use_scale_shift_norm", "resblock_updown",
)  # fmt: skip


def load_published_bbdm(source: Path | Mapping[str, Tensor], model: Mapping[str, Any], use_ema: bool = True) -> BBDM:
    """A pixel-space BBDM from a published checkpoint.

    source:  checkpoint file (.pth of the published runner, or .safetensors of a state dict), or the state dict itself.
    model:   the `model` section of its configuration, with the published key names.
    use_ema: take the averaged weights where the file holds them.

    Raises InputError if the file cannot be read without unpickling code, or names or shapes do not fit.
    """
    name = str(source) if isinstance(source, Path) else "the state dict"
    state = dict(source) if isinstance(source, Mapping) else _read(source, use_ema)
    bridge_config = model["BB"]["params"]
    unet_config = bridge_config["UNetParams"]
    bridge = BrownianBridge(
        num_timesteps=bridge_config["num_timesteps"],
        max_var=bridge_config["max_var"],
        schedule=bridge_config["mt_type"],
        objective=bridge_config["objective"],
    )
    net = UNetModel(**{key: unet_config[key] for key in _UNET_ARGUMENTS if key in unet_config})
    built = BBDM(bridge, net)
    fill(built, state, name)
    return built


def _read(path: Path, use_ema: bool) -> dict[str, Tensor]:
    """The state dict of a checkpoint file, averaged weights over the raw ones where wanted and present."""
    if not path.is_file():
        raise InputError(f"the checkpoint {path} does not exist")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"the checkpoint {path} is not a readable safetensors file: {error}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(content["model"])
    except Exception as error:
        raise InputError(
            f"the checkpoint {path} cannot be read as tensors under the key 'model'; code in it is never run"
        ) from error
    if use_ema:
        state.update(content.get("ema", {}))
    return state
