"""Weight files of this package: safetensors whose header says what the tensors are.

The header's entry "spectac_fast" is JSON {"format": 1, "model": name, "config": {...}, "card": {...}}. Reading it
executes nothing and needs only the file's first bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from spectac_fast.checkpoints.header import check_header
from spectac_fast.errors import InputError
from spectac_fast.outputs import PROGRAM, appearing

FORMAT = 1
_KEY = PROGRAM


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], model: str, config: dict[str, Any], card: dict[str, Any]
) -> None:
    """Write a weight file by atomic rename."""
    header = json.dumps({"format": FORMAT, "model": model, "config": config, "card": card}, sort_keys=True)
    # The format refuses tensors that share memory, which foreign checkpoints may do.
    own = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    with appearing(path) as part:
        save_file(own, part, metadata={_KEY: header})


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors on the CPU as stored, header). InputError if the file is missing, damaged or not of this package."""
    header = load_header(path)
    with _readable(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 - not a dict


def load_header(path: Path) -> dict[str, Any]:
    """The header alone; raises as `load_weights`."""
    if not path.is_file():
        raise InputError(f"the weight file {path} does not exist")
    with _readable(path), safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(_KEY, "null"))
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(
            f"the weight file {path} holds tensors, but no description of format {FORMAT} in its header; "
            "it was not written by spectac_fast of this version"
        )
    return check_header(header, f"the weight file {path}")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except RecursionError:
        raise InputError(f"the weight file {path}: expected a description of a model, found one without end.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"the weight file {path} is not a readable safetensors file: {error}") from error


def fill(model: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Load a state dict strictly (`check_names`)."""
    check_names(model.state_dict(), state, name)
    model.load_state_dict(dict(state))


def check_names(own: Mapping[str, Tensor], state: Mapping[str, Tensor], name: str) -> None:
    """InputError naming the first tensor of a state dict that is missing, unknown or of another shape than `own`."""
    if missing := sorted(own.keys() - state.keys()):
        raise InputError(f"{name} does not fit the network: it lacks {missing[0]} ({len(missing)} tensors missing)")
    if unknown := sorted(state.keys() - own.keys()):
        raise InputError(f"{name} does not fit the network: {unknown[0]} is unknown ({len(unknown)} tensors too many)")
    for key, value in own.items():
        if value.shape != state[key].shape:
            raise InputError(
                f"{name} does not fit the network: {key} has shape {list(state[key].shape)}, "
                f"expected {list(value.shape)}"
            )
