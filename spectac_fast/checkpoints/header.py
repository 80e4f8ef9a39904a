"""What a weight file may say of its model, looked at in one place before anything is built from it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from spectac_fast.errors import InputError

# Levels of lists and objects within each other; real files have six or so.
_DEEPEST = 16
# Of a whole number or of a list that no entry below names; a network's channels, codes and resolutions lie far below.
_LARGEST = 2**16
# Of any other number.
_FARTHEST = 1e9
# (least, largest) of what a name says wherever it stands, whole numbers where both are.
_RANGES: dict[str, tuple[float, float]] = {
    "gain": (1e-3, 1e3), "pixel_mm": (0.1, 100.0), "slice_mm": (0.1, 1000.0), "slope": (-1e3, 1e3),
    "offset": (-1e3, 1e3), "num_timesteps": (1, 100_000), "steps": (1, 100_000), "sample_steps": (1, 100_000),
    "samples": (1, 10_000), "order": (1, 16), "eta": (0.0, 1e3), "dropout": (0.0, 1.0), "num_res_blocks": (0, 256),
    "context_slices": (0, 64), "attenuation_paths": (0, 64), "channel_mult": (1, 4096.0),
    **dict.fromkeys(("model_channels", "head_channels", "channels", "in_channels", "out_channels"), (1, 2**16)),
    "norm_groups": (1, 2**16), **dict.fromkeys(("num_heads", "num_head_channels", "num_heads_upsample"), (-1, 2**16)),
}  # fmt: skip
# Names of numbers that some networks give a word instead.
_WORDS = {"dropout"}
# Names of words among the defaults of sampling.
_TEXTS = {"solver", "spacing"}
_MOST_PIXELS = 8192
# Networks may make parts that they then do without.
_SLACK = 2_000_000


def check_header(header: Any, name: str) -> dict[str, Any]:
    """The header of a weight file, {"model": text, "config": object, "card": object}, as it is.

    name: of the file, for sentences. Raises InputError for what is of another type, deeper, longer or beyond its range.
    """
    kinds = {"model": str, "config": dict, "card": dict}
    for key, kind in kinds.items():
        if not isinstance(header.get(key), kind):
            expected = "a name" if kind is str else "an object"
            raise InputError(f"{name}: expected {expected} in {key!r} of its header, found {_shown(header.get(key))}.")
    _check_depth(header["card"], "card", name, 0)
    _check(header["config"], "config", name, 0)
    _check_defaults(header["config"].get("defaults", {}), name)
    size = header["config"].get("size")
    if size is not None:
        pair = isinstance(size, list) and len(size) == 2
        if not pair or not all(type(each) is int and 1 <= each <= _MOST_PIXELS for each in size):
            raise InputError(f"{name}: expected rows and columns in config.size of its header, found {_shown(size)}.")
    return header


def check_number(value: Any, key: str, name: str) -> float:
    """A number within the range of its name; raises InputError for anything else."""
    low, high = _RANGES[key]
    if not _is_number(value) or not low <= value <= high:
        raise InputError(f"{name}: expected a number of {low:g} to {high:g} in {key!r}, found {_shown(value)}.")
    return float(value)


@contextmanager
def within_budget(elements: int, name: str) -> Iterator[None]:
    """While a network is built: InputError once it has many more parameters than the file has numbers for."""
    builder, left = threading.get_ident(), [2 * elements + _SLACK]

    def count(module: nn.Module, key: str, parameter: nn.Parameter | None) -> None:
        if parameter is not None and threading.get_ident() == builder:
            left[0] -= parameter.numel()
            if left[0] < 0:
                raise InputError(
                    f"{name}: expected a network of {elements} numbers, those in the file, found a description of a "
                    "much larger one."
                )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def _check(value: Any, key: str, name: str, depth: int) -> None:
    """Whether a part of a configuration, and all within it, can be what it is called."""
    if depth > _DEEPEST:
        raise InputError(f"{name}: expected at most {_DEEPEST} levels in its header, found more.")
    last = key.rpartition(".")[2]
    if isinstance(value, Mapping):
        for inner, each in value.items():
            _check(each, f"{key}.{inner[:64]}", name, depth + 1)
    elif isinstance(value, list):
        if len(value) > _LARGEST:
            raise InputError(f"{name}: expected at most {_LARGEST} entries in {key} of its header, found {len(value)}.")
        for each in value:
            _check(each, key, name, depth + 1)
    elif isinstance(value, str) and last in _WORDS:
        return
    elif last in _RANGES and value is not None:
        low, high = _RANGES[last]
        whole = isinstance(low, int) and isinstance(high, int)
        if not _is_number(value) or (whole and not isinstance(value, int)) or not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise InputError(
                f"{name}: expected {kind} of {low:g} to {high:g} in {key} of its header, found {_shown(value)}."
            )
    elif isinstance(value, (int, float)) and not abs(value) <= (_LARGEST if isinstance(value, int) else _FARTHEST):
        raise InputError(f"{name}: expected a number that can be in {key} of its header, found {_shown(value)}.")


def _check_defaults(defaults: Any, name: str) -> None:
    """Each is a text or a number: what is not is first met when a study is corrected."""
    if not isinstance(defaults, Mapping):
        raise InputError(f"{name}: expected an object in config.defaults of its header, found {_shown(defaults)}.")
    for key, value in defaults.items():
        text, kind = key in _TEXTS, "a text" if key in _TEXTS else "a number"
        if (key in _RANGES or text) and not (isinstance(value, str) if text else _is_number(value)):
            raise InputError(f"{name}: expected {kind} in config.defaults.{key} of its header, found {_shown(value)}.")


def _check_depth(value: Any, key: str, name: str, depth: int) -> None:
    if depth > _DEEPEST:
        raise InputError(f"{name}: expected at most {_DEEPEST} levels in {key!r} of its header, found more.")
    if isinstance(value, (Mapping, list)):
        for each in value.values() if isinstance(value, Mapping) else value:
            _check_depth(each, key, name, depth + 1)


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isnan(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value, or the kind of one that would fill a page."""
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "nothing"}
    return kinds.get(type(value)) or (f"{value:g}" if isinstance(value, float) else str(value)[:32])
