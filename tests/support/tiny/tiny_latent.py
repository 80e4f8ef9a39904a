"""Latent models small enough to run in a test, as weight files."""

from __future__ import annotations

import torch

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.models.methods import cpdm, lbbdm, vqgan

VQGAN = {
    "in_channels": 1, "out_channels": 1, "ch": 8, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_levels": [1],
    "z_channels": 2, "embed_dim": 3, "n_embed": 16, "norm_groups": 4,
}  # fmt: skip
NETWORK = {
    "kind": "unet", "in_channels": 3, "model_channels": 8, "out_channels": 3, "num_res_blocks": 1,
    "attention_resolutions": [2], "channel_mult": [1, 2], "num_head_channels": 8, "use_scale_shift_norm": True,
    "resblock_updown": True, "norm_groups": 4,
}  # fmt: skip
COMMON = {
    "bridge": {"num_timesteps": 1000, "max_var": 1.0, "schedule": "linear", "objective": "grad"},
    "defaults": {"steps": 3, "samples": 1, "sample_steps": 3, "solver": "dbim", "order": 2, "eta": 0.0},
    "before_quant_conv": False, "normalised": False, "gain": 1.7, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [16, 16],
    "fit": "pad",
}  # fmt: skip
LBBDM = {**COMMON, "network": NETWORK, "vqgan": VQGAN, "rescaler": None}
CPDM = {
    **COMMON, "network": {**NETWORK, "in_channels": 7}, "vqgan": VQGAN, "map_channels": 2, "map_network": None,
    "maps": {"attention": "nc", "attenuation": "contour", "kind": "pointwise", "mu": 0.13},
}  # fmt: skip
FIRST_STAGE = {"network": VQGAN, **{key: COMMON[key] for key in ("gain", "pixel_mm", "slice_mm", "size", "fit")}}
_BUILD = {"lbbdm": lbbdm.model_of, "cpdm": cpdm.model_of, "vqgan": lambda c: vqgan.VQGAN(**c["network"])}


def tensors(name, config, seed=0):
    """Random weights under the names of the weight files, which leave the schedule out."""
    model = _BUILD[name](config)
    schedule = model.bridge.buffers() if name != "vqgan" else {}
    draw = torch.Generator().manual_seed(seed)
    return {
        k: torch.ones_like(v) + 0.1 * torch.randn(v.shape, generator=draw)
        if "norm" in k or k.endswith("std")
        else 0.15 * torch.randn(v.shape, generator=draw)
        for k, v in model.state_dict().items()
        if k not in schedule
    }


def weight_file(folder, name, config):
    path = folder / f"{name}.safetensors"
    save_weights(path, tensors(name, config), name, config, {"seed": 5})
    return path
