"""What the latency benchmark runs: a model of the package, or the network of the published LBBDM-f8."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import spectac_fast
from bench.published import PublishedSampler
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.graph import Graphs, run_graphed
from spectac_fast.diffusion.solvers import solver_table
from spectac_fast.models.networks import build_network
from spectac_fast.models.registry import load

PAPER = "lbbdm-f8"
"""The latent network of LBBDM-f8 at 256x256, with random weights: 4x32x32, 237 M parameters, its VQGAN left out."""

_RECIPE = Path(spectac_fast.__file__).parent / "train/recipes/lbbdm/paper.json"


@dataclass(frozen=True)
class Workload:
    """ours: slices by the package. published: the same slices, weights and number of evaluations in eager torch."""

    ours: Callable[[], Tensor]
    published: Callable[[], Tensor]


def workload(model: str, batch: int, steps: int | None, device: torch.device) -> tuple[Workload, int]:
    """(calls, number of evaluations) for so many slices; steps None are the model's default, of `PAPER` 3."""
    torch.manual_seed(0)
    if model == PAPER:
        return _paper(batch, 3 if steps is None else steps, device)
    return _translator(model, batch, steps, device)


def _translator(model: str, batch: int, steps: int | None, device: torch.device) -> tuple[Workload, int]:
    translator = load(model, device=str(device))
    evaluations = translator.defaults["steps"] if steps is None else steps
    nc = torch.rand(batch, 1, 64, 64) * 2.0 - 1.0
    seeds, context = torch.arange(batch), len(translator.context_mm)
    published = PublishedSampler(translator.model.denoise_fn, translator.model.bridge, evaluations, device)
    images = nc.expand(-1, 1 + context, -1, -1).to(device)

    def eager() -> Tensor:
        return translator.model.finish(published(*translator.model.start(images)))

    ours = Workload(lambda: translator.translate(nc, seeds, steps=evaluations, samples=1), eager)
    return ours, evaluations


def _paper(batch: int, steps: int, device: torch.device) -> tuple[Workload, int]:
    recipe = json.loads(_RECIPE.read_text())
    network = build_network(recipe["network"]["network"]).eval().requires_grad_(False).to(device)
    for parameter in network.parameters():
        # Fresh networks end in zeros, which some processors multiply faster.
        parameter.copy_(torch.randn_like(parameter) / max(parameter[0].numel(), 16) ** 0.5)
    process = BrownianBridge(**recipe["process"])
    table = solver_table(process, steps, solver="ancestral", eta_mode="bbdm", eta=1.0, spacing="reference", boot=False)
    fast, graphs = spectac_fast.engine(network), Graphs()
    y, seeds = torch.randn(batch, 4, 32, 32, device=device), torch.arange(batch, device=device)
    mode = "auto" if device.type == "cuda" else "off"

    @torch.no_grad()
    def ours() -> Tensor:
        return run_graphed(graphs, mode, fast, y, table, context=y, seeds=seeds, blocks=[(None, 0)])

    published = PublishedSampler(network, process, steps, device)
    return Workload(ours, lambda: published(y, None)), steps
