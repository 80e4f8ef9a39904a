"""Published checkpoints as models: what a layout reads is checked, tensor by tensor, against its network."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.layouts import Imported, layout
from spectac_fast.checkpoints.weights import check_names
from spectac_fast.errors import InputError
from spectac_fast.models.names import BUILDERS
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.translator import Translator


def read_published(name: str, tensors: dict[str, Tensor], source: str) -> Imported:
    """What the layout `name` makes of a state dict (`layouts.flat_state`).

    Raises UsageError for an unknown layout, InputError of one sentence that begins with `source` where the tensors are
    not exactly those of the model that their names and shapes announce.
    """
    found = layout(name).read(tensors, source)
    model = _on_meta(found, source)
    # The schedule follows from the configuration.
    schedule = model.bridge.buffers() if hasattr(model, "bridge") else {}
    check_names(model.state_dict(), {**schedule, **found.tensors}, source)
    return found


def check_runs(translator: Translator, source: str) -> None:
    """InputError beginning with `source` unless a translator can draw with its own defaults."""
    drawing: Any = translator
    if getattr(translator, "sampler", None) is None:
        return
    try:
        drawing.sampler(drawing.evaluations(None, None), None, None, None)
    except ValueError as error:
        raise InputError(f"{source}: its samples cannot be drawn as its settings say: {error}") from error


def _on_meta(found: Imported, source: str) -> nn.Module:
    """The model without memory; InputError where the sizes that were read make no network."""
    module = importlib.import_module(BUILDERS[found.model].partition(":")[0])
    try:
        with torch.device("meta"):
            return getattr(module, "model_of", _generator)(found.config)
    except (ValueError, TypeError, IndexError, ZeroDivisionError) as error:
        raise InputError(f"{source} does not fit the layout: {error}") from error


def _generator(config: Mapping[str, Any]) -> nn.Module:
    return build_network(config["network"])
