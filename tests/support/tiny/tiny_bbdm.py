"""A bridge so narrow that it runs in a moment: its configuration and random tensors."""

from __future__ import annotations

import torch

from spectac_fast.models.networks.build import build_network

NETWORK = {
    "kind": "folded_unet", "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1,
    "attention_resolutions": [2], "num_head_channels": 8, "head_channels": 2, "norm_groups": 4,
}  # fmt: skip
BRIDGE = {"num_timesteps": 1000, "max_var": 0.05, "schedule": "linear", "objective": "grad"}
DEFAULTS = {"steps": 1, "samples": 1, "sample_steps": 3, "solver": "dbim", "order": 2, "eta": 0.0}
CONFIG = {
    "network": NETWORK, "bridge": BRIDGE, "defaults": DEFAULTS, "gain": 1.7, "pixel_mm": 6.8,
    "slice_mm": 6.8, "size": [16, 16]}  # fmt: skip


def random_tensors():
    net = build_network(NETWORK)
    return {f"denoise_fn.{k}": 0.1 * torch.randn(v.shape).half() for k, v in net.state_dict().items()}
