"""Sections that several published projects share: guided-diffusion's UNet, and the VQGAN of taming-transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectac_fast.errors import InputError

from .section import Section


def attention(section: Section, default_heads: int = -1) -> dict[str, Any]:
    """The heads of a UNet's attention blocks, {"network.num_head_channels", "network.num_heads", order}.

    default_heads: what the published class takes where `num_heads` is not given.
    """
    channels = section.take("num_head_channels", -1, int)
    heads = section.take("num_heads", default_heads, int)
    if channels == -1 and heads == -1:
        raise InputError(f"{section.source}: expected {section.name}.num_heads or num_head_channels, found neither")
    if channels == -1:
        section.only("num_heads_upsample", -1, heads, without="second number of heads on the way up")
    section.ignore("num_heads_upsample")
    return {
        "network.num_head_channels": channels,
        "network.num_heads": max(heads, 1),
        "network.use_new_attention_order": bool(section.take("use_new_attention_order", False, bool)),
    }


def unet(section: Section) -> dict[str, Any]:
    """What the section of a UNet under guided-diffusion's names says; it is finished with `section.done`."""
    levels = section.take("channel_mult", [1, 2, 4, 8], (list, tuple))
    factors = [2**level for level in range(len(levels))]
    section.only("use_spatial_transformer", False, None, without="attention to a context (SpatialTransformer)")
    section.only("context_dim", None, without="attention to a context (SpatialTransformer)")
    section.only("transformer_depth", 1, without="attention to a context (SpatialTransformer)")
    section.only("dims", 2, without="network of other than two dimensions")
    section.only("num_classes", None, without="network of classes")
    section.only("n_embed", None, without="network that predicts the numbers of codes")
    section.only("use_fp16", False, without="network that was trained in half precision")
    section.ignore("image_size", "use_checkpoint", "dropout", "legacy", "condition_key")
    found = {
        "network.in_channels": section.take("in_channels"),
        "network.model_channels": section.take("model_channels"),
        "network.out_channels": section.take("out_channels"),
        "network.num_res_blocks": section.take("num_res_blocks"),
        "network.attention_resolutions": sorted(
            set(factors) & set(section.take("attention_resolutions", [], (list, tuple)))
        ),
        "network.channel_mult": list(levels),
        "network.use_scale_shift_norm": bool(section.take("use_scale_shift_norm", False)),
        "network.resblock_updown": bool(section.take("resblock_updown", False)) and len(levels) > 1,
        **attention(section),
    }
    learned = bool(section.take("conv_resample", True))
    # Where residual blocks resample, the other kind of resampling does not occur, and neither within one level.
    found["network.conv_resample"] = learned and not found["network.resblock_updown"] and len(levels) > 1
    section.done()
    return found


def first_stage(published: Mapping[str, Any], name: str, place: str, source: str) -> dict[str, Any]:
    """What the parameters of a VQGAN say. name: of their section; place: of the network in our configuration."""
    params, dd = Section(published, name, source), Section(published, f"{name}.ddconfig", source)
    params.ignore(
        "ddconfig", "lossconfig", "monitor", "ckpt_path", "ckpt_key", "ignore_keys", "image_key", "sane_index_shape"
    )
    params.ignore("colorize_nlabels", "batch_resize_range", "scheduler_config", "lr_g_factor", "use_ema")
    params.only("remap", None, without="remapped code book")
    levels, resolution = dd.take("ch_mult"), dd.take("resolution")
    kind = dd.take("attn_type", "vanilla")
    if kind not in ("vanilla", "none"):
        raise InputError(f"{source}: {dd.name}.attn_type is {kind!r}, and there is no such attention here")
    at = dd.take("attn_resolutions", [])
    dd.only("double_z", False, without="KL autoencoder (double_z)")
    dd.only("resamp_with_conv", True, without="first stage that resamples without convolutions")
    dd.only("tanh_out", False, without="first stage whose image a tanh bounds")
    dd.only("give_pre_end", False, without="first stage that stops before its last layer")
    dd.only("use_linear_attn", False, without="linear attention")
    dd.ignore("dropout")
    found = {
        "in_channels": dd.take("in_channels"),
        "out_channels": dd.take("out_ch"),
        "ch": dd.take("ch"),
        "ch_mult": list(levels),
        "num_res_blocks": dd.take("num_res_blocks"),
        "attn_levels": [i for i in range(len(levels)) if kind == "vanilla" and resolution // 2**i in at],
        "middle_attention": kind == "vanilla",
        "z_channels": dd.take("z_channels"),
        "embed_dim": params.take("embed_dim"),
        "n_embed": params.take("n_embed"),
    }
    dd.done()
    params.done()
    return {f"{place}.{key}": value for key, value in found.items()}
