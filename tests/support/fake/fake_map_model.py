"""A network of attenuation maps that gives the same map whatever it sees."""

from __future__ import annotations

from pathlib import Path

import torch
from small_recipes import small

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.models.mumap import MapNetwork, units_of
from spectac_fast.models.networks.build import build_network


def write_constant_maps(path: Path, mu: float) -> Path:
    """Weights of a network whose maps are `mu`, 1/cm, everywhere."""
    recipe = small("mumap")
    model = MapNetwork(build_network(recipe.network))
    torch.nn.init.zeros_(model.network.head.weight)
    torch.nn.init.constant_(model.network.head.bias, float(units_of(torch.tensor(mu))))
    config = {"network": recipe.network, "gain": 1.0, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [64, 64], "fit": "pad"}
    save_weights(path, dict(model.state_dict()), "mumap", config, {"data": {}})
    return path
