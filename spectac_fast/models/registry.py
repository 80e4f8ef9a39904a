"""Models by name or file."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path

import torch

from spectac_fast.checkpoints.header import within_budget
from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.cohort.population import population_file, read_population
from spectac_fast.cohort.surroundings import read_surroundings, surroundings_file
from spectac_fast.device import resolve_device
from spectac_fast.errors import InputError, SetupError
from spectac_fast.models.rows import load_row
from spectac_fast.models.translator import Translator
from spectac_fast.models.uncertainty import read_calibration

FOLDER = Path(__file__).parents[1] / "weights"
# What a folder of the Hugging Face kind calls its weight file.
IN_FOLDER = "model.safetensors"
# Method (the "model" of a weight file's header) -> "module:function", called as
# function(tensors, header, path, device) -> Translator; imported when a file asks for it.
BUILDERS = {
    "bbdm": "spectac_fast.models.methods.bbdm:build",
    "cpdm": "spectac_fast.models.methods.cpdm:build",
    "cyclegan": "spectac_fast.models.methods.cyclegan:build",
    "ddpm": "spectac_fast.models.methods.ddpm:build",
    "lbbdm": "spectac_fast.models.methods.lbbdm:build",
    "ldm": "spectac_fast.models.methods.ldm:build",
    "medgan": "spectac_fast.models.methods.medgan:build",
    "palette": "spectac_fast.models.methods.palette:build",
    "pix2pix": "spectac_fast.models.methods.pix2pix:build",
    "reggan": "spectac_fast.models.methods.reggan:build",
    "regression": "spectac_fast.models.methods.regression:build",
    "unit": "spectac_fast.models.methods.unit:build",
    "vqgan": "spectac_fast.models.methods.vqgan:build",
}
ROWS = ("identity", "linear", "scale")
# Every name that is understood and its file in FOLDER, which need not be there: the weights of some methods are made by
# bench/table1.sh alone.
NAMED = {name: f"{name}64.safetensors" for name in BUILDERS} | {name: f"{name}.json" for name in ROWS}


def load(name_or_path: str | Path, device: str = "auto") -> Translator:
    """A shipped model by name (`shipped` lists them), or one from a .safetensors or .json file, or
    from a folder with a model.safetensors.

    device: "auto" (the first CUDA device, else the CPU), "cpu", "cuda" or "cuda:N".
    Raises SetupError for an unknown name, a model that is not installed or a device that is not there, InputError for a
    file that is not a model of this package.
    """
    path = find(name_or_path)
    where = torch.device(resolve_device(device))
    return load_row(path, where) if path.suffix == ".json" else _load_network(path, where)


def shipped() -> list[str]:
    """The names whose weights are installed; bbdm, the default, first."""
    return sorted((name for name in NAMED if (FOLDER / NAMED[name]).is_file()), key=lambda name: (name != "bbdm", name))


def _load_network(path: Path, device: torch.device) -> Translator:
    """The translator of a weight file; InputError unless its header names a method there is."""
    tensors, header = load_weights(path)
    model = header.get("model")
    if model not in BUILDERS:
        raise InputError(
            f"the weight file {path} holds a model {model!r}, expected one of {', '.join(sorted(BUILDERS))}"
        )
    module, _, builder = BUILDERS[model].partition(":")
    with within_budget(sum(tensor.numel() for tensor in tensors.values()), f"the weight file {path}"):
        translator = getattr(importlib.import_module(module), builder)(tensors, header, path, device)
    translator.calibration = read_calibration(path, translator.weights_sha256)
    translator.population = read_population(population_file(path), translator.weights_sha256)
    translator.surroundings = read_surroundings(surroundings_file(path), translator.weights_sha256)
    return translator


def find(name_or_path: str | Path) -> Path:
    """The file that `load` reads for this name, file or folder; raises as it does."""
    path = Path(name_or_path)
    if path.suffix in (".safetensors", ".json"):
        if not path.is_file():
            raise InputError(f"the model file {path} does not exist")
        return path
    name = str(name_or_path)
    if name not in NAMED and (path / IN_FOLDER).is_file():
        return path / IN_FOLDER
    if name not in NAMED:
        near = difflib.get_close_matches(name.lower(), NAMED, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SetupError(
            f"unknown model {name!r}: expected one of {', '.join(shipped())}, or a .safetensors or .json file{hint}"
        )
    path = FOLDER / NAMED[name]
    if not path.is_file():
        raise SetupError(
            f"the weights of model {name!r} are not installed: {path.name} is missing in {FOLDER}; "
            f"`spectac train {name}` makes such a file, bench/table1.sh that of the comparison"
        )
    return path
