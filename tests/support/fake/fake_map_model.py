"""Networks of attenuation maps: one that gives the same map whatever it sees, and a bridge that nobody has trained."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from small_recipes import small

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.models.methods.bbdm import model_of
from spectac_fast.models.mumap import MapNetwork, units_of
from spectac_fast.models.mumap_bridge import load_map_bridge
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.uncertainty import FORMAT, calibration_file


def write_constant_maps(path: Path, mu: float) -> Path:
    """Weights of a network whose maps are `mu`, 1/cm, everywhere."""
    recipe = small("mumap")
    model = MapNetwork(build_network(recipe.network))
    torch.nn.init.zeros_(model.network.head.weight)
    torch.nn.init.constant_(model.network.head.bias, float(units_of(torch.tensor(mu))))
    config = {"network": recipe.network, "gain": 1.0, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [64, 64], "fit": "pad"}
    save_weights(path, dict(model.state_dict()), "mumap", config, {"data": {}})
    return path


def write_noisy_bridge(path: Path, temperature: float | None = None, floor: float = 0.0) -> Path:
    """Weights of a bridge that draws noise, but as a trained one draws maps; with a temperature, their calibration
    beside them.
    """
    recipe = small("mumap-bridge")
    config = {"network": recipe.network, "bridge": recipe.process, "defaults": recipe.defaults, "gain": 1.0}
    config |= {"pixel_mm": 6.8, "slice_mm": 6.8, "size": [64, 64], "fit": "pad"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = model_of(config).denoise_fn
    save_weights(path, network.state_dict(prefix="denoise_fn."), "mumap-bridge", config, {"data": {}})
    if temperature is not None:
        of = load_map_bridge(path, "cpu").weights_sha256
        found = {"format": FORMAT, "weights_sha256": of, "temperature": temperature, "floor": floor}
        calibration_file(path).write_text(json.dumps(found))
    return path
