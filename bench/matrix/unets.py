"""The published UNet as a function of a state dict and of the options of a published configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

State = Mapping[str, Tensor]


def unet(s: State, o: Mapping[str, Any], x: Tensor, t: Tensor, embedding: str = "time_embed") -> Tensor:
    """guided-diffusion's forward pass. o: under BBDM's and latent diffusion's names. x: with what is concatenated."""
    half = o["model_channels"] // 2
    angle = t.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(half).float() / half)[None]
    emb = _linear(s, f"{embedding}.0", torch.cat([angle.cos(), angle.sin()], 1))
    emb = _linear(s, f"{embedding}.2", F.silu(emb))
    levels, blocks = len(o["channel_mult"]), o["num_res_blocks"]
    h, skips, n = _conv(s, "input_blocks.0.0", x), [], 0
    skips.append(h)
    for level in range(levels):
        for _ in range(blocks):
            n += 1
            h = _res(s, o, f"input_blocks.{n}.0", h, emb)
            if 2**level in o["attention_resolutions"]:
                h = _attention(s, o, f"input_blocks.{n}.1", h)
            skips.append(h)
        if level + 1 < levels:
            n += 1
            h = _down(s, o, f"input_blocks.{n}.0", h, emb)
            skips.append(h)
    h = _res(s, o, "middle_block.0", h, emb)
    h = _res(s, o, "middle_block.2", _attention(s, o, "middle_block.1", h), emb)
    n = -1
    for level in reversed(range(levels)):
        for i in range(blocks + 1):
            n += 1
            h, j = _res(s, o, f"output_blocks.{n}.0", torch.cat([h, skips.pop()], 1), emb), 1
            if 2**level in o["attention_resolutions"]:
                h, j = _attention(s, o, f"output_blocks.{n}.1", h), 2
            if level and i == blocks:
                h = _up(s, o, f"output_blocks.{n}.{j}", h, emb)
    return _conv(s, "out.2", F.silu(_norm(s, "out.0", h)))


def _linear(s: State, name: str, x: Tensor) -> Tensor:
    return x @ s[f"{name}.weight"].T + s[f"{name}.bias"]


def _conv(s: State, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = s[f"{name}.weight"]
    return F.conv2d(x, weight, s[f"{name}.bias"], stride, weight.shape[-1] // 2)


def _norm(s: State, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, s[f"{name}.weight"], s[f"{name}.bias"], 1e-5)


def _res(s: State, o: Mapping[str, Any], name: str, x: Tensor, emb: Tensor, way: int = 0) -> Tensor:
    h = F.silu(_norm(s, f"{name}.in_layers.0", x))
    h, x = (F.interpolate(v, scale_factor=2.0) if way > 0 else F.avg_pool2d(v, 2) if way < 0 else v for v in (h, x))
    h = _conv(s, f"{name}.in_layers.2", h)
    e = _linear(s, f"{name}.emb_layers.1", F.silu(emb))[:, :, None, None]
    if o.get("use_scale_shift_norm", False):
        scale, shift = e.chunk(2, 1)
        h = _norm(s, f"{name}.out_layers.0", h) * (1 + scale) + shift
    else:
        h = _norm(s, f"{name}.out_layers.0", h + e)
    h = _conv(s, f"{name}.out_layers.3", F.silu(h))
    return (_conv(s, f"{name}.skip_connection", x) if f"{name}.skip_connection.weight" in s else x) + h


def _down(s: State, o: Mapping[str, Any], name: str, x: Tensor, emb: Tensor) -> Tensor:
    if o.get("resblock_updown", False):
        return _res(s, o, name, x, emb, -1)
    return _conv(s, f"{name}.op", x, 2) if o.get("conv_resample", True) else F.avg_pool2d(x, 2)


def _up(s: State, o: Mapping[str, Any], name: str, x: Tensor, emb: Tensor) -> Tensor:
    if o.get("resblock_updown", False):
        return _res(s, o, name, x, emb, 1)
    x = F.interpolate(x, scale_factor=2.0)
    return _conv(s, f"{name}.conv", x) if o.get("conv_resample", True) else x


def _attention(s: State, o: Mapping[str, Any], name: str, x: Tensor) -> Tensor:
    b, c, *grid = x.shape
    flat = x.reshape(b, c, -1)
    width = o.get("num_head_channels", -1)
    heads = o["num_heads"] if width == -1 else c // width
    qkv = F.conv1d(_norm(s, f"{name}.norm", flat), s[f"{name}.qkv.weight"], s[f"{name}.qkv.bias"])
    if o.get("use_new_attention_order", False):
        q, k, v = (part.reshape(b * heads, c // heads, -1) for part in qkv.chunk(3, 1))
    else:
        q, k, v = qkv.reshape(b * heads, 3 * c // heads, -1).split(c // heads, 1)
    scale = 1 / math.sqrt(math.sqrt(c // heads))
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q * scale, k * scale), -1)
    a = torch.einsum("bts,bcs->bct", weight, v).reshape(b, c, -1)
    out = F.conv1d(a, s[f"{name}.proj_out.weight"], s[f"{name}.proj_out.bias"])
    return (flat + out).reshape(b, c, *grid)
