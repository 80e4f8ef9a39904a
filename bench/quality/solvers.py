"""The solvers that `bench quality` compares, by the names it gives them."""

from __future__ import annotations

from typing import Any

from spectac_fast.models.translators.bridge import FITTED

SOLVERS: dict[str, dict[str, Any]] = {
    "published": {"solver": "ancestral", "eta_mode": "bbdm", "eta": 1.0, "spacing": "reference", "boot": False},
    "ancestral": {"solver": "ancestral"},
    "DBIM-1": {"solver": "dbim", "order": 1},
    "DBIM-2": {"solver": "dbim", "order": 2},
    "DBIM-3": {"solver": "dbim", "order": 3},
    "UniPC": {"solver": "unipc", "order": 2},
    "UniPC-bh2": {"solver": "unipc_bh2", "order": 2},
    "SDE-2M": {"solver": "sde", "order": 2},
}
"""Arguments of `solver_table`."""


def translate_options(name: str | None) -> dict[str, Any]:
    """What `translate` of a bridge takes for the same solver; nothing for None, the weights' own."""
    if name is None:
        return {}
    if name == "published":
        return {"solver": "published", "eta": 1.0}
    if name == FITTED:
        return {"solver": FITTED}
    own = SOLVERS[name]
    return {"solver": own["solver"], "order": own.get("order", 1), "eta": 0.0}
