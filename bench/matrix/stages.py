"""The published first stage and the generators as functions of state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

State = Mapping[str, Tensor]


def part(s: State, prefix: str) -> State:
    """The tensors below a prefix, which is taken off."""
    return {name.removeprefix(prefix): value for name, value in s.items() if name.startswith(prefix)}


def encoded(s: State, dd: Mapping[str, Any], x: Tensor, before: bool = False) -> Tensor:
    """The latent of images by taming's VQModel, not quantised; `before` its quant_conv."""
    h = _conv(s, "encoder.conv_in", x)
    for i in range(len(dd["ch_mult"])):
        for j in range(dd["num_res_blocks"]):
            h = _vq_res(s, f"encoder.down.{i}.block.{j}", h)
            h = _vq_attention(s, f"encoder.down.{i}.attn.{j}", h)
        if i + 1 < len(dd["ch_mult"]):
            name = f"encoder.down.{i}.downsample.conv"
            h = F.conv2d(F.pad(h, (0, 1, 0, 1)), s[f"{name}.weight"], s[f"{name}.bias"], 2)
    h = _conv(s, "encoder.conv_out", F.silu(_group(s, "encoder.norm_out", _middle(s, "encoder", h))))
    return h if before else _conv(s, "quant_conv", h)


def decoded(s: State, dd: Mapping[str, Any], h: Tensor) -> Tensor:
    """The image of a latent, which is quantised first."""
    codes = s["quantize.embedding.weight"]
    flat = h.permute(0, 2, 3, 1).reshape(-1, h.shape[1])
    nearest = (flat.square().sum(1, keepdim=True) + codes.square().sum(1) - 2 * flat @ codes.T).argmin(1)
    z = codes[nearest].view(*h.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2)
    h = _middle(s, "decoder", _conv(s, "decoder.conv_in", _conv(s, "post_quant_conv", z)))
    for i in reversed(range(len(dd["ch_mult"]))):
        for j in range(dd["num_res_blocks"] + 1):
            h = _vq_res(s, f"decoder.up.{i}.block.{j}", h)
            h = _vq_attention(s, f"decoder.up.{i}.attn.{j}", h)
        if i:
            h = _conv(s, f"decoder.up.{i}.upsample.conv", F.interpolate(h, scale_factor=2.0))
    return _conv(s, "decoder.conv_out", F.silu(_group(s, "decoder.norm_out", h)))


def rescaled(s: State, c: Mapping[str, Any], x: Tensor) -> Tensor:
    """A SpatialRescaler's image. s: its tensors, none where it maps no channels. c: its published parameters."""
    for _ in range(c["n_stages"]):
        x = F.interpolate(x, scale_factor=0.5, mode=c.get("method", "bilinear"))
    if c.get("out_channels") is None:
        return x
    return F.conv2d(x, s["channel_mapper.weight"], s.get("channel_mapper.bias"))


def resnet(s: State, o: Mapping[str, Any], x: Tensor) -> Tensor:
    """The residual generator. o: options of the published command line."""
    norm = _norm_of(s, o)
    h = F.conv2d(F.pad(x, (3,) * 4, "reflect"), s["model.1.weight"], s.get("model.1.bias"))
    h = F.relu(norm("model.2", h))
    for n in (4, 7):
        h = F.conv2d(h, s[f"model.{n}.weight"], s.get(f"model.{n}.bias"), 2, 1)
        h = F.relu(norm(f"model.{n + 1}", h))
    blocks = {"resnet_9blocks": 9, "resnet_6blocks": 6}[o["netG"]]
    for n in range(10, 10 + blocks):
        second = 5 if o["no_dropout"] else 6
        r = h
        for k in (1, second):
            name = f"model.{n}.conv_block.{k}"
            r = F.conv2d(F.pad(r, (1,) * 4, "reflect"), s[f"{name}.weight"], s.get(f"{name}.bias"))
            r = norm(f"model.{n}.conv_block.{k + 1}", r)
            r = F.relu(r) if k == 1 else r
        h = h + r
    for n in (10 + blocks, 13 + blocks):
        h = F.conv_transpose2d(h, s[f"model.{n}.weight"], s.get(f"model.{n}.bias"), 2, 1, 1)
        h = F.relu(norm(f"model.{n + 1}", h))
    n = 17 + blocks
    return torch.tanh(F.conv2d(F.pad(h, (3,) * 4, "reflect"), s[f"model.{n}.weight"], s[f"model.{n}.bias"]))


def unet_generator(s: State, o: Mapping[str, Any], x: Tensor) -> Tensor:
    """The UNet generator, dropout off. o: options of the published command line."""
    norm, downs = _norm_of(s, o), {"unet_128": 7, "unet_256": 8}[o["netG"]]

    def level(name: str, x: Tensor, depth: int) -> Tensor:
        last, first = depth == downs - 1, depth == 0
        places = (0, None, 1, 3, None) if first else (1, None, None, 3, 4) if last else (1, 2, 3, 5, 6)
        down, after, inner, up, out = places
        h = x if first else F.leaky_relu(x, 0.2)
        h = F.conv2d(h, s[f"{name}.{down}.weight"], s.get(f"{name}.{down}.bias"), 2, 1)
        h = h if after is None else norm(f"{name}.{after}", h)
        h = h if inner is None else level(f"{name}.{inner}.model", h, depth + 1)
        h = F.conv_transpose2d(F.relu(h), s[f"{name}.{up}.weight"], s.get(f"{name}.{up}.bias"), 2, 1)
        if first:
            return torch.tanh(h)
        return torch.cat([x, norm(f"{name}.{out}", h)], 1)

    return level("model.model", x, 0)


def unit(s: State, gen: Mapping[str, Any], x: Tensor) -> Tensor:
    """UNIT from domain a to b by the mean of the latent. gen: the published section of that name."""
    activ = {"relu": F.relu, "lrelu": lambda h: F.leaky_relu(h, 0.2), "selu": F.selu, "tanh": torch.tanh}[gen["activ"]]
    mode = {"reflect": "reflect", "replicate": "replicate", "zero": "constant"}[gen["pad_type"]]

    def conv(name: str, h: Tensor, stride: int = 1) -> Tensor:
        weight = s[f"{name}.conv.weight"]
        pad = (weight.shape[-1] - 1) // 2
        return F.conv2d(F.pad(h, (pad,) * 4, mode), weight, s[f"{name}.conv.bias"], stride)

    def residuals(name: str, h: Tensor) -> Tensor:
        for n in range(gen["n_res"]):
            r = activ(F.instance_norm(conv(f"{name}.model.{n}.model.0", h)))
            h = h + F.instance_norm(conv(f"{name}.model.{n}.model.1", r))
        return h

    downs = gen["n_downsample"]
    h = activ(F.instance_norm(conv("a.enc.model.0", x)))
    for n in range(1, downs + 1):
        h = activ(F.instance_norm(conv(f"a.enc.model.{n}", h, 2)))
    h = residuals(f"a.enc.model.{downs + 1}", h)
    h = residuals("b.dec.model.0", h)
    for n in range(downs):
        name = f"b.dec.model.{2 * n + 2}"
        h = conv(name, F.interpolate(h, scale_factor=2.0))
        flat = h.flatten(1)
        mean, std = flat.mean(1).view(-1, 1, 1, 1), flat.std(1).view(-1, 1, 1, 1)
        gamma, beta = (s[f"{name}.norm.{part}"].view(1, -1, 1, 1) for part in ("gamma", "beta"))
        h = activ((h - mean) / (std + 1e-5) * gamma + beta)
    return torch.tanh(conv(f"b.dec.model.{2 * downs + 1}", h))


def _norm_of(s: State, o: Mapping[str, Any]) -> Callable[[str, Tensor], Tensor]:
    def norm(name: str, h: Tensor) -> Tensor:
        if o["norm"] == "instance":
            return F.instance_norm(h)
        if o["norm"] == "none":
            return h
        weight, bias = s[f"{name}.weight"], s[f"{name}.bias"]
        if o["eval"]:
            return F.batch_norm(h, s[f"{name}.running_mean"], s[f"{name}.running_var"], weight, bias)
        # The published test sends one image at a time through a network in training mode.
        return torch.cat([F.batch_norm(one[None], None, None, weight, bias, True) for one in h])

    return norm


def _conv(s: State, name: str, x: Tensor) -> Tensor:
    weight = s[f"{name}.weight"]
    return F.conv2d(x, weight, s[f"{name}.bias"], padding=weight.shape[-1] // 2)


def _group(s: State, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, s[f"{name}.weight"], s[f"{name}.bias"], 1e-6)


def _vq_res(s: State, name: str, x: Tensor) -> Tensor:
    h = _conv(s, f"{name}.conv1", F.silu(_group(s, f"{name}.norm1", x)))
    h = _conv(s, f"{name}.conv2", F.silu(_group(s, f"{name}.norm2", h)))
    return (_conv(s, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in s else x) + h


def _vq_attention(s: State, name: str, x: Tensor) -> Tensor:
    """Where there is any: a first stage without attention has no such tensors."""
    if f"{name}.q.weight" not in s:
        return x
    h = _group(s, f"{name}.norm", x)
    q, k, v = (_conv(s, f"{name}.{part}", h).flatten(2) for part in "qkv")
    weight = torch.softmax(torch.einsum("bct,bcs->bts", q, k) * x.shape[1] ** -0.5, -1)
    return x + _conv(s, f"{name}.proj_out", torch.einsum("bts,bcs->bct", weight, v).view_as(x))


def _middle(s: State, name: str, h: Tensor) -> Tensor:
    h = _vq_attention(s, f"{name}.mid.attn_1", _vq_res(s, f"{name}.mid.block_1", h))
    return _vq_res(s, f"{name}.mid.block_2", h)
