"""Recipes named paper train as the published code does: its loss, undivided, its draws of t, its gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from golden_bridge import needs_golden, relative
from places import GOLDEN
from safetensors.torch import load_file
from tiny_training import TinyCohort, tiny_recipe

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.configurations.runner import configured
from spectac_fast.checkpoints.pickles import read_checkpoint
from spectac_fast.checkpoints.settings import Settings
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import UsageError
from spectac_fast.models.methods import bbdm
from spectac_fast.models.published import read_published
from spectac_fast.train.learner import Setting, generator_of
from spectac_fast.train.learners.bridge import BridgeLearner, make
from spectac_fast.train.recipe import load_recipe
from spectac_fast.train.slices import Batch, SlicePairs

PAPER = load_recipe("bbdm", "paper")


def setting(**loss):
    recipe = tiny_recipe(shift_px=0, scale_jitter=0.0)
    recipe.loss.clear()
    recipe.loss.update(loss or PAPER.loss)
    return Setting(recipe, SlicePairs(TinyCohort([3, 5]), [0, 1], 2.0), 0, torch.device("cpu"))


class Draws:
    """Stands for the random numbers of a step, where the published run has drawn others: t and a seed each."""

    def __init__(self, t, total):
        self.values = (t.double().numpy() + 0.5) / total

    def random(self, count):
        return self.values

    def integers(self, high, size):
        return np.zeros(size, np.int64)


@needs_golden
def test_loss_and_gradients_are_those_of_the_published_trainer(monkeypatch):
    folder = GOLDEN / "bbdm_heads" / "template_l1_train"
    state, _ = layouts.flat_state(read_checkpoint(folder / "checkpoint.pth"), None, "file")
    found = read_published("bbdm", state, "file")
    settings = Settings(found.config, found.assumed)
    template = yaml.safe_load((folder / "template.yaml").read_text())
    assert template["model"]["BB"]["params"]["loss_type"] == PAPER.loss["norm"]
    settings.configure(configured(template, found.config, "template"), "template")
    model = bbdm.model_of(settings.config)
    model.load_state_dict({**model.state_dict(), **found.tensors})
    learner = BridgeLearner(model, setting())
    io = load_file(folder / "io.safetensors")
    noised = BrownianBridge.noised
    monkeypatch.setattr(
        BrownianBridge, "noised", lambda self, x0, y, t, **_: noised(self, x0, y, t, noise=io["train.noise"])
    )
    y, x0 = io["y"], io["train.x0"]
    batch = Batch(y, x0, torch.zeros_like(y), y[:, :0])
    loss = learner.losses(batch, Draws(io["train.t"], model.bridge.num_timesteps), 0)["loss"]
    loss.backward()
    assert relative(loss.detach(), io["train.loss"]) < 1e-5
    parameters = dict(model.named_parameters())
    compared = [name for name in io if name.startswith("train.grads.")]
    assert compared
    for name in compared:
        assert relative(parameters[name.removeprefix("train.grads.")].grad, io[name]) < 1e-4, name


def test_the_paper_draws_every_timestep_alike():
    learner = make(setting())
    assert np.allclose(np.diff(learner.cumulative, prepend=0.0), 1.0 / PAPER.process["num_timesteps"])
    for name in ("lbbdm", "cpdm"):
        assert load_recipe(name, "paper").loss == {"norm": "l1", "nodes": "uniform"}
    assert load_recipe("bbdm", "native64").loss.get("norm", "l2") == "l2"


def test_the_published_loss_is_weighted_by_nothing():
    """Wherever the heart lies, an error counts by its size alone."""
    learner = make(setting())
    rng, count = generator_of(0, 1), 4
    batch = learner.supply.batch(rng)
    errors = torch.randn(count, 1, 8, 8)
    for heart in (torch.zeros_like(errors), torch.ones_like(errors)):
        assert torch.equal(learner.errors(errors, heart), errors.abs().mean(dim=(1, 2, 3)))
    assert float(learner.losses(batch, generator_of(0, 2), 2)["loss"].detach()) > 0.0


@pytest.mark.parametrize(
    "loss",
    [
        {"norm": "l1", "start_share": 0.0, "heart_weight": 2.0},
        {"norm": "l2", "start_share": 0.0, "heart_weight": 2.0},
        {"norm": "huber", "start_share": 0.0},
    ],
)
def test_a_loss_that_is_neither_is_refused(loss):
    with pytest.raises(UsageError, match='"loss" must have "norm" "l1" and no weights'):
        make(setting(**loss))
