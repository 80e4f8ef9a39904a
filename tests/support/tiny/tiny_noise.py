"""DDPM, Palette and regression so narrow that they run in a moment: configurations and a weight file."""

from __future__ import annotations

import torch

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.models.networks.build import build_network

FOLDED = {
    "kind": "folded_unet", "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1,
    "attention_resolutions": [], "num_head_channels": 8, "head_channels": 2, "norm_groups": 4,
}  # fmt: skip
UNET = {
    "kind": "unet", "in_channels": 2, "model_channels": 8, "out_channels": 1, "num_res_blocks": 1,
    "attention_resolutions": [], "channel_mult": [1, 2], "num_head_channels": 8, "norm_groups": 4, "dropout": 0.2,
}  # fmt: skip
GENTLE = {"num_timesteps": 20, "schedule": "linear", "beta_start": 1e-4, "beta_end": 0.1}
DATA = {"gain": 1.7, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [16, 16]}
SAMPLING = {"defaults": {"steps": 3, "samples": 1, "solver": "ddim", "eta": 0.0}, "clip": None}
CONFIGS = {
    "ddpm": {"network": FOLDED, "process": GENTLE, **SAMPLING, **DATA},
    "palette": {
        "network": {**UNET, "kind": "palette_unet"}, "training": GENTLE, "sampling": GENTLE, **SAMPLING, **DATA,
    },
    "regression": {"network": FOLDED, **DATA},
}  # fmt: skip


def weight_file(folder, model, config):
    """Random tensors for a configuration."""
    path = folder / f"{model}.safetensors"
    torch.manual_seed(1)
    net = build_network(config["network"])
    tensors = {f"denoise_fn.{k}": 0.1 * torch.randn(v.shape) for k, v in net.state_dict().items()}
    save_weights(path, tensors, model, config, {"seed": 5})
    return path
