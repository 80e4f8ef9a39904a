"""What every network's weight file says of itself, whichever method it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.errors import InputError
from spectac_fast.models.names import weights_apart


@dataclass(frozen=True)
class Description:
    """The part of a weight file's header that is common to all methods.

    pixel_mm, slice_mm: of the slices it was trained on. gain: AC/NC gain of the left ventricle. size: (rows, columns)
    of the training images. fit: how slices get there ("pad", "resize"; models/engine/fit.py). card: where it is from.
    """

    pixel_mm: float
    slice_mm: float
    gain: float
    size: tuple[int, int]
    fit: str
    card: dict[str, Any]
    weights_sha256: str


def _shortened(text: str) -> str:
    """Without the middle of what would fill a page."""
    return text if len(text) <= 300 else f"{text[:200]} … {text[-80:]}"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """While a header is turned into a model: InputError naming the file for whatever does not fit."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"the description in the weight file {path} cannot be used: {_shortened(repr(error))}"
        ) from error


def describe(header: dict[str, Any], path: Path) -> Description:
    """The common part of a header; raises what `reading` turns into an InputError."""
    config = header["config"]
    return Description(
        pixel_mm=float(config["pixel_mm"]),
        slice_mm=float(config["slice_mm"]),
        gain=float(config["gain"]),
        size=(int(config["size"][0]), int(config["size"][1])),
        fit=config.get("fit", "pad"),
        card=dict(header["card"]),
        weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def read_apart(name: str, path: str | Path | None) -> tuple[dict[str, Tensor], dict[str, Any], Path]:
    """(tensors, header, file) of the shipped model of `names.APART`, or of a weight file that must hold it.

    Raises SetupError where none is installed, InputError for a file that cannot be read or holds another model.
    """
    found = weights_apart(name, path)
    tensors, header = load_weights(found)
    if header.get("model") != name:
        raise InputError(f"the weight file {found} holds a model {header.get('model')!r}, expected {name}")
    return tensors, header, found
