"""Latent diffusion so narrow that it runs in a moment: configurations, random tensors, a weight file."""

from __future__ import annotations

import tiny_latent as tiny
import torch

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.models.methods import ldm

PROCESS = {"num_timesteps": 1000, "schedule": "scaled_linear", "beta_start": 1.5e-3, "beta_end": 2.05e-2}
CONFIG = {
    "process": PROCESS, "network": {**tiny.NETWORK, "in_channels": 6}, "vqgan": tiny.VQGAN, "rescaler": None,
    "defaults": {"steps": 4, "samples": 1, "solver": "published", "eta": 0.0}, "clamp": False,
    **{key: tiny.COMMON[key] for key in ("gain", "pixel_mm", "slice_mm", "size", "fit")},
}  # fmt: skip
RESCALED = {
    **CONFIG,
    "network": {**tiny.NETWORK, "in_channels": 5},
    "rescaler": {"in_channels": 3, "out_channels": 2},
}
# Wide enough for 32 groups, as everything published is.
WIDE = {
    **CONFIG,
    "network": {
        "kind": "unet", "in_channels": 6, "model_channels": 32, "out_channels": 3, "num_res_blocks": 1,
        "attention_resolutions": [2], "channel_mult": [1, 2], "conv_resample": True, "use_scale_shift_norm": False,
        "resblock_updown": False, "num_heads": 8, "num_head_channels": -1,
    },
    "vqgan": {**{k: v for k, v in tiny.VQGAN.items() if k != "norm_groups"}, "ch": 32, "z_channels": 3},
}  # fmt: skip


def tensors(config):
    draw = torch.Generator().manual_seed(3)
    return {
        k: v if k == "scale_factor" else 0.1 * torch.randn(v.shape, generator=draw) + ("norm" in k and "weight" in k)
        for k, v in ldm.model_of(config).state_dict().items()
    }


def weight_file(folder, config):
    path = folder / "ldm.safetensors"
    save_weights(path, tensors(config), "ldm", config, {"seed": 5})
    return path
