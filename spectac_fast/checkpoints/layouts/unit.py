"""github.com/mingyuliutw/UNIT: `gen_%08d.pt`, the state dicts of both domains' generators under "a" and "b".

Domain a must have been NC and b AC: the translator encodes with a and decodes with b.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError

from . import Imported
from ._generators import shape_of, without_statistics

MODELS = ("unit",)


def read(tensors: dict[str, Tensor], source: str) -> Imported:
    """Both generators; InputError for anything else."""
    if any(".cnns." in name for name in tensors):
        raise InputError(f"{source} holds discriminators, which only training needs; import gen_*.pt")
    width, channels, *_ = shape_of(tensors, "a.enc.model.0.conv.weight", 4, source)
    strided = [name for name in tensors if name.startswith("a.enc.model.") and name.count(".") == 5]
    residual = {name.split(".")[5] for name in tensors if name.startswith("a.enc.model.") and name.count(".") > 5}
    network = {
        "kind": "unit",
        "channels": channels,
        "width": width,
        "downs": len({name.split(".")[3] for name in strided}) - 1,
        "residuals": len(residual),
    }
    return Imported("unit", {"network": network}, without_statistics(tensors, {"norm": "instance"}))


def write(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """{"a", "b"} of state dicts."""
    written: dict[str, dict[str, Tensor]] = {"a": {}, "b": {}}
    for name, value in tensors.items():
        domain, _, rest = name.partition(".")
        written[domain][rest] = value
    return written
