"""The files of pix2pix, CycleGAN, Reg-GAN and UNIT, and what their published code makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.matrix.cases import Expected
from bench.matrix.files import random_state, write_options, write_yaml
from bench.matrix.stages import resnet, unet_generator, unit
from spectac_fast.models.networks.resnet import ResnetGenerator
from spectac_fast.models.networks.unet_generator import UNetGenerator
from spectac_fast.models.networks.unit import UNITGenerators

_NORMS = {"batch": "batch1", "instance": "instance", "none": "none"}
_UNIT = {
    "dim": 4,
    "mlp_dim": 256,
    "style_dim": 8,
    "activ": "relu",
    "n_downsample": 2,
    "n_res": 4,
    "pad_type": "reflect",
}


def make_junyanz(options: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Expected]:
    """(latest_net_G.pth, test_opt.txt, what they make of a slice), of pix2pix and of CycleGAN."""
    o = {"norm": "batch", "no_dropout": True, "eval": False, "channels": 1, "no_antialias": True, **options}
    channels, norm = o.pop("channels"), _NORMS[o["norm"]]
    o |= {"ngf": 4, "input_nc": channels, "output_nc": channels, "preprocess": "none", "crop_size": 256}
    dropout = "none" if o["no_dropout"] else "off"
    if o["netG"].startswith("resnet"):
        blocks = {"resnet_9blocks": 9, "resnet_6blocks": 6}[o["netG"]]
        module, run = ResnetGenerator(channels, channels, 4, blocks, norm, dropout), resnet
    else:
        downs = {"unet_128": 7, "unet_256": 8}[o["netG"]]
        module, run = UNetGenerator(channels, channels, downs, 4, norm, dropout), unet_generator
    state = random_state(module, 8)
    torch.save(state, folder / "latest_net_G.pth")

    def expected(nc: Tensor, seeds: Tensor) -> Tensor:
        return run(state, o, nc.repeat(1, channels, 1, 1)).mean(1, keepdim=True)

    return folder / "latest_net_G.pth", write_options(folder / "test_opt.txt", o), expected


def make_reggan(options: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Expected]:
    """(netG_A2B.pth, CycleGan.yaml, what they make of a slice): the residual generator in three parts."""
    state = random_state(ResnetGenerator(1, 1, 4, 9, "instance"), 9)
    parts = {}
    for name, value in state.items():
        number, rest = name.split(".")[1], name.split(".", 2)[2]
        own, start = [("model_head", 0), ("model_body", 10), ("model_tail", 19)][(int(number) > 9) + (int(number) > 18)]
        parts[f"{own}.{int(number) - start}.{rest}"] = value
    torch.save(parts, folder / "netG_A2B.pth")
    said = {"name": "CycleGan", "input_nc": 1, "output_nc": 1, "size": 32, "regist": True, "bidirect": False}
    o = {"netG": "resnet_9blocks", "norm": "instance", "no_dropout": True, "eval": False}
    path = write_yaml(folder / "CycleGan.yaml", said)
    return folder / "netG_A2B.pth", path, lambda nc, seeds: resnet(state, o, nc)


def make_unit(options: Mapping[str, Any], folder: Path) -> tuple[Path, Path, Expected]:
    """(gen_%08d.pt, its YAML, what they make of a slice)."""
    gen = {**_UNIT, **options}
    known = gen["activ"] if gen["activ"] != "prelu" else "relu"
    state = random_state(
        UNITGenerators(1, gen["dim"], gen["n_downsample"], gen["n_res"], activation=known, padding=gen["pad_type"]), 10
    )
    domains = {d: {k[2:]: v for k, v in state.items() if k.startswith(f"{d}.")} for d in "ab"}
    torch.save(domains, folder / "gen_00100000.pt")
    path = write_yaml(folder / "unit.yaml", {"gen": gen, "input_dim_a": 1, "input_dim_b": 1, "new_size": 32})
    return folder / "gen_00100000.pt", path, lambda nc, seeds: unit(state, gen, nc)
