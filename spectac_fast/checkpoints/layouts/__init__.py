"""The published checkpoint layouts: one file each, found by this folder.

A layout file `<name>.py` offers

    MODELS: tuple[str, ...]
        The models (names in models/names.py) that it reads and writes.
    read(tensors: dict[str, Tensor], source: str) -> Imported
        tensors: of one state dict, names free of wrappers (`flat_state`). Sizes and channels are inferred from the
        shapes; shapes that fit nothing are an InputError of one sentence that begins with `source`. Whether the tensors
        are exactly those of the network so described is checked afterwards, where networks are known
        (models/published.py).
    configured(published: Mapping, config: dict, source: str) -> dict[str, Any]
        What a configuration beside the checkpoint says (`checkpoints/configurations`).
    following(config: dict) -> dict[str, Any]
        {dotted name: value} of what follows from other values where nobody has said it.
    write(tensors: dict[str, Tensor], config: dict) -> dict
        The way back: what the published code loads. `read(flat_state(write(...)), ...)` gives the same tensors.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from spectac_fast.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

# What DataParallel, DistributedDataParallel and torch.compile put before a module's own names.
_WRAPPERS = ("module", "_orig_mod")
_LIGHTNING_AVERAGE = "model_ema."


@dataclass(frozen=True)
class Imported:
    """What a layout understood: the arguments of `save_weights`.

    model: name in models/names.py. config: what its builder needs, without the data's own numbers (gain, pixel
    sizes), which no checkpoint holds; "size" and "fit" where the layout has an opinion. tensors: under our names.
    assumed: {dotted name in config: why}, of every value that the tensors do not tell.
    """

    model: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    assumed: dict[str, str] = field(default_factory=dict)


def names() -> list[str]:
    """Every layout there is."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))


def layout(name: str) -> ModuleType:
    """The module of a layout; UsageError for an unknown name."""
    if name not in names():
        raise UsageError(f"--layout must be one of {', '.join(names())}, found {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def flat_state(content: Mapping[str, Any], average: bool | None, source: str) -> tuple[dict[str, Tensor], bool]:
    """(the state dict of a checkpoint under dotted names without wrappers, whether its weights are averaged).

    content: nested dicts of tensors (`pickles.read_checkpoint`). {"model", "ema"} (the BBDM and CPDM runner) and
    {"state_dict"} (Lightning, with its average under `model_ema.`) are opened; other nesting becomes dots, as in UNIT's
    {"a", "b"}. average: None takes the averaged weights where there are any; True insists; False takes the raw ones.

    Raises InputError where no tensor is left, two names coincide, or an average is wanted that is not there.
    """
    raw, averaged = _opened(content)
    if average and not averaged:
        raise InputError(f"{source} holds no averaged weights; leave --ema out to take the weights as they are")
    state: dict[str, Tensor] = {}
    for name, tensor in _flat({**raw, **(averaged if average is not False else {})}):
        own = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if own in state:
            raise InputError(f"{source} holds two tensors named {own} once wrappers are taken off")
        state[own] = tensor
    if not state:
        raise InputError(f"{source} holds no tensors")
    return state, bool(averaged) and average is not False


def _opened(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(raw weights, the averaged ones among them under the same names)."""
    if isinstance(content.get("model"), dict):
        # Beside them the BBDM runner keeps the statistics of its latents.
        beside = {name: value for name, value in content.items() if hasattr(value, "shape")}
        return {**beside, **content["model"]}, content.get("ema") or {}
    inner = content.get("state_dict")
    state = dict(_flat(inner if isinstance(inner, dict) else content))
    average = {name: state.pop(name) for name in list(state) if name.startswith(_LIGHTNING_AVERAGE)}
    # Buffers cannot hold dots, so the published average drops them from its names.
    short = {name: _LIGHTNING_AVERAGE + name.removeprefix("model.").replace(".", "") for name in state}
    return state, {name: average[key] for name, key in short.items() if key in average}


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + str(name), value
