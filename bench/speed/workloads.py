"""What the latency benchmark runs: a model of the package, or the published LBBDM-f8 with random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

import spectac_fast
from bench.quality.solvers import translate_options
from bench.speed.published import PublishedSampler
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.graph import Graphs, run_graphed
from spectac_fast.diffusion.solvers import StepTable, solver_table
from spectac_fast.models.methods.lbbdm import LatentBBDM
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.registry import load
from spectac_fast.tracing import phase

PAPER = "lbbdm-f8"
"""The latent network of LBBDM-f8 at 256x256, with random weights: 4x32x32, 237 M parameters, its VQGAN left out."""

PAPER_WHOLE = "lbbdm-f8+vqgan"
"""The same from image to image, 3x256x256; the VQGAN is the package's on both sides."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

_RECIPE = Path(spectac_fast.__file__).parent / "train/recipes/lbbdm/paper.json"
_VQGAN_F8 = {
    **{"in_channels": 3, "out_channels": 3, "ch": 128, "ch_mult": [1, 2, 2, 4], "num_res_blocks": 2},
    **{"attn_levels": [3], "z_channels": 4, "embed_dim": 4, "n_embed": 16384},
}


@dataclass(frozen=True)
class Workload:
    """ours: slices by the package. published: the same slices and weights in eager torch."""

    ours: Callable[[], Tensor]
    published: Callable[[], Tensor]


def workload(
    model: str,
    batch: int,
    steps: int,
    published_steps: int,
    device: torch.device,
    dtype: str = "float32",
    solver: str | None = None,
) -> Workload:
    """So many slices at a time, by so many network evaluations each.

    dtype: of the body of our network. solver: of a translator, by its name in solvers.py; None is the weights' own.
    """
    torch.manual_seed(0)
    if model == PAPER:
        return _latent(batch, steps, published_steps, device, dtype)
    if model == PAPER_WHOLE:
        return _whole(batch, steps, published_steps, device, dtype)
    return _translator(model, batch, steps, published_steps, device, dtype, solver)


def _translator(
    model: str, batch: int, steps: int, published_steps: int, device: torch.device, dtype: str, solver: str | None
) -> Workload:
    options = translate_options(solver)
    translator = load(model, device=str(device))
    nc = torch.rand(batch, 1, 64, 64) * 2.0 - 1.0
    seeds, context = torch.arange(batch), len(translator.context_mm)
    published = PublishedSampler(translator.model.denoise_fn, translator.model.bridge, published_steps, device)
    images = nc.expand(-1, 1 + context, -1, -1).to(device)

    def ours() -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
            return translator.translate(nc, seeds, steps=steps, samples=1, **options)

    return Workload(ours, lambda: translator.model.finish(published(*translator.model.start(images))))


def _latent(batch: int, steps: int, published_steps: int, device: torch.device, dtype: str) -> Workload:
    network, process = paper_network(device)
    fast, graphs, table = spectac_fast.engine(network, DTYPES[dtype]), Graphs(), _published_table(process, steps)
    y, seeds = torch.randn(batch, 4, 32, 32, device=device), torch.arange(batch, device=device)
    mode = "auto" if device.type == "cuda" else "off"

    @torch.no_grad()
    def ours() -> Tensor:
        return run_graphed(graphs, mode, fast, y, table, context=y, seeds=seeds, blocks=[(None, 0)])

    published = PublishedSampler(network, process, published_steps, device)
    return Workload(ours, lambda: published(y, None))


def _whole(batch: int, steps: int, published_steps: int, device: torch.device, dtype: str) -> Workload:
    network, process = paper_network(device)
    vqgan = VQGAN(**_VQGAN_F8).eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    model = LatentBBDM(process, network, vqgan).to(device)
    sampler = spectac_fast.BridgeSampler(spectac_fast.engine(network, DTYPES[dtype]), process, steps)
    images, seeds = torch.rand(batch, 1, 256, 256, device=device) * 2.0 - 1.0, torch.arange(batch, device=device)

    @torch.no_grad()
    def ours() -> Tensor:
        with phase("encode"):
            latent, _ = model.start(images)
        found = sampler(latent, seeds)
        with phase("decode"):
            return model.finish(found)

    published = PublishedSampler(network, process, published_steps, device)

    @torch.no_grad()
    def eager() -> Tensor:
        return model.finish(published(model.start(images)[0], None))

    return Workload(ours, eager)


@lru_cache(maxsize=1)
def paper_network(device: torch.device) -> tuple[nn.Module, BrownianBridge]:
    """LBBDM-f8's network in the recipe's sizes, and its bridge."""
    recipe = json.loads(_RECIPE.read_text())
    network = build_network(recipe["network"]["network"]).eval().requires_grad_(False).to(device)
    for parameter in network.parameters():
        # Fresh networks end in zeros, which some processors multiply faster.
        parameter.copy_(torch.randn_like(parameter) / max(parameter[0].numel(), 16) ** 0.5)
    return network, BrownianBridge(**recipe["process"])


def _published_table(process: BrownianBridge, steps: int) -> StepTable:
    """The published sampler, or its only evaluation."""
    options = {"spacing": "reference", "eta_mode": "bbdm", "eta": 1.0, "boot": False} if steps > 1 else {}
    return solver_table(process, steps, solver="ancestral", **options)
