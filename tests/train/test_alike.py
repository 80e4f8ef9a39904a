"""Methods are trained and compared alike: the heart counts in every loss, and nothing is computed twice."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_recipes import LATENT, SIDE, small
from tiny_training import changed

from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.diffusion.vp_solvers import half_log_snr
from spectac_fast.evaluate.table import variants
from spectac_fast.models.methods.vqgan import VQGAN
from spectac_fast.models.networks.attenuation import Attenuation, of_image
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.registry import load
from spectac_fast.train.learner import Setting, generator_of
from spectac_fast.train.learners import latent, make_learner
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.recipe import load_recipe
from spectac_fast.train.run import Options, train
from spectac_fast.train.slices import SlicePairs


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


@pytest.mark.parametrize(("model", "term"), [("pix2pix", "l1"), ("medgan", "perceptual"), ("reggan", "correction")])
def test_the_heart_counts_more_in_the_l1_term_of_generators(model, term, cohort):
    learner = learner_of(model, cohort, None)
    learner.method.eval()
    found = []
    for weight in (1.0, 3.0, 9.0):
        learner.recipe = dataclasses.replace(learner.recipe, loss=learner.recipe.loss | {"heart_weight": weight})
        nc, ac, weights = learner.weighted_images(generator_of(0, 4))
        assert set(weights.unique().tolist()) <= {1.0, weight}
        with torch.no_grad():
            found.append({k: float(v) for k, v in learner.method.generator_loss(nc, ac, 0.5 * nc, weights).items()})
    assert found[1][term] > found[0][term]
    assert found[2][term] - found[0][term] == pytest.approx(4 * (found[1][term] - found[0][term]), rel=1e-3)
    assert all(found[0][name] == pytest.approx(found[2][name]) for name in found[0] if name != term)


@pytest.mark.parametrize("model", ["pix2pix", "medgan", "reggan", "cyclegan", "unit"])
def test_a_residual_generator_begins_as_identity_and_is_not_bounded(model, cohort, tmp_path):
    recipe = small(model, "native64-residual", learning_rate=0.0)
    if model == "cyclegan":
        # By slice nothing can be normalised that is one pixel: five halvings leave that of 32.
        recipe = changed(recipe, size=[2 * SIDE, 2 * SIDE])
    path = train(cohort, None, tmp_path, recipe, Options(Budget(steps=1)))
    nc = 3.0 * torch.randn(2, 1, SIDE, SIDE)
    torch.testing.assert_close(load(path, device="cpu").translate(nc), nc, rtol=0, atol=1e-5)


def test_residuals_that_cannot_be_are_refused():
    generator = {"kind": "unet_generator", "num_downs": 5, "width": 4, "residual": True}
    for wrong in ({"attenuation_paths": 4}, {"kind": "folded_unet", "num_downs": None}):
        config = {k: v for k, v in (generator | wrong).items() if v is not None}
        with pytest.raises(ValueError, match="residual needs a network of kind"):
            build_network(config)
    config = {"kind": "unit", "width": 2, "residuals": 1, "residual": True, "attenuation_paths": 4}
    with pytest.raises(ValueError, match="residual needs generators without attenuation_paths, found 4"):
        build_network(config, Attenuation(2.0, of_image))


def test_native_recipes_weigh_the_heart_alike():
    methods = ("cpdm", "ddpm", "lbbdm", "ldm", "medgan", "palette", "pix2pix", "reggan", "regression", "vqgan")
    weights = {model: load_recipe(model, "native64").loss["heart_weight"] for model in methods}
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


@pytest.mark.parametrize("model", ["ddpm", "ldm", "palette"])
def test_one_evaluation_of_a_model_that_starts_from_noise_is_of_noise(model, cohort, first_stage, tmp_path):
    """Whatever its own solver is: at the last timestep, where the state says nothing and NC all."""
    stage = first_stage if model in LATENT else None
    path = train(cohort, None, tmp_path, small(model), Options(Budget(steps=1), first_stage=stage))
    translator = load(path, device="cpu")
    estimate = next(row for row in variants.expand(["a"], lambda _: translator, 6, 8) if "1 evaluation" in row.label)
    table = translator.table(1, estimate.options["solver"], None)
    process = translator.model.process if model == "ldm" else translator.process
    assert table.t == (process.num_timesteps - 1,)


def test_a_first_stage_can_do_without_attention_in_its_middle():
    network = load_recipe("vqgan", "native64").network
    plain, attentive = (VQGAN(**network | {"middle_attention": on}) for on in (False, True))
    extra = set(attentive.state_dict()) - set(plain.state_dict())
    assert {name.rsplit(".", 2)[0] for name in extra} == {"encoder.mid.attn_1", "decoder.mid.attn_1"}
    assert not set(plain.state_dict()) - set(attentive.state_dict())
    assert plain.multiple == 2
