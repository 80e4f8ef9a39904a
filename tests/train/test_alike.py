"""Methods are trained and compared alike: the heart counts in every loss, and nothing is computed twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_recipes import LATENT, SIDE, small
from tiny_training import TinyCohort

from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.diffusion.vp_solvers import half_log_snr
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.registry import load
from spectac_fast.train.learner import Setting, generator_of
from spectac_fast.train.learners import latent, make_learner
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.recipe import load_recipe
from spectac_fast.train.run import Options, train
from spectac_fast.train.slices import SlicePairs


@pytest.fixture(scope="module")
def cohort():
    return TinyCohort([3, 4], side=SIDE)


@pytest.fixture(scope="module")
def first_stage(cohort, tmp_path_factory):
    return train(cohort, None, tmp_path_factory.mktemp("vqgan"), small("vqgan"), Options(Budget(steps=2)))


def learner_of(model, cohort, first_stage):
    pairs = SlicePairs(cohort, [0, 1], 2.0)
    stage = first_stage if model in LATENT else None
    return make_learner(Setting(small(model), pairs, 0, torch.device("cpu"), stage))


@pytest.mark.parametrize("model", ["bbdm", "cpdm", "ddpm", "lbbdm", "ldm", "palette", "regression", "vqgan"])
def test_the_heart_counts_as_often_as_the_recipe_says(model, cohort, first_stage):
    learner = learner_of(model, cohort, first_stage)
    batch, found = learner.supply.batch(generator_of(0, 4)), []
    assert 0 < float(batch.heart.mean()) <= 1
    for weight in (1.0, 3.0, 9.0):
        learner.recipe = dataclasses.replace(learner.recipe, loss=learner.recipe.loss | {"heart_weight": weight})
        found.append(float(learner.losses(batch, generator_of(0, 4), 4)["loss"].detach()))
    # A straight line in the weight.
    assert found[1] > found[0]
    assert found[2] - found[0] == pytest.approx(4 * (found[1] - found[0]), rel=1e-3)


def test_native_recipes_weigh_the_heart_alike():
    weights = {
        model: load_recipe(model, "native64").loss["heart_weight"]
        for model in ("cpdm", "ddpm", "lbbdm", "ldm", "palette", "regression", "vqgan")
    }
    assert set(weights.values()) == {load_recipe("bbdm", "native64-table").loss["heart_weight"]}


def test_maps_are_made_once_and_not_in_a_step(cohort, first_stage, monkeypatch):
    learner = learner_of("cpdm", cohort, first_stage)
    fresh = learner.maps(learner.fit.to_network(SlicePairs(cohort, [0, 1], 2.0).select(learner.supply.slices)[0]))
    # Kept in half precision; shares lie in 0 ... 1.
    torch.testing.assert_close(learner.supply.maps.float(), fresh, rtol=0, atol=2**-11)
    monkeypatch.setattr(latent, "attention_from_nc", None)
    monkeypatch.setattr(latent, "path_transmission", None)
    assert np.isfinite(learner.step(0)["loss"])


def test_the_judges_of_unit_see_fakes_and_nothing_else_is_made(cohort):
    learner = learner_of("unit", cohort, None)
    nc, ac = learner.images(generator_of(0, 1))
    with torch.no_grad():
        passage, fakes = learner.method(nc, ac, learner._noise(1)), learner.method.fakes(nc, ac, learner._noise(1))
    assert torch.equal(fakes[0], passage.fake_nc)
    assert torch.equal(fakes[1], passage.fake_ac)
    forwards = []
    learner.method.register_forward_hook(lambda *_: forwards.append(torch.is_grad_enabled()))
    learner.step(0)
    assert forwards == [True]


def test_palette_samples_where_it_was_trained(cohort, tmp_path):
    path = train(cohort, None, tmp_path, small("palette"), Options(Budget(steps=1)))
    table = load(path, device="cpu").table(10, None, None)
    trained = VPProcess(**load_recipe("palette", "native64").process["training"])
    assert min(table.m) >= float(trained.level[-1])
    # Steps alike in lambda, as far as whole timesteps are.
    steps = np.diff([half_log_snr(level) for level in table.m])
    assert steps[:-2] == pytest.approx(np.full(len(steps) - 2, steps[:-2].mean()), rel=0.15)


def test_a_first_stage_can_do_without_attention_in_its_middle():
    network = load_recipe("vqgan", "native64").network
    plain, attentive = (VQGAN(**network | {"middle_attention": on}) for on in (False, True))
    extra = set(attentive.state_dict()) - set(plain.state_dict())
    assert {name.rsplit(".", 2)[0] for name in extra} == {"encoder.mid.attn_1", "decoder.mid.attn_1"}
    assert not set(plain.state_dict()) - set(attentive.state_dict())
    assert plain.multiple == 2
