"""The rows that need no network: what a table is measured against."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spectac_fast.checkpoints.header import check_number
from spectac_fast.errors import InputError
from spectac_fast.models.translator import check_slices

FORMAT = 1
_NUMBERS = ("slope", "offset", "gain", "pixel_mm")


@dataclass
class Row:
    """ac = slope nc + offset in model units: identity (1, 0), scale (a, a - 1), linear (a, b). A `Translator`."""

    name: str
    slope: float
    offset: float
    gain: float
    pixel_mm: float
    card: dict[str, Any]
    weights_sha256: str
    device: torch.device
    context_mm: tuple[float, ...] = ()

    def translate(self, nc: Tensor, seeds: Tensor | None = None, **options: Any) -> Tensor:
        """See `Translator.translate`; nothing is drawn and every option is ignored."""
        check_slices(nc, seeds)
        return self.slope * nc.to(self.device) + self.offset


def load_row(path: Path, device: torch.device) -> Row:
    """Read a row from its JSON file; InputError if it is missing, damaged or does not describe one."""
    try:
        raw = path.read_bytes()
        content = json.loads(raw)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"the model file {path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"the model file {path} does not describe a row of format {FORMAT}")
    numbers = [check_number(content.get(key), key, f"the model file {path}") for key in _NUMBERS]
    card, digest = content.get("card", {}), hashlib.sha256(raw).hexdigest()
    if not isinstance(content.get("model"), str) or not isinstance(card, dict):
        raise InputError(f"the model file {path}: expected a name and an object in 'model' and 'card', found others.")
    slope, offset, gain, pixel_mm = numbers
    return Row(content["model"], slope, offset, gain, pixel_mm, card, digest, device)
