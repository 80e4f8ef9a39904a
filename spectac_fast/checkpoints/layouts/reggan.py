"""github.com/Kid-Liet/Reg-GAN: `netG_A2B.pth`, a state dict of a ResNet in three parts.

`model_head`, `model_body` and `model_tail` are layers 0 ... 9, the residual blocks and the rest of the one sequence
that the network is elsewhere. The encoder-decoder of the NC -> AC comparison, which is not in that code, is stored
under pix2pix's names.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.configurations.generators import reggan as configured
from spectac_fast.errors import InputError

from . import Imported
from ._generators import following, read_generator

__all__ = ["MODELS", "configured", "following", "read", "write"]
MODELS = ("reggan",)
_HEAD = 10


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """The generator, in three parts or under pix2pix's names; InputError for anything else."""
    if any(name.startswith("offset_map.") for name in tensors):
        raise InputError(f"{source} is a registration network, which only training needs; import netG_A2B.pth")
    tail = _HEAD + _blocks(tensors, "model_body")
    parts = {"model_head": ("model", 0), "model_body": ("model", _HEAD), "model_tail": ("model", tail)}
    renamed = {_shifted(name, parts): value for name, value in tensors.items()}
    if len(renamed) < len(tensors):
        raise InputError(f"{source} holds tensors both in three parts and under the names of one sequence")
    config, found, assumed = read_generator(renamed, source)
    return Imported("reggan", config, found, assumed)


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """The published names, where the published code has such a network."""
    if config["network"]["kind"] != "resnet_generator":
        return dict(tensors)
    tail = _HEAD + config["network"]["blocks"]
    written = {}
    for name, value in tensors.items():
        number = int(name.split(".")[1])
        part, start = ("model_tail", tail) if number >= tail else ("model_body", _HEAD)
        if number < _HEAD:
            part, start = "model_head", 0
        written[_shifted(name, {"model": (part, -start)})] = value
    return written


def _blocks(tensors: dict[str, Tensor], part: str) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith(f"{part}.")})


def _shifted(name: str, parts: dict[str, tuple[str, int]]) -> str:
    """`part.N.rest` under another part's name, N counted from another start; other names as they are."""
    part, _, rest = name.partition(".")
    number, _, end = rest.partition(".")
    if part not in parts or not number.isdecimal():
        return name
    new, shift = parts[part]
    return f"{new}.{int(number) + shift}.{end}"
