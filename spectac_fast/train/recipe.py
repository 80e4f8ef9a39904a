"""Recipes: everything that decides a training run except the data, the budget and the seed, as a small JSON file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from spectac_fast.errors import InputError, UsageError

_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Recipe:
    """A training recipe for a bridge.

    network, bridge: constructor arguments; defaults: how the finished model samples unless told otherwise.
    batch: slices per step. learning_rate: peak, after warmup_steps of linear warm-up and before a cosine to zero.
    gradient_clip: bound of the gradient's norm. ema_decay: of the averaged weights that are shipped.
    start_share: share of the batch trained at t = T-1 with x = y exactly, which is what one evaluation sees.
    heart_weight: weight of the squared error within 60 mm of the stack's centre, relative to 1 elsewhere.
    block_weight: weight there of the squared error of means over 4x4 pixels, about a segment of the ventricle's wall.
    shift_px: largest random shift, pixels. scale_jitter: largest relative change of the count scale.
    precision: "bf16" runs the network under autocast, "fp32" does not.
    """

    name: str
    network: dict[str, Any]
    bridge: dict[str, Any]
    defaults: dict[str, Any]
    batch: int
    learning_rate: float
    weight_decay: float
    warmup_steps: int
    gradient_clip: float
    ema_decay: float
    start_share: float
    heart_weight: float
    block_weight: float
    shift_px: int
    scale_jitter: float
    precision: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in the file."""
        return asdict(self)


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or any recipe by the path of its JSON file."""
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = _FOLDER / f"{name_or_path}.json"
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in _FOLDER.glob("*.json")))
            raise UsageError(f"there is no recipe {name_or_path!r}; known recipes are {known}, or give a .json file")
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"the recipe {path} cannot be read as JSON: {error}") from error
    expected = {field.name for field in fields(Recipe)}
    if not isinstance(data, dict) or set(data) != expected:
        wrong = sorted(expected ^ set(data)) if isinstance(data, dict) else ["no JSON object"]
        raise InputError(f"the recipe {path} must hold exactly the known keys; missing or unknown: {', '.join(wrong)}")
    return Recipe(**data)
