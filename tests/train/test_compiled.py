"""A compiler that loses gradients is found out before it has trained anything."""

from __future__ import annotations

import copy

import pytest
import torch
from small_recipes import LATENT, small
from torch import nn

from spectac_fast.errors import SetupError
from spectac_fast.models.names import APART
from spectac_fast.train.learner import Setting
from spectac_fast.train.learners import MAKERS, make_learner
from spectac_fast.train.loop.compiled import compile_networks
from spectac_fast.train.slices import SlicePairs

pytestmark = pytest.mark.chain

OF_PAIRS = sorted(set(MAKERS) - set(APART))


def learner_of(model, cohort, first_stage):
    latent = first_stage if model in LATENT else None
    return make_learner(Setting(small(model), SlicePairs(cohort, [0, 1], 2.0), 5, torch.device("cpu"), latent))


def states(learner):
    return copy.deepcopy([part.state_dict() for part in (*learner.networks.values(), *learner.optimizers.values())])


def assert_same(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for a, b in zip(one, other):
            assert_same(a, b)
    else:
        assert one == other


@pytest.mark.parametrize("model", OF_PAIRS)
def test_a_faithful_compiler_leaves_no_trace(model, cohort, first_stage, monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, *_, **__: compiled.append(self))
    learner, plain = (learner_of(model, cohort, first_stage) for _ in range(2))
    before = states(learner)
    compile_networks(learner, 0)
    assert compiled == list(learner.networks.values())
    assert_same(states(learner), before)
    assert all(p.grad is None for network in learner.networks.values() for p in network.parameters())
    assert learner.step(0) == plain.step(0)
    assert_same(states(learner), states(plain))


@pytest.mark.parametrize("model", OF_PAIRS)
@pytest.mark.parametrize("fault", ["lost", "doubled"])
def test_a_compiler_that_changes_gradients_is_refused(model, fault, cohort, first_stage, monkeypatch):
    """By nothing that the forward passage shows."""
    learner = learner_of(model, cohort, first_stage)
    learnt = {
        p for optimizer in learner.optimizers.values() for group in optimizer.param_groups for p in group["params"]
    }

    def faulty(output):
        share = {"lost": 0.0, "doubled": 2.0}[fault]
        return share * output + (1.0 - share) * output.detach()

    def broken(self, *_, **__):
        inner = [part for part in self.modules() if isinstance(part, nn.Conv2d) and part.weight in learnt]
        if inner:
            inner[len(inner) // 2].register_forward_hook(lambda _, __, output: faulty(output))

    monkeypatch.setattr(nn.Module, "compile", broken)
    before = states(learner)
    with pytest.raises(SetupError, match="--compile: expected the gradients"):
        compile_networks(learner, 0)
    assert_same(states(learner), before)
