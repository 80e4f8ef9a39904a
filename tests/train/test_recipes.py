"""What the shipped recipes say: networks that can be built, data as the papers draw it, norms as they were trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_recipes import SIDE, small
from tiny_training import TinyCohort

from spectac_fast.errors import UsageError
from spectac_fast.phantom.protocol import HANOI
from spectac_fast.train.learner import generator_of
from spectac_fast.train.learners import MAKERS
from spectac_fast.train.recipe import load_recipe, recipe_names, trainable
from spectac_fast.train.slices import SlicePairs
from spectac_fast.train.supply import Supply


def test_every_model_has_a_recipe_and_a_learner():
    assert set(trainable()) == set(MAKERS)
    for model in trainable():
        assert "native64" in recipe_names(model)
        for name in recipe_names(model):
            assert load_recipe(model, name).name == name


def test_batch_norms_are_tested_as_they_were_trained():
    """By the statistics of one slice alone only where batches of one were what they learned on."""
    found = set()
    for model in trainable():
        for name in recipe_names(model):
            recipe = load_recipe(model, name)
            generator = recipe.network.get("generator", {})
            if generator.get("kind") in ("unet_generator", "casnet"):
                norm = generator.get("norm", "batch1")
                found.add(norm)
                assert norm == "instance" or (norm == "batch1") == (recipe.data["batch"] == 1), (model, name)
    assert {"batch1", "eval"} <= found


@pytest.mark.parametrize("name", [n for n in sorted(MAKERS) if "paper" in recipe_names(n)])
def test_paper_recipes_describe_networks(name):
    """Their networks can be built, on no memory at all; training them takes days."""
    recipe = load_recipe(name, "paper")
    assert recipe.data["size"] == [256, 256]
    with torch.device("meta"):
        from spectac_fast.models.methods.vqgan import VQGAN
        from spectac_fast.models.networks.build import build_network

        inner = recipe.network.get("generator") or recipe.network.get("network")
        network = inner or ("kind" in recipe.network and recipe.network)
        parameters = sum(
            p.numel() for p in (build_network(network) if network else VQGAN(**recipe.network)).parameters()
        )
    published = {"pix2pix": 54_407_809, "unit": 2 * 11_127_937, "lbbdm": 237_000_000, "cpdm": 97_400_000}
    published |= {"cyclegan": 11_365_633, "palette": 62_637_889, "ldm": 215_229_315, "medgan": 6 * 54_407_809}
    if name in published:
        assert parameters == pytest.approx(published[name], rel=2e-3)


def test_the_comparison_papers_first_stage_differs_by_its_latent_channels_and_serves_the_latent_bridge():
    published, compared = (load_recipe("vqgan", name) for name in ("paper", "paper-comparison"))
    assert compared.network == {**published.network, "z_channels": 2}
    assert [r.as_dict() | {"name": "", "network": {}} for r in (published, compared)].count(
        published.as_dict() | {"name": "", "network": {}}
    ) == 2
    bridge = load_recipe("lbbdm", "paper").network["network"]
    # 256 -> 32, and the bridge runs between embedded latents.
    assert 2 ** (len(compared.network["ch_mult"]) - 1) == 256 // 32
    assert bridge["in_channels"] == bridge["out_channels"] == compared.network["embed_dim"]


def test_unpaired_recipes_do_not_see_pairs():
    pairs = SlicePairs(TinyCohort([3, 4], side=SIDE), [0, 1], 2.0)
    settings = small("cyclegan", shift_px=0).data
    batch = Supply(pairs, settings | {"batch": 8, "clip": None}, torch.device("cpu"), 0, 1).batch(generator_of(0, 0))
    nc, ac = pairs.select(np.arange(len(pairs)))
    of_nc, of_ac = ([next(i for i in range(len(all_)) if torch.equal(all_[i], image)) for image in images]
                    for all_, images in ((nc, batch.nc), (ac, batch.ac)))  # fmt: skip
    assert sum(a == b for a, b in zip(of_nc, of_ac)) <= 2


def test_targets_of_bounded_models_are_clipped():
    pairs = SlicePairs(TinyCohort([3, 4], side=SIDE), [0, 1], 0.5)
    batch = Supply(pairs, small("pix2pix").data, torch.device("cpu"), 0, 1).batch(generator_of(0, 0))
    assert float(batch.ac.max()) == 1.0
    assert float(batch.nc.max()) > 0.9


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        ("bbdm", {"network.facts": ["sex", "shoes"]}, "expected facts out of sex"),
        ("bbdm", {"network.facts": ["sex", "sex"]}, "each once"),
        ("bbdm", {"network.facts": "sex"}, "each once"),
        ("ddpm", {"network.facts": ["sex"]}, "facts are for a folded_unet of bbdm, found ddpm"),
        ("mumap-bridge", {"network.facts": ["sex"]}, "found mumap-bridge"),
    ],
)
def test_facts_that_nobody_is_told_are_refused(model, changes, said):
    with pytest.raises(UsageError, match=said):
        load_recipe(model, "native64", changes)


def test_what_headers_leave_out_is_left_out_in_training_and_what_is_wanted_never():
    cohort = TinyCohort(range(3), SIDE)
    for case, scatter in zip(cohort.cases, ("none", "none", "estimate")):
        protocol = HANOI.to_json() | {"ac": HANOI.to_json()["ac"] | {"scatter": scatter}}
        case |= {"sex": "M", "bmi": 32.0, "protocol": protocol}
    names = ("sex", "bmi", "arc", "keeps_scatter")
    pairs = SlicePairs(cohort, [0, 1], 1.0, facts=names)
    batch = pairs.batch(np.random.default_rng(3), 2000, shift_px=1, jitter=0.0, context=1)
    assert batch.neighbours.shape[1] == 2 + len(names)
    told = batch.neighbours[:, 2:]
    # Even images, whatever else is moved or lost.
    assert torch.equal(told, told[:, :, :1, :1].expand_as(told))
    sex, bmi, arc, kept = told[:, :, 0, 0].T
    assert set(sex.tolist()) == {0.0, 1.0}
    assert set(bmi.tolist()) == {0.0, 1.0}
    assert set(arc.tolist()) == {0.0, -1.0}
    assert bool((kept == 1).all())
    unknown = told[:, :3, 0, 0] == 0
    # All of them in a fifth, and each of the rest in 15 %.
    assert float(unknown.all(dim=1).float().mean()) == pytest.approx(0.2 + 0.8 * 0.15**3, abs=0.04)
    assert float(unknown.float().mean()) == pytest.approx(0.2 + 0.8 * 0.15, abs=0.03)
    usual = SlicePairs(cohort, [2], 1.0, facts=names)
    assert usual.facts(np.array([0]))[0, 3] == 0
    assert SlicePairs(cohort, [2], 1.0).facts(np.array([0, 1])).shape == (2, 0)


def test_an_ideal_target_says_that_it_is_wanted():
    cohort = TinyCohort([3])
    cohort.cases[0] |= {"protocol": HANOI.to_json() | {"ac": HANOI.to_json()["ac"] | {"scatter": "none"}}}
    pairs = SlicePairs(cohort, [0], 2.0, {"AC": 1.0, "IDEAL": 1.0}, ("keeps_scatter", "ideal"))
    batch = pairs.batch(np.random.default_rng(), 400, 0, 0.0)
    kept, ideal = batch.neighbours[:, :, 0, 0].T
    every = np.arange(len(pairs))
    of_ideal = torch.cat(list(pairs.select(every, targets="IDEAL")[1]))
    found = torch.stack([(image == of_ideal).flatten(1).all(1).any() for image in batch.ac[:, 0]])
    assert torch.equal(ideal == 1.0, found)
    assert 0 < int(found.sum()) < len(found)
    # The ideal image holds no scatter, whatever the department's AC does.
    assert torch.equal(kept, 1.0 - ideal)
    # Another draw is told of its own.
    assert bool((pairs.facts(every) == torch.tensor([1.0, 0.0])).all())
