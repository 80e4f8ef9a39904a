"""The files of Palette and of latent diffusion, and what their published code makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.matrix.bridges import STAGE, first_stage
from bench.matrix.cases import Expected
from bench.matrix.files import gaussian_buffers, random_state, write_yaml
from bench.matrix.samplers import betas, ddim, palette
from bench.matrix.stages import decoded, encoded, rescaled
from bench.matrix.unets import unet
from spectac_fast.diffusion.sampler import start_noise
from spectac_fast.models.networks.unet import PaletteUNet, UNetModel
from spectac_fast.ops.counter_normal import SAMPLING, counter_normal

PALETTE = {
    "in_channel": 2, "out_channel": 1, "inner_channel": 32, "channel_mults": [1, 2], "attn_res": [16],
    "num_head_channels": 32, "res_blocks": 2, "dropout": 0.2, "image_size": 16,
}  # fmt: skip
_PALETTE_NAMES = {
    "in_channels": "in_channel", "out_channels": "out_channel", "model_channels": "inner_channel",
    "channel_mult": "channel_mults", "attention_resolutions": "attn_res", "num_res_blocks": "res_blocks",
    "num_heads": "num_heads", "num_head_channels": "num_head_channels", "resblock_updown": "resblock_updown",
    "use_scale_shift_norm": "use_scale_shift_norm",
}  # fmt: skip
LDM = {
    "image_size": 8, "in_channels": 6, "model_channels": 32, "out_channels": 3, "num_res_blocks": 1,
    "attention_resolutions": [2], "channel_mult": [1, 2], "num_heads": 8,
}  # fmt: skip
_EMBED, _CODES, _STEPS = 3, 16, 4
_BETAS = {"linear": "ldm_linear", "sqrt": "ldm_sqrt", "sqrt_linear": "linear", "cosine": "cosine"}


def make_palette(options: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Expected]:
    """(N_Network.pth, its JSON with comments, what they make of a slice)."""
    o = dict(options)
    kind, total = o.pop("schedule", "linear"), o.pop("n_timestep", 20)
    ends = {"train": (1e-6, 1e-2), "test": (1e-3, 0.3)}
    schedules = {
        phase: {"schedule": kind, "n_timestep": total * (1 + (phase == "train")), "linear_start": a, "linear_end": b}
        for phase, (a, b) in ends.items()
    }
    module = o.pop("module_name", "guided_diffusion")
    network = {**PALETTE, **o}
    plain = {name: network[key] for name, key in _PALETTE_NAMES.items() if key in network}
    plain = {"resblock_updown": True, "use_scale_shift_norm": True, "num_heads": 1, "conv_resample": True, **plain}
    with torch.device("meta"):
        net = PaletteUNet(**plain)
    weights = random_state(net, 4)
    beta = betas(kind if kind != "jsd" else "linear", 2 * total, *ends["train"])
    torch.save(
        {f"denoise_fn.{k}": v for k, v in weights.items()} | gaussian_buffers(beta, "gammas"), folder / "9_Network.pth"
    )
    args = {"module_name": module, "init_type": "kaiming", "unet": network, "beta_schedule": schedules}
    content = {"model": {"which_networks": [{"name": ["models.network", "Network"], "args": args}]}}
    text = json.dumps(content, indent=1).replace('"init_type"', '// a comment, as its templates have them\n"init_type"')
    (folder / "palette.json").write_text(text)
    tested = betas(kind if kind != "jsd" else "linear", total, *ends["test"])

    def expected(nc: Tensor, seeds: Tensor) -> Tensor:
        y = nc.repeat(1, network["out_channel"], 1, 1)

        def noise(i: int) -> Tensor:
            return counter_normal(seeds, y.shape[1:], step=i, purpose=SAMPLING)

        def denoise(x: Tensor, level: Tensor) -> Tensor:
            return unet(weights, plain, torch.cat([y, x], 1), level, "cond_embed")

        return palette(denoise, tested, start_noise(seeds, y.shape[1:]), noise).mean(1, keepdim=True)

    return folder / "9_Network.pth", folder / "palette.json", expected


def make_ldm(options: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Expected]:
    """(a Lightning file, its YAML, what they make of a slice in four steps)."""
    o = dict(options)
    kind, factor = o.pop("beta_schedule", "linear"), o.pop("scale_factor", None)
    dd = {**STAGE, **{key: o.pop(key) for key in ("attn_type", "tanh_out") if key in o}}
    stage = _stage(o)
    beside = _EMBED if stage is None else stage["out_channels"] or dd["in_channels"]
    measured, logvar, identity = o.pop("scale_by_std", False), o.pop("logvar", False), o.pop("identity", False)
    outer = {key: o.pop(key) for key in ("parameterization",) if key in o}
    network = {**LDM, "in_channels": _EMBED + beside, **o}
    with torch.device("meta"):
        module = UNetModel(**{key: value for key, value in network.items() if key != "image_size"})
    weights, first = random_state(module, 5), random_state(first_stage(dd, _EMBED, _CODES), 6)
    beta = betas(_BETAS[kind], 100, 1.5e-3, 1.95e-2)
    state = {f"model.diffusion_model.{k}": v for k, v in weights.items()}
    state |= {f"first_stage_model.{k}": v for k, v in first.items()} | gaussian_buffers(beta, "alphas_cumprod")
    condition: dict[str, Tensor] = {}
    if stage is None and not identity:
        state |= {f"cond_stage_model.{k}": v for k, v in first.items()}
    elif stage and stage["out_channels"]:
        mapper = torch.nn.Conv2d(stage["in_channels"], stage["out_channels"], 1, bias=stage.get("bias", False))
        condition = random_state(mapper, 7, "channel_mapper.")
        state |= {f"cond_stage_model.{k}": v for k, v in condition.items()}
    state |= {"scale_factor": torch.tensor(0.7)} if measured else {}
    state |= {"logvar": torch.zeros(100)} if logvar else {}
    torch.save({"state_dict": state, "global_step": 5}, folder / "last.ckpt")
    said: Any = "__is_first_stage__" if stage is None else {"target": "ldm.encoders.SpatialRescaler", "params": stage}
    params = {
        "linear_start": 0.0015, "linear_end": 0.0195, "timesteps": 100, "beta_schedule": kind, **outer,
        "conditioning_key": "concat", "scale_by_std": measured, "learn_logvar": logvar, "loss_type": "l1",
        "unet_config": {"params": network}, "cond_stage_config": {"target": "torch.nn.Identity"} if identity else said,
        "first_stage_config": {"params": {"embed_dim": _EMBED, "n_embed": _CODES, "ddconfig": dd, "lossconfig": {}}},
    }  # fmt: skip
    params |= {"scale_factor": factor} if factor else {}
    scale = 0.7 if measured else factor or 1.0

    def expected(nc: Tensor, seeds: Tensor) -> Tensor:
        seen = encoded(first, dd, nc) if stage is None else rescaled(condition, stage, nc)
        shape = (_EMBED, *seen.shape[2:])

        def noise(i: int) -> Tensor:
            return counter_normal(seeds, shape, step=i, purpose=SAMPLING)

        def denoise(z: Tensor, t: Tensor) -> Tensor:
            return unet(weights, network, torch.cat([z, seen], 1), t)

        z = ddim(denoise, beta, _STEPS, 1.0, start_noise(seeds, shape), noise)
        return decoded(first, dd, z / scale).clamp(-1, 1)

    return folder / "last.ckpt", write_yaml(folder / "config.yaml", {"model": {"params": params}}), expected


def _stage(o: dict[str, Any]) -> dict[str, Any] | None:
    """The parameters of a SpatialRescaler, taken out of the options; None where the first stage conditions."""
    if "rescaled" not in o:
        return None
    found = {"n_stages": 1, "in_channels": 1, "out_channels": o.pop("rescaled")}
    return found | {key: o.pop(key) for key in ("method", "bias") if key in o}
