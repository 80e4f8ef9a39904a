"""Training a Brownian bridge in pixel space."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import UsageError
from spectac_fast.models.methods.bbdm import BBDM, model_of
from spectac_fast.train.learner import Estimate, Setting, autocast, fresh_weights
from spectac_fast.train.learners.supervised import Supervised
from spectac_fast.train.slices import Batch, SlicePairs

_BLOCK = 4


class BridgeLearner(Supervised):
    """Mean squared error of the bridge's objective as a share of the identity row's error, in which the heart counts
    more; or, as BBDM is published, its mean absolute error.

    The first `start_share` of every batch is trained at t = T-1 with x = y: the state every sampler starts from, and
    the only one that a single evaluation ever sees. The rest draws t as "nodes" says and its noise from the counter, so
    that a step's loss is a function of the weights, the seed and the step number.

    recipe.loss: {"norm": "l2", what holds where a recipe says nothing, or "l1", the published loss, which is neither
    weighted nor divided and takes none of the three weights; "start_share"; "heart_weight": of the squared error
    within 60 mm of the stack's centre, relative to 1 elsewhere; "block_weight": there, of the squared error of means
    over 4x4 pixels, about a segment of the wall; optional "shape_weight": there, of what one factor a slice leaves of
    the error (`shape_error`); "nodes": "lambda" (uniform in it, what holds where a recipe says nothing), "uniform" in
    t, as published, or a list of timesteps, those of a table that the network is to be tuned for}. UsageError for
    others.
    """

    def __init__(self, model: BBDM, setting: Setting[SlicePairs]) -> None:
        network = model.denoise_fn
        super().__init__(model, setting, model.context_slices, network.multiple)
        self.power = setting.pairs.residual_power()
        self.cumulative = np.cumsum(node_density(model.bridge, self.recipe.loss.get("nodes", "lambda")))
        self.starts = round(self.recipe.loss["start_share"] * self.recipe.data["batch"])
        self.errors, self.of_estimates = self._errors(), self._of_estimates()

    def losses(self, batch: Batch, rng: np.random.Generator, step: int) -> dict[str, Tensor]:
        """ "loss" of the batch, and "loss_start" of its part at the start node."""
        bridge = self.shipped.bridge
        y, x0 = batch.nc, batch.ac
        t = torch.from_numpy(np.searchsorted(self.cumulative, rng.random(len(y))).clip(max=len(bridge.m) - 1))
        seeds = torch.from_numpy(rng.integers(2**63, size=len(y)))
        t, seeds = t.to(self.device), seeds.to(self.device)
        start = slice(self.starts)
        t[start] = bridge.num_timesteps - 1
        x_t, target = bridge.noised(x0, y, t, seeds=seeds, step=step)
        # The one noise for which the forward process puts x_t on y.
        m, std = bridge.coefficients(t[start])
        noise = (1.0 - m) / std * (y[start] - x0[start])
        x_t[start], target[start] = y[start], bridge.target(x0[start], y[start], t[start], noise)
        with autocast(self.device, self.recipe.precision):
            output = self.shipped(x_t, t, torch.cat([y, batch.neighbours], dim=1))
        errors = self.errors(output.float() - target, batch.heart)
        if self.of_estimates is not None:
            errors = errors + self.of_estimates(bridge.x0_from(output.float(), x_t, y, t), batch)
        values = {"loss": errors.mean()}
        return values | {"loss_start": errors[start].mean()} if self.starts else values

    def _errors(self) -> Callable[[Tensor, Tensor], Tensor]:
        """What the recipe measures each slice by, [B], of errors and hearts [B, 1, H, W]."""
        loss = self.recipe.loss
        norm = loss.get("norm", "l2")
        if norm == "l1" and not {"heart_weight", "block_weight", "shape_weight"} & loss.keys():
            return lambda error, _: error.abs().mean(dim=(1, 2, 3))
        if norm != "l2" or not {"heart_weight", "block_weight"} <= loss.keys():
            raise UsageError(
                f'"loss" must have "norm" "l1" and no weights, or "l2", "heart_weight" and "block_weight", found {loss}'
            )
        return self._weighted

    def _weighted(self, error: Tensor, where: Tensor) -> Tensor:
        loss = self.recipe.loss
        return weighted_error(error, where, loss["heart_weight"], loss["block_weight"]) / self.power

    def _of_estimates(self) -> Callable[[Tensor, Batch], Tensor] | None:
        """What the recipe adds to the errors of the slices, [B], for what the bridge takes their targets for; None for
        nothing.
        """
        weight = self.recipe.loss.get("shape_weight")
        if not weight:
            return None
        return lambda found, batch: weight * shape_error(found, batch.ac, batch.heart) / self.power

    def estimate(self, shipped: nn.Module) -> Estimate:
        return one_evaluation(shipped, self.shipped.bridge)

    def tensors(self, shipped: nn.Module) -> dict[str, Tensor]:
        return dict(shipped.denoise_fn.state_dict(prefix="denoise_fn."))

    def config(self) -> dict[str, Any]:
        recipe = self.recipe
        return {"network": recipe.network, "bridge": recipe.process, "defaults": recipe.defaults}


def node_density(bridge: BrownianBridge, nodes: str | list[int]) -> NDArray[np.float64]:
    """Probability of each timestep in training, float64 [T], as "nodes" of a recipe says."""
    if nodes == "lambda":
        return bridge.lambda_density()
    density = np.zeros(bridge.num_timesteps)
    if nodes == "uniform":
        density += 1.0
    elif isinstance(nodes, list) and nodes and all(t in range(len(density)) for t in nodes):
        density[nodes] = 1.0
    else:
        raise UsageError(f'"nodes" must be "lambda", "uniform" or timesteps below {len(density)}, found {nodes!r}')
    return density / density.sum()


def weighted_error(error: Tensor, heart: Tensor, heart_weight: float, block_weight: float) -> Tensor:
    """Squared error of each slice, [B]: pixels, those of the heart weighted, plus means over blocks of the heart."""
    pixels = error.square() * (1.0 + (heart_weight - 1.0) * heart)
    blocks = F.avg_pool2d(error, _BLOCK).square() * F.avg_pool2d(heart, _BLOCK)
    return pixels.mean(dim=(1, 2, 3)) + block_weight * blocks.mean(dim=(1, 2, 3))


def shape_error(found: Tensor, wanted: Tensor, heart: Tensor) -> Tensor:
    """Mean squared error [B] of the heart's counts after the factor that suits each slice best; images and mask
    [B, 1, H, W].

    How many counts AC has for one of NC depends on what no NC image tells, such as the scatter correction and the scale
    of a reconstruction. Where studies of many departments are trained on, that error hides the one of the shape.
    """
    found, wanted = (heart * (image + 1.0) for image in (found, wanted))
    cross, square = ((found * other).sum(dim=(1, 2, 3), keepdim=True) for other in (wanted, found))
    factor = torch.where(square > 0, cross / square.clamp(min=1e-12), torch.ones_like(square))
    return (factor * found - wanted).square().mean(dim=(1, 2, 3))


def one_evaluation(model: nn.Module, bridge: BrownianBridge) -> Estimate:
    """The regression a bridge holds: its estimate of x0 from the start node, x = y, for slices and their neighbours."""

    def translate(seen: Tensor) -> Tensor:
        y = seen[:, :1]
        t = torch.full((len(y),), bridge.num_timesteps - 1, device=y.device)
        return bridge.x0_from(model(y, t, seen).float(), y, y, t)

    return translate


def bridge_of(setting: Setting) -> BBDM:
    """The model of a recipe, its fresh weights a function of the seed."""
    recipe = setting.recipe
    with fresh_weights(setting.seed):
        return model_of({"bridge": recipe.process, "network": recipe.network, "gain": setting.pairs.gain})


def make(setting: Setting) -> BridgeLearner:
    """Fresh weights of a recipe."""
    return BridgeLearner(bridge_of(setting), setting)
