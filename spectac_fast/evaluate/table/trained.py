"""What a table says of the models behind its rows: how large they are, what they see, how they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectac_fast.evaluate.table.repeats import Repeated

_WIDTHS = ("model_channels", "width", "ch")


def models(rows: Sequence[Repeated]) -> list[dict[str, Any]]:
    """One entry for each model that has a row and is a network; a fact that no weight file tells is None."""
    firsts: dict[str, Repeated] = {}
    for row in rows:
        if not row.row.is_baseline:
            firsts.setdefault(row.row.name, row)
    return [_model(name, row) for name, row in firsts.items()]


def _model(name: str, row: Repeated) -> dict[str, Any]:
    translator, card = row.row.translator, row.row.translator.card
    recipe = card.get("recipe")
    recipe = recipe if isinstance(recipe, Mapping) else {}
    data, loss = recipe.get("data", {}), recipe.get("loss", {})
    return {
        "name": name,
        "method": translator.name,
        "parameters": card.get("parameters") or _count(translator),
        "width": _width(recipe.get("network", {})),
        "slices_seen": len(translator.context_mm) + 1,
        "recipe": recipe.get("name"),
        "steps": [r.row.translator.card.get("steps") for r in row.trainings],
        "minutes": [r.row.translator.card.get("minutes") for r in row.trainings],
        "threads": card.get("threads"),
        "device": card.get("device"),
        "cases": card.get("data", {}).get("cases") if isinstance(card.get("data"), Mapping) else None,
        "seeds": [r.row.translator.card.get("seed") for r in row.trainings],
        "average": recipe.get("average", {}).get("decay"),
        "clip": data.get("clip"),
        "features": loss.get("features"),
        "weights_sha256": [r.row.translator.weights_sha256 for r in row.trainings],
    }


def _count(translator: Any) -> int | None:
    """Parameters of a translator that holds a network."""
    model = getattr(translator, "model", None)
    return None if model is None else sum(p.numel() for p in model.parameters())


def _width(network: Any) -> int | None:
    """Channels of the first level of the network of a recipe, wherever its kind of network says so."""
    if not isinstance(network, Mapping):
        return None
    for key in _WIDTHS:
        if key in network:
            return network[key]
    for key in ("network", "generator"):
        if (found := _width(network.get(key))) is not None:
            return found
    return None
