"""Models by name or file."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import torch
from torch import Tensor

from spectac_fast.checkpoints.weights import fill, load_weights
from spectac_fast.device import resolve_device
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import InputError, SetupError

from .bbdm import BBDM, BBDMTranslator
from .networks import build_network
from .rows import load_row
from .translator import Translator

FOLDER = Path(__file__).parents[1] / "weights"
SHIPPED = {"bbdm": "bbdm64.safetensors", "identity": "identity.json", "linear": "linear.json", "scale": "scale.json"}


def load(name_or_path: str | Path, device: str = "auto") -> Translator:
    """A shipped model by name (bbdm, identity, linear, scale), or one from a .safetensors or .json file.

    device: "auto" (the first CUDA device, else the CPU), "cpu", "cuda" or "cuda:N".
    Raises SetupError for an unknown name, a model that is not installed or a device that is not there, InputError for a
    file that is not a model of this package.
    """
    path = _find(name_or_path)
    where = torch.device(resolve_device(device))
    return load_row(path, where) if path.suffix == ".json" else load_bbdm(path, where)


def load_bbdm(path: Path, device: torch.device) -> BBDMTranslator:
    """A bridge from its weight file; InputError if the file's description and tensors do not make one."""
    tensors, header = load_weights(path)
    if header.get("model") != BBDMTranslator.name:
        raise InputError(f"the weight file {path} holds a model {header.get('model')!r}, expected 'bbdm'")
    try:
        config = header["config"]
        model = BBDM(BrownianBridge(**config["bridge"]), build_network(config["network"]))
        settings = {
            "defaults": {key: config["defaults"][key] for key in _DEFAULTS},
            "size": (int(config["size"][0]), int(config["size"][1])),
            "pixel_mm": float(config["pixel_mm"]),
            "slice_mm": float(config["slice_mm"]),
            "gain": float(config["gain"]),
            "card": dict(header["card"]),
        }
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"the description in the weight file {path} cannot be used: {error!r}") from error
    fill(model.denoise_fn, _without_prefix(tensors), str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return BBDMTranslator(model, weights_sha256=digest, device=device, **settings)


_DEFAULTS = ("steps", "samples", "sample_steps", "solver", "order", "eta")
_PREFIX = "denoise_fn."


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(_PREFIX): value.float() for name, value in tensors.items()}


def _find(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".safetensors", ".json"):
        if not path.is_file():
            raise InputError(f"the model file {path} does not exist")
        return path
    name = str(name_or_path)
    if name not in SHIPPED:
        near = difflib.get_close_matches(name.lower(), SHIPPED, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SetupError(
            f"unknown model {name!r}: expected one of {', '.join(SHIPPED)}, or a .safetensors or .json file{hint}"
        )
    path = FOLDER / SHIPPED[name]
    if not path.is_file():
        raise SetupError(f"the weights of model {name!r} are not installed: {path.name} is missing in {FOLDER}")
    return path
