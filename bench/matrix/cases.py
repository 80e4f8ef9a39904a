"""The configurations: for each, the files of a published run and the images that its own code would make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

Expected = Callable[[Tensor, Tensor], Tensor]
"""(nc [B, 1, H, W] in model units, seeds int64 [B]) -> the published images, [B, 1, H, W]."""


@dataclass(frozen=True)
class Case:
    """One configuration.

    name: what it differs in. layout: of `spectac import`. options: of its maker. refused: words of the sentence that
    must end its import; "" where it must run. tolerance: of the largest difference, as a share of the largest value.
    side: rows and columns of the images.
    """

    name: str
    layout: str
    options: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    tolerance: float = 1e-4
    side: int = 16


def cases() -> list[Case]:
    """All of them, in the order of the table."""
    return [*_bbdm(), *_lbbdm(), *_cpdm(), *_palette(), *_ldm(), *_gans(), *_refused()]


def _bbdm() -> Iterator[Case]:
    def case(name: str, tolerance: float = 1e-4, **options: Any) -> Case:
        return Case(name, "bbdm", options, tolerance=tolerance)

    yield case("the template, narrow")
    for width in (64, 96):
        yield case(f"model_channels {width}", model_channels=width)
    for heads in (8, 16, 32):
        yield case(f"num_head_channels {heads}", num_head_channels=heads, attention_resolutions=[1, 2])
    for heads in (1, 2, 4, 8):
        yield case(f"num_heads {heads}, num_head_channels -1", num_head_channels=-1, num_heads=heads)
    yield case("use_new_attention_order", use_new_attention_order=True, num_head_channels=16)
    yield case("new order, num_heads 2", use_new_attention_order=True, num_head_channels=-1, num_heads=2)
    yield case("model_channels 96, num_head_channels 48", model_channels=96, num_head_channels=48)
    for mult in ([1], [1, 3], [1, 2, 2]):
        yield case(f"channel_mult {mult}", channel_mult=mult, num_head_channels=32)
    yield case("num_res_blocks 1", num_res_blocks=1)
    yield case("resblock_updown false", resblock_updown=False)
    yield case("resblock_updown, conv_resample false", resblock_updown=False, conv_resample=False)
    yield case("use_scale_shift_norm false", use_scale_shift_norm=False)
    yield case("out_channels 3", out_channels=3, in_channels=6)
    yield case("nocond", in_channels=1, condition_key="nocond")
    for objective, tolerance in (("noise", 1e-2), ("ysubx", 1e-4)):
        yield case(f"objective {objective}", tolerance, objective=objective)
    for eta in (0.0, 0.5):
        yield case(f"eta {eta}", eta=eta)
    for total, steps in ((100, 20), (30, 12), (1000, 3)):
        yield case(f"num_timesteps {total}, sample_step {steps}", num_timesteps=total, sample_step=steps)
    yield case("num_timesteps 12, skip_sample false", num_timesteps=12, skip_sample=False)
    yield case("num_timesteps 12, sample_step 12", num_timesteps=12, sample_step=12)
    for max_var in (1 / 3, 0.05, 2.7182818):
        yield case(f"max_var {max_var:.6g}", max_var=max_var)
    yield case("mt_type sin", mt_type="sin")
    yield case("an average beside the raw weights", ema=True)


def _lbbdm() -> Iterator[Case]:
    def case(name: str, **options: Any) -> Case:
        return Case(f"latent, {name}", "bbdm", {"latent": True, **options})

    yield case("nocond")
    yield case("SpatialRescaler", condition_key="SpatialRescaler")
    yield case("SpatialRescaler, nearest", condition_key="SpatialRescaler", method="nearest")
    yield case("SpatialRescaler with bias", condition_key="SpatialRescaler", bias=True)
    yield case("SpatialRescaler without out_channels", condition_key="SpatialRescaler", rescaled=None)
    yield case("latent_before_quant_conv", before=True)
    yield case("z_channels 2, embed_dim 3", z_channels=2)
    yield case("normalize_latent", normalised=True)
    yield case("a first stage of three channels", channels=3)
    yield case("the losses of its first stage in the file", losses=True)


def _cpdm() -> Iterator[Case]:
    def case(name: str, tolerance: float = 1e-4, **options: Any) -> Case:
        return Case(f"CPDM, {name}", "cpdm", options, tolerance=tolerance)

    yield case("the template, narrow")
    yield case("rescaler to 3 channels", rescaled=3)
    yield case("normalize_latent", normalised=True)
    yield case("latent_before_quant_conv", before=True)
    yield case("z_channels 2", z_channels=2)
    yield case("model_channels 96", model_channels=96)
    yield case("num_heads 2, num_head_channels -1", num_head_channels=-1, num_heads=2)
    for objective, tolerance in (("noise", 1e-2), ("ysubx", 1e-4)):
        yield case(f"objective {objective}", tolerance, objective=objective)
    yield case("eta 0", eta=0.0)
    yield case("num_timesteps 100, sample_step 20", num_timesteps=100, sample_step=20)
    yield case("an average beside the raw weights", ema=True)


def _palette() -> Iterator[Case]:
    def case(name: str, **options: Any) -> Case:
        return Case(f"Palette, {name}", "palette", options)

    yield case("the template, narrow")
    for heads in (8, 16):
        yield case(f"num_head_channels {heads}", num_head_channels=heads)
    yield case("num_heads 2", num_head_channels=-1, num_heads=2)
    for kind in ("quad", "cosine", "warmup10", "warmup50", "const"):
        yield case(f"schedule {kind}", schedule=kind)
    yield case("n_timestep 5", n_timestep=5)
    yield case("three channels", out_channel=3, in_channel=6)
    yield case("resblock_updown false", resblock_updown=False)


def _ldm() -> Iterator[Case]:
    def case(name: str, **options: Any) -> Case:
        return Case(f"latent diffusion, {name}", "ldm", options)

    yield case("the first stage as condition")
    yield case("num_head_channels 32", num_head_channels=32, num_heads=-1)
    yield case("num_heads 2", num_heads=2)
    yield case("SpatialRescaler", rescaled=3)
    yield case("SpatialRescaler with bias, nearest", rescaled=2, bias=True, method="nearest")
    yield case("SpatialRescaler without out_channels", rescaled=None)
    yield case("scale_factor 0.18215", scale_factor=0.18215)
    yield case("scale_by_std", scale_by_std=True)
    for kind in ("cosine", "sqrt", "sqrt_linear"):
        yield case(f"beta_schedule {kind}", beta_schedule=kind)
    yield case("attn_type none", attn_type="none")
    yield case("learn_logvar", logvar=True)


def _gans() -> Iterator[Case]:
    def case(name: str, layout: str, side: int = 32, **options: Any) -> Case:
        return Case(f"{layout}, {name}", layout, options, side=side)

    for norm in ("batch", "instance", "none"):
        yield case(f"unet_128, norm {norm}", "pix2pix", side=256, netG="unet_128", norm=norm)
        yield case(f"resnet_6blocks, norm {norm}", "cyclegan", netG="resnet_6blocks", norm=norm)
    yield case("unet_128, eval", "pix2pix", side=128, netG="unet_128", norm="batch", eval=True)
    yield case("resnet_9blocks, three channels", "cyclegan", netG="resnet_9blocks", norm="instance", channels=3)
    yield case("resnet_6blocks with dropout, eval", "cyclegan", netG="resnet_6blocks", no_dropout=False, eval=True)
    yield case("size in its YAML", "reggan")
    for activ, pad in (("relu", "reflect"), ("lrelu", "zero"), ("selu", "replicate"), ("tanh", "reflect")):
        yield case(f"activ {activ}, pad_type {pad}", "unit", activ=activ, pad_type=pad)
    yield case("n_downsample 1, n_res 2", "unit", n_downsample=1, n_res=2)


def _refused() -> Iterator[Case]:
    def case(layout: str, words: str, **options: Any) -> Case:
        return Case(f"{layout}, {', '.join(f'{k} {v}' for k, v in options.items())}", layout, options, refused=words)

    yield case("bbdm", "sample_type", sample_type="cosine")
    yield case("bbdm", "use_spatial_transformer", use_spatial_transformer=True)
    yield case("bbdm", "an option that this package does not know", use_something_new=True)
    yield case("bbdm", "sample_step in 3 ... 100", num_timesteps=100, sample_step=200)
    yield case("palette", "module_name", module_name="sr3")
    yield case("palette", "schedule", schedule="jsd")
    yield case("ldm", "cond_stage_config is torch.nn.Identity", identity=True)
    yield case("ldm", "parameterization", parameterization="x0")
    yield case("ldm", "tanh_out", tanh_out=True)
    yield case("cyclegan", "antialias", netG="resnet_6blocks", no_antialias=False)
    yield case("unit", "gen.activ", activ="prelu")
