"""BBDM's files, in pixel space and between latents, and what its published code makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.matrix.cases import Expected
from bench.matrix.files import bridge_buffers, random_state, write_yaml
from bench.matrix.samplers import bridge
from bench.matrix.stages import decoded, encoded, part, rescaled
from bench.matrix.unets import unet
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.unet import UNetModel
from spectac_fast.ops.counter_normal import SAMPLING, counter_normal

BRIDGE = {
    "mt_type": "linear", "objective": "grad", "loss_type": "l1", "skip_sample": True, "sample_type": "linear",
    "sample_step": 4, "num_timesteps": 1000, "eta": 1.0, "max_var": 1.0,
}  # fmt: skip
UNET = {
    "image_size": 16, "in_channels": 2, "model_channels": 32, "out_channels": 1, "num_res_blocks": 2,
    "attention_resolutions": [2], "channel_mult": [1, 2], "conv_resample": True, "dims": 2, "num_heads": 8,
    "num_head_channels": 64, "use_scale_shift_norm": True, "resblock_updown": True, "use_spatial_transformer": False,
    "context_dim": None, "condition_key": "SpatialRescaler",
}  # fmt: skip
STAGE = {
    "double_z": False, "z_channels": 3, "resolution": 16, "in_channels": 1, "out_ch": 1, "ch": 32, "ch_mult": [1, 1],
    "num_res_blocks": 1, "attn_resolutions": [8], "dropout": 0.0,
}  # fmt: skip
_NETWORK = (
    "in_channels", "model_channels", "out_channels", "num_res_blocks", "attention_resolutions", "channel_mult",
    "conv_resample", "num_heads", "num_head_channels", "use_scale_shift_norm", "resblock_updown",
    "use_new_attention_order",
)  # fmt: skip
_EMBED, _CODES = 3, 16


def make(options: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Expected]:
    """(checkpoint, template, what they make of a slice)."""
    o = dict(options)
    params = {key: o.pop(key, value) for key, value in BRIDGE.items()}
    latent = _Latent(o) if o.pop("latent", False) else None
    latent = _Guided(o) if o.pop("guided", False) else latent
    average = o.pop("ema", False)
    defaults = {**UNET, **(latent.network if latent else {})}
    network = {**defaults, **o}
    state = random_state(_module(network), 1, "denoise_fn.") | bridge_buffers(params)
    if latent:
        state |= latent.state
    model: dict[str, Any] = {"BB": {"params": {**params, "UNetParams": network}}}
    content: dict[str, Any] = {"step": 3, "epoch": 1, "model": state}
    if average:
        content["ema"] = {k: 0.9 * v for k, v in state.items() if k.startswith("denoise_fn.")}
        state = {**state, **content["ema"]}
    if latent:
        model |= latent.template
        content |= latent.statistics
    torch.save(content, folder / "top_model_epoch_9.pth")
    template = write_yaml(folder / "Template.yaml", {"model": model})
    weights = part(state, "denoise_fn.")

    def expected(nc: Tensor, seeds: Tensor) -> Tensor:
        y = nc.repeat(1, network["out_channels"], 1, 1)
        context = y if network["in_channels"] > network["out_channels"] else None
        if latent:
            y, context = latent.start(state, nc)

        def net(x: Tensor, t: Tensor) -> Tensor:
            return unet(weights, network, x if context is None else torch.cat([x, context], 1), t)

        def noise(i: int) -> Tensor:
            return counter_normal(seeds, y.shape[1:], step=i, purpose=SAMPLING)

        x0 = bridge(net, params, y, noise)
        return (latent.finish(state, x0) if latent else x0).mean(1, keepdim=True)

    return folder / "top_model_epoch_9.pth", template, expected


def make_cpdm(options: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Expected]:
    """The same for CPDM, whose two maps are `maps_of` the slices."""
    return make({"guided": True, "condition_key": "SpatialRescaler", **options}, folder)


def maps_of(nc: Tensor) -> dict[str, Tensor]:
    """Maps for slices, any that have both ends of their range: CPDM is given some, without CT ours makes others."""
    return {"attention": (nc > 0.2).to(nc.dtype), "attenuation": 0.5 - 0.5 * nc}


def _module(network: Mapping[str, Any]) -> torch.nn.Module:
    with torch.device("meta"):
        return UNetModel(**{key: network[key] for key in _NETWORK if key in network})


class _Latent:
    """What a latent bridge has besides its network. Takes its own options out of `o`."""

    def __init__(self, o: dict[str, Any]) -> None:
        channels = o.pop("channels", 1)
        self.dd = {**STAGE, "z_channels": o.pop("z_channels", 3), "in_channels": channels, "out_ch": channels}
        self.before, self.normalised = o.pop("before", False), o.pop("normalised", False)
        self.stage = None
        if o.get("condition_key") == "SpatialRescaler":
            self.stage = {"n_stages": 1, "in_channels": channels, "out_channels": o.pop("rescaled", 2)}
            self.stage |= {key: o.pop(key) for key in ("method", "bias") if key in o}
        beside = (self.stage["out_channels"] or channels) if self.stage else 0
        self.network = {"in_channels": _EMBED + beside, "out_channels": _EMBED, "image_size": 8}
        self.network["condition_key"] = "nocond"
        self.state = random_state(first_stage(self.dd, _EMBED, _CODES), 2, "vqgan.")
        if self.stage and self.stage["out_channels"]:
            mapper = torch.nn.Conv2d(channels, beside, 1, bias=self.stage.get("bias", False))
            self.state |= random_state(mapper, 3, "cond_stage_model.channel_mapper.")
        if o.pop("losses", False):
            self.state["vqgan.loss.discriminator.main.0.weight"] = torch.zeros(4, 1, 4, 4)
        names = ("ori_latent_mean", "ori_latent_std", "cond_latent_mean", "cond_latent_std")
        draw = torch.Generator().manual_seed(12)
        values = {name: 0.2 * torch.randn(1, _EMBED, 1, 1, generator=draw) + ("std" in name) for name in names}
        self.statistics = values if self.normalised else {}

    @property
    def template(self) -> dict[str, Any]:
        params = {"embed_dim": _EMBED, "n_embed": _CODES, "ddconfig": self.dd, "lossconfig": {"target": "Identity"}}
        found: dict[str, Any] = {"latent_before_quant_conv": self.before, "normalize_latent": self.normalised}
        if self.stage:
            found["CondStageParams"] = self.stage
        return found | {"VQGAN": {"params": params}}

    def start(self, state: Mapping[str, Tensor], nc: Tensor) -> tuple[Tensor, Tensor | None]:
        images = nc.repeat(1, self.dd["in_channels"], 1, 1)
        y = encoded(part(state, "vqgan."), self.dd, images, self.before)
        if self.normalised:
            y = (y - self.statistics["cond_latent_mean"]) / self.statistics["cond_latent_std"]
        return y, rescaled(part(state, "cond_stage_model."), self.stage, images) if self.stage else None

    def finish(self, state: Mapping[str, Tensor], z: Tensor) -> Tensor:
        if self.normalised:
            z = z * self.statistics["ori_latent_std"] + self.statistics["ori_latent_mean"]
        stage = part(state, "vqgan.")
        if self.before:
            z = torch.nn.functional.conv2d(z, stage["quant_conv.weight"], stage["quant_conv.bias"])
        return decoded(stage, self.dd, z)


class _Guided(_Latent):
    """CPDM (github.com/thanhhff/CPDM): a second rescaler for a second map, and a condition in [0, 1]."""

    def __init__(self, o: dict[str, Any]) -> None:
        super().__init__(o)
        mapped = self.stage["out_channels"]
        mapper = torch.nn.Conv2d(self.stage["in_channels"], mapped, 1, bias=False)
        self.state |= random_state(mapper, 4, "cond_stage_model_1.channel_mapper.")
        self.network |= {"in_channels": _EMBED + 2 * mapped, "condition_key": "SpatialRescaler"}

    def start(self, state: Mapping[str, Tensor], nc: Tensor) -> tuple[Tensor, Tensor | None]:
        y, _ = super().start(state, 0.5 * (nc + 1.0))
        stages = zip(("cond_stage_model.", "cond_stage_model_1."), maps_of(nc).values())
        return y, torch.cat([rescaled(part(state, name), self.stage, image) for name, image in stages], 1)


def first_stage(dd: Mapping[str, Any], embed: int, codes: int) -> torch.nn.Module:
    """The names and shapes of a published first stage."""
    attention = dd.get("attn_type", "vanilla") == "vanilla"
    levels = [i for i in range(len(dd["ch_mult"])) if dd["resolution"] // 2**i in dd["attn_resolutions"] and attention]
    return VQGAN(
        dd["in_channels"], dd["out_ch"], dd["ch"], dd["ch_mult"], dd["num_res_blocks"], levels, dd["z_channels"], embed,
        codes, middle_attention=attention,
    )  # fmt: skip
