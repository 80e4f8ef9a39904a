"""Models by name or file."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from spectac_fast.checkpoints.header import within_budget
from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.cohort.expected_error import expected_error_file, read_expected_error
from spectac_fast.cohort.population import population_file, read_population
from spectac_fast.cohort.surroundings import read_surroundings, surroundings_file
from spectac_fast.device import resolve_device
from spectac_fast.errors import InputError
from spectac_fast.models.names import BUILDERS, find
from spectac_fast.models.rows import load_row
from spectac_fast.models.translator import Translator
from spectac_fast.models.uncertainty import read_calibration


def load(name_or_path: str | Path, device: str = "auto") -> Translator:
    """A shipped model by name (`names.shipped` lists them), or one from a .safetensors or .json file, or
    from a folder with a model.safetensors.

    device: "auto" (the first CUDA device, else the CPU), "cpu", "cuda" or "cuda:N".
    Raises SetupError for an unknown name, a model that is not installed or a device that is not there, InputError for a
    file that is not a model of this package.
    """
    path = find(name_or_path)
    where = torch.device(resolve_device(device))
    return load_row(path, where) if path.suffix == ".json" else _load_network(path, where)


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
    translator.expected_error = read_expected_error(expected_error_file(path), translator.weights_sha256)
    translator.surroundings = read_surroundings(surroundings_file(path), translator.weights_sha256)
    return translator
