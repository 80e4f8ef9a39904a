"""github.com/mingyuliutw/UNIT: `gen_%08d.pt`, the state dicts of both domains' generators under "a" and "b".

Domain a must have been NC and b AC: the translator encodes with a and decodes with b.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError

from . import Imported
from ._generators import PUBLISHED_SIZE, checked, without_statistics
from ._shapes import Shapes

MODELS = ("unit",)


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """Both generators; InputError for anything else."""
    if any(".cnns." in name for name in tensors):
        raise InputError(f"{source} holds discriminators, which only training needs; import gen_*.pt")
    shapes = Shapes(tensors, "a.enc.model.", source)
    width, channels, *_ = shapes.of("0.conv.weight", 4)
    network = {
        "kind": "unit",
        "channels": channels,
        "width": width,
        "downs": shapes.count(r"(\d+)\.conv\.") - 1,
        "residuals": shapes.count(r"\d+\.model\.(\d+)\."),
    }
    return Imported(
        "unit", {"network": network, **PUBLISHED_SIZE}, checked(network, without_statistics(tensors), source)
    )


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """{"a", "b"} of state dicts."""
    written: dict[str, dict[str, Tensor]] = {"a": {}, "b": {}}
    for name, value in tensors.items():
        domain, _, rest = name.partition(".")
        written[domain][rest] = value
    return written
