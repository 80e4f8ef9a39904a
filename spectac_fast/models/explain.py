"""Why a corrected value is what it is: which counts it was made from, and where the network's attention lay.

Integrated gradients (Sundararajan, Taly, Yan, ICML 2017, arXiv 1703.01365): the change of a region's mean on the way
from no counts to the slice, shared out among the pixels,

    a_i = (x_i - b_i) integral over s in [0, 1] of d f(b + s (x - b)) / d x_i,      sum of a_i = f(x) - f(b).

A deterministic model is explained as it is, a diffusion model by its estimate of x0 from one evaluation (`gradients`):
a bridge's is its default image, when that is one evaluation; of a longer sampler it is the first prediction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.engine.fit import NO_COUNTS, Fit
from spectac_fast.models.gradients import differentiable
from spectac_fast.models.networks.unet import AttentionBlock
from spectac_fast.models.translator import Translator, check_slices, facts_of, with_facts, with_neighbours
from spectac_fast.models.translators.network import NetworkTranslator

# Nodes of the quadrature; the shipped network is smooth enough for 1e-3 of the sum with these.
NODES = 32
_BATCH = 8


@dataclass(frozen=True)
class Explanation:
    """Maps of one slice, float32, in model units where they are values.

    image: [H, W], what was explained. attribution: [1 + n, H, W], what the counts of the slice and of its n neighbours
    (in the order of `context_mm`) add to the region's mean. attention: by name of the attention block, [H, W], how much
    the region's positions look at each; sums to 1 over the network's field; empty for a network without attention.
    region: bool [H, W], whose mean was explained. value, baseline: that mean for the slice and for no counts;
    attribution sums to their difference within `gap`.
    """

    image: Tensor
    region: Tensor
    attribution: Tensor
    attention: dict[str, Tensor]
    value: float
    baseline: float

    @property
    def gap(self) -> float:
        """How far the attributions' sum is from value - baseline: the error of the quadrature."""
        return abs(float(self.attribution.double().sum()) - (self.value - self.baseline))


def explain_slice(
    translator: Translator,
    nc: Tensor,
    region: Tensor | None = None,
    *,
    neighbours: Tensor | None = None,
    facts: Tensor | None = None,
    nodes: int = NODES,
) -> Explanation:
    """Explain one slice.

    nc: float32 [1, 1, H, W] in model units; neighbours, facts: as for `Translator.translate`. region: bool [H, W],
    whose mean corrected value is explained; None is the upper half of the values in the central half of the field,
    which is the myocardium of a short-axis slice. nodes: of the quadrature.

    Raises UsageError for a model without gradients to follow (`differentiable`), ValueError for other shapes or an
    empty region.
    """
    check_slices(nc, None)
    if len(nc) != 1:
        raise ValueError(f"nc must be one slice [1, 1, H, W], found {list(nc.shape)}.")
    corrected = differentiable(translator, nc)

    def function(images: Tensor) -> Tensor:
        told = None if facts is None else facts.expand(len(images), -1)
        return corrected(with_facts(images, told, len(facts_of(translator))))

    images = with_neighbours(nc.to(translator.device), neighbours, len(translator.context_mm))
    blocks = _attention_blocks(translator)
    with torch.no_grad(), _watched(blocks) as seen:
        image = function(images)[0, 0]
    region = _bright(image) if region is None else region.to(image.device)
    if region.shape != image.shape or region.dtype != torch.bool or not region.any():
        raise ValueError(f"region must be bool {list(image.shape)} with at least one pixel.")

    def value(given: Tensor) -> Tensor:
        return function(given)[:, 0, region].mean(dim=1)

    start = torch.full_like(images, NO_COUNTS)
    attribution = integrated_gradients(value, images, start, nodes)[0]
    with torch.no_grad():
        ends = torch.cat([value(images), value(start)]).tolist()
    maps = {
        name: _looked_at(weights, region, translator.fit, nc)
        for name, weights in seen.items()
        if isinstance(translator, NetworkTranslator)
    }
    return Explanation(image.cpu(), region.cpu(), attribution.cpu(), maps, *ends)


def integrated_gradients(
    value: Callable[[Tensor], Tensor], images: Tensor, baseline: Tensor, nodes: int = NODES
) -> Tensor:
    """Attributions of the shape of `images` [1, ...]; value: [b, ...] -> [b], each row by itself.

    Gauss-Legendre quadrature: exact for values that are polynomials of degree 2 nodes along the way.
    """
    at, weights = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(images)
    for first in range(0, nodes, _BATCH):
        part = slice(first, first + _BATCH)
        share = torch.tensor(0.5 * (at[part] + 1.0), dtype=images.dtype, device=images.device)
        weight = torch.tensor(0.5 * weights[part], dtype=images.dtype, device=images.device)
        ones = (1,) * (images.dim() - 1)
        with torch.enable_grad():
            path = (baseline + share.view(-1, *ones) * (images - baseline)).requires_grad_()
            (slope,) = torch.autograd.grad(value(path).sum(), path)
        total += (weight.view(-1, *ones) * slope).sum(dim=0, keepdim=True)
    return (images - baseline) * total


def _bright(image: Tensor) -> Tensor:
    """The upper half of the values in the central half of a slice."""
    height, width = image.shape
    centre = torch.zeros_like(image, dtype=torch.bool)
    centre[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    middle = image[centre]
    return centre & (image >= 0.5 * (middle.min() + middle.max()))


def _attention_blocks(translator: Translator) -> dict[str, AttentionBlock]:
    model = getattr(translator, "model", None)
    found = model.named_modules() if isinstance(model, nn.Module) else ()
    return {name: block for name, block in found if isinstance(block, AttentionBlock)}


@contextmanager
def _watched(blocks: dict[str, AttentionBlock]) -> Iterator[dict[str, Tensor]]:
    """Collects, while the network runs, the attention of each block: [heads' mean, query row, key row, ...]."""
    seen: dict[str, Tensor] = {}

    def watch(name: str) -> Callable[..., None]:
        def keep(block: AttentionBlock, given: tuple[Tensor, ...], _: Tensor) -> None:
            seen[name] = attention_weights(block, given[0])[0]

        return keep

    handles = [block.register_forward_hook(watch(name)) for name, block in blocks.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def attention_weights(block: AttentionBlock, x: Tensor) -> Tensor:
    """Which positions look at which, mean over heads: [B, h, w, h, w] of features [B, C, h, w]; sums to 1 over the last
    two.
    """
    batch, channels, height, width = x.shape
    query, key, _ = block.parts(block.qkv(block.norm(x.reshape(batch, channels, -1))).transpose(1, 2))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1).mean(dim=1).view(batch, height, width, height, width)


def _looked_at(weights: Tensor, region: Tensor, fit: Fit, nc: Tensor) -> Tensor:
    """[H, W]: what the positions under a region look at, from [h, w, h, w]; sums to 1 over the network's field."""
    # In units where -1 is nothing, for fields that are padded with it.
    field = fit.to_network(2.0 * region[None, None].float() - 1.0)
    share = F.adaptive_avg_pool2d(0.5 * (field + 1.0), tuple(weights.shape[:2]))[0, 0]
    looked = torch.einsum("yx,yxij->ij", share / share.sum(), weights)[None, None]
    spread = F.interpolate(looked, size=tuple(field.shape[-2:]), mode="nearest")
    spread = spread * (looked.sum() / spread.sum())
    return fit.from_network(spread, tuple(nc.shape[-2:]))[0, 0].cpu()
