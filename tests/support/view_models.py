"""Networks of projections that nobody has trained: they give what they begin as."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from fake_patient import GRID, WATER, body, ventricle
from fake_tomo import write_tomo

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.models.views import cunet, dudoss
from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.camera import Collimator
from spectac_fast.train.recipe import Recipe, load_recipe

LEARNT = {"bright": [0.5, 500.0], "step": [1.0, 8.0], "pixel": [6.0, 7.5]}
# So many that every second one can be left out.
FINE = -45 + 2.25 + 4.5 * np.arange(40)
_UNET = {"widths": [8, 8], "norm_groups": 4}
NETWORKS = {
    "cunet": {"context_views": 2, **_UNET},
    "dudoss": {"image": _UNET, "views": _UNET, "context_slices": 1},
}


def small_views(model: str) -> Recipe:
    """A shipped recipe with narrow networks, small windows and few views."""
    made = load_recipe(model, "native64")
    data = {**made.data, "size": [24, 16], "batch": 2 if model == "cunet" else 1}
    if model == "dudoss":
        data["views"] = 4
    return made.__class__(**{**made.as_dict(), "network": NETWORKS[model], "data": data})


def write_view_model(path: Path, model: str, learnt: dict[str, list[float]] | None = None, scale: float = 0.0) -> Path:
    """Weights of `NETWORKS`; scale: of the last layers, which are 0 in what nobody has trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = (cunet if model == "cunet" else dudoss).network_of(NETWORKS[model])
        for name, parameter in made.named_parameters():
            if ".last." in name:
                torch.nn.init.normal_(parameter, std=scale)
    config = {"network": NETWORKS[model], "learnt": learnt or LEARNT, "gain": 1.0, "pixel_mm": 6.8, "slice_mm": 6.8}
    save_weights(path, dict(made.state_dict()), model, config | {"size": [64, 48], "fit": "pad"}, {"data": {}})
    return path


@functools.cache
def _expected() -> np.ndarray:
    camera = Acquired(torch.zeros(len(FINE), GRID.n, GRID.nz), tuple(FINE), (200.0,) * len(FINE), 6.8, Collimator())
    return camera.expected(400.0 * (ventricle() + 0.1 * body()), WATER * body(), False).numpy()


def write_patients(folder: Path, count: int, rng: np.random.Generator) -> Path:
    """So many files of projections of the fake patient at the angles `FINE`, each with counts of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        counts = rng.poisson(_expected().transpose(0, 2, 1)[None, :, ::-1]).astype(np.uint16)
        given = {"angles": FINE, "radius_mm": (200.0,), "top_mm": float(GRID.axis_z()[-1])}
        write_tomo(folder / f"{k}.dcm", counts, **given)
    return folder
