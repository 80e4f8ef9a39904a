"""Every trainable method: it learns, its weight file works, a killed run goes on as if nothing had happened."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from patience import HANGS_S
from small_recipes import LATENT, SIDE, options, small
from tiny_training import TinyCohort, changed

from spectac_fast import cli
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.names import APART
from spectac_fast.models.registry import load
from spectac_fast.train.learner import Setting, generator_of
from spectac_fast.train.learners import MAKERS, make_learner
from spectac_fast.train.learners.gan import frozen
from spectac_fast.train.learners.unpaired import History
from spectac_fast.train.loop import optimise as loop
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.loop.schedule import make_schedule
from spectac_fast.train.run import Options, train
from spectac_fast.train.slices import SlicePairs

pytestmark = pytest.mark.chain


def entries(run):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "minutes"} for entry in lines]


# Attenuation maps and views are learnt from cohorts of their own: test_mumap.py, test_views.py.
OF_PAIRS = sorted(set(MAKERS) - set(APART))


@pytest.mark.parametrize("model", OF_PAIRS)
def test_a_killed_run_goes_on_and_its_weights_translate(model, cohort, first_stage, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    recipe, budget = small(model), Budget(steps=3)
    path = train(cohort, None, tmp_path / "whole", recipe, options(model, first_stage, budget=budget))

    advance = loop._step

    def fail_once(state, recipe):
        if state.step == 2:
            raise KeyboardInterrupt
        return advance(state, recipe)

    monkeypatch.setattr(loop, "_step", fail_once)
    with pytest.raises(KeyboardInterrupt):
        train(cohort, None, tmp_path / "broken", recipe, options(model, first_stage, budget=budget))
    monkeypatch.setattr(loop, "_step", advance)
    train(cohort, None, tmp_path / "broken", recipe, options(model, first_stage, budget=budget, resume=True))
    assert len(entries(tmp_path / "whole")) == 3
    assert entries(tmp_path / "broken") == entries(tmp_path / "whole")

    translator = load(path, device="cpu")
    nc = torch.randn(3, 1, SIDE, SIDE)
    ac = translator.translate(nc, torch.tensor([4, 5, 6]))
    assert ac.shape == nc.shape
    assert torch.isfinite(ac).all()
    assert translator.card["recipe"]["name"] == "native64"
    for copied in (copy.deepcopy(translator), pickle.loads(pickle.dumps(translator))):
        assert torch.equal(copied.translate(nc, torch.tensor([4, 5, 6])), ac)


@pytest.mark.parametrize("model", ["regression", "ddpm", "pix2pix", "reggan", "vqgan"])
def test_it_learns(model, cohort, tmp_path):
    recipe = small(model, learning_rate=3e-3)
    train(cohort, None, tmp_path, recipe, Options(Budget(steps=100)))
    key = {"pix2pix": "l1", "reggan": "correction", "vqgan": "error"}.get(model, "loss")
    first, last = (entry[key] for entry in entries(tmp_path))
    assert last < 0.9 * first


def test_medgan_takes_features_of_a_first_stage(cohort, first_stage):
    recipe = small("medgan")
    recipe = dataclasses.replace(recipe, loss=recipe.loss | {"features": f"vqgan:{first_stage}"})
    learner = make_learner(Setting(recipe, SlicePairs(cohort, [0, 1], 2.0), 0, torch.device("cpu")))
    values = learner.step(0)
    assert values["style"] > 0
    assert values["content"] > 0
    wrong = dataclasses.replace(recipe, loss=recipe.loss | {"features": "photographs"})
    with pytest.raises(UsageError, match="found 'photographs'"):
        make_learner(Setting(wrong, SlicePairs(cohort, [0, 1], 2.0), 0, torch.device("cpu")))


def test_medgan_matches_its_terms_at_the_start(cohort):
    """Whatever the features' scale, style and content begin as the shares that were asked for."""

    def made(match, features="random:3"):
        recipe = small("medgan")
        recipe = dataclasses.replace(recipe, loss=recipe.loss | {"features": features, "match": match})
        return make_learner(Setting(recipe, SlicePairs(cohort, [0, 1], 2.0), 5, torch.device("cpu")))

    shares = {"style": 0.5, "content": 0.25}
    learner = made(shares)
    method = learner.method.eval()
    nc, ac = learner.images(np.random.default_rng(5))
    with torch.no_grad():
        terms = method.generator_loss(nc, ac, method(nc))
    for name, share in shares.items():
        assert float(terms[name]) == pytest.approx(share * float(terms["perceptual"]), rel=1e-4)
        assert learner.config()["loss_weights"][name] == getattr(made(shares).method, f"{name}_weight")
    assert learner.config()["features"] == "random:3"
    for match, features in (({"style": -1.0}, "random:3"), ({"gan": 1.0}, "random:3"), ({"style": 1.0}, "disc")):
        with pytest.raises(UsageError, match="positive shares of style and content"):
            made(match, features)


def test_ranks_draw_other_slices(monkeypatch):
    first = generator_of(1, 2).random()
    monkeypatch.setenv("RANK", "1")
    assert generator_of(1, 2).random() != first


@pytest.mark.parametrize("name", ["bbdm", "cyclegan", "ddpm", "ldm", "palette"])
def test_paper_recipes_take_a_step(name, cohort, tmp_path):
    """At a small width; the sizes of the others are those of unet_256, which takes no small slices."""
    pairs, stage = SlicePairs(cohort, [0, 1], 2.0), None
    if name in LATENT:
        # Its first stage has latents of four channels.
        recipe = small("vqgan", z_channels=4, embed_dim=4)
        stage = train(cohort, None, tmp_path, recipe, Options(Budget(steps=1)))
    learner = make_learner(Setting(small(name, "paper"), pairs, 0, torch.device("cpu"), stage))
    assert np.isfinite(list(learner.step(0).values())).all()


def test_history_gives_old_fakes_back():
    history, rng = History(4, (1, 2, 2)), np.random.default_rng(0)
    first = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)
    assert torch.equal(history.exchange(first, rng), first)
    later = torch.cat([history.exchange(first + 10 * k, rng) for k in range(1, 30)])
    drawn = later[:, 0, 0, 0]
    fresh = torch.cat([torch.arange(4.0) + 10 * k for k in range(1, 30)])
    assert 0.3 < (drawn == fresh).float().mean() < 0.7


def test_frozen_weights_get_no_gradient():
    layer = torch.nn.Linear(2, 2)
    x = torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    assert layer.weight.requires_grad


def test_averages_start_late(cohort, tmp_path):
    recipe = small("regression", learning_rate=1e-2)
    late = dataclasses.replace(recipe, average={"decay": 0.5, "start_step": 3, "every": 2})
    one = load(train(cohort, None, tmp_path / "a", late, Options(Budget(steps=3))), device="cpu")
    raw = dataclasses.replace(recipe, average={"decay": 0.0, "start_step": 0, "every": 1})
    other = load(train(cohort, None, tmp_path / "b", raw, Options(Budget(steps=3))), device="cpu")
    nc = torch.randn(2, 1, SIDE, SIDE)
    assert torch.equal(one.translate(nc), other.translate(nc))


def test_accumulated_batches_count_as_one(cohort):
    pairs = SlicePairs(cohort, [0, 1], 2.0)
    once = small("regression")
    learner = make_learner(Setting(changed(once, accumulate=2), pairs, 0, torch.device("cpu")))
    losses = [learner.losses(learner.supply.batch(generator_of(0, 5, part)), None, 5)["loss"] for part in range(2)]
    expected = float(torch.stack(losses).mean().detach())
    assert learner.step(5)["loss"] == pytest.approx(expected, rel=1e-6)


def test_latent_models_need_a_first_stage(cohort, first_stage, tmp_path):
    with pytest.raises(UsageError, match="--first-stage"):
        train(cohort, None, tmp_path / "a", small("lbbdm"), Options(Budget(steps=1)))
    with pytest.raises(UsageError, match="as they are"):
        train(
            cohort, None, tmp_path / "b", small("lbbdm", shift_px=1), Options(Budget(steps=1), first_stage=first_stage)
        )
    other = train(cohort, None, tmp_path / "c", small("regression"), Options(Budget(steps=1)))
    with pytest.raises(InputError, match="expected 'vqgan'"):
        train(cohort, None, tmp_path / "d", small("cpdm"), Options(Budget(steps=1), first_stage=other))


_WORKER = """
import sys, torch
sys.path[:0] = {helpers!r}
from small_recipes import SIDE, small
from tiny_training import TinyCohort
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train
from pathlib import Path
train(TinyCohort([3, 4], side=SIDE), None, Path({run!r}), small("regression"), Options(Budget(steps=3)))
"""


def looking(recipe):
    """The recipe with one neighbouring slice on either side, which latent diffusion needs a rescaler to take, and with
    an attenuation factor where there are counts.
    """
    network = json.loads(json.dumps(recipe.network))
    if recipe.model == "ldm":
        network["rescaler"] = {"in_channels": 1, "out_channels": 3}
    home = network.get("generator", network)
    home |= {"context_slices": 1} if recipe.model in LATENT else {"context_slices": 1, "attenuation_paths": 4}
    return dataclasses.replace(recipe, network=network)


@pytest.mark.parametrize("model", sorted(set(OF_PAIRS) - {"vqgan"}))
def test_every_method_takes_both_options(model, cohort, first_stage, tmp_path, capsys):
    """The recipe's keys alone widen the networks; weight file and `spectac info` say the same of the channels."""
    recipe = looking(small(model, learning_rate=0.1))
    path = train(cohort, None, tmp_path, recipe, options(model, first_stage, budget=Budget(steps=2)))
    translator, nc = load(path, device="cpu"), torch.randn(2, 1, SIDE, SIDE)
    assert translator.context_mm == (-6.8, 6.8)
    alone = translator.translate(nc, steps=2)
    assert torch.equal(alone, translator.translate(nc, neighbours=nc.expand(-1, 2, -1, -1), steps=2))
    assert not torch.equal(alone, translator.translate(nc, neighbours=torch.randn(2, 2, SIDE, SIDE), steps=2))
    assert torch.isfinite(alone).all()
    assert cli.main(["info", str(path), "--device", "cpu"]) == 0
    assert ("'attenuation_paths': 4" in capsys.readouterr().out) == (model not in LATENT)


def test_neighbours_need_a_way_into_a_latent_model(cohort, first_stage):
    recipe = small("ldm")
    recipe = dataclasses.replace(recipe, network=recipe.network | {"context_slices": 1})
    with pytest.raises(UsageError, match="context_slices 1 and rescaler null"):
        make_learner(Setting(recipe, SlicePairs(cohort, [0, 1], 2.0), 0, torch.device("cpu"), first_stage))


def test_two_processes_train_as_one(repository, cohort, tmp_path):
    """Gradients are averaged: two processes end with one and the same network, and only the first one writes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": "0"}
    helpers = [str(repository / "tests" / "support"), str(repository / "tests" / "support" / "tiny")]
    code = _WORKER.format(helpers=helpers, run=str(tmp_path / "run"))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=common | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=HANGS_S)
        assert process.returncode == 0, errors
    weights = load(tmp_path / "run" / f"regression{SIDE}.safetensors", device="cpu")
    alone = load(train(cohort, None, tmp_path / "alone", small("regression"), Options(Budget(steps=3))), device="cpu")
    nc = torch.randn(2, 1, SIDE, SIDE)
    assert not torch.equal(weights.translate(nc), alone.translate(nc))

    pairs = SlicePairs(TinyCohort([3, 4], side=SIDE), [0, 1], weights.gain)
    learners = [make_learner(Setting(small("regression"), pairs, 0, torch.device("cpu"))) for _ in range(2)]
    schedule = make_schedule(small("regression").schedule, learners[0].optimizers.values())
    for step in range(3):
        losses = []
        for rank in range(2):
            rng = np.random.default_rng([0, step, 0, rank])
            losses.append(learners[0].losses(learners[0].supply.batch(rng), rng, step)["loss"])
        schedule.before(step, step / 3)
        (sum(losses) / 2).backward()
        parameters = list(learners[0].shipped.parameters())
        torch.nn.utils.clip_grad_norm_(parameters, small("regression").gradient_clip)
        learners[0].optimizers["model"].step()
        learners[0].optimizers["model"].zero_grad()
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(entry["step"] <= 3 for entry in log)
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert card["slices"] == 2 * 3 * small("regression").data["batch"]
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)["networks"]["model"]
    for name, value in learners[0].shipped.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-5)


def test_idle_codes_move_onto_latents(cohort):
    """Left alone, a codebook that starts at the origin ends with a handful of codes in use."""
    recipe = small("vqgan")
    recipe = dataclasses.replace(recipe, loss=recipe.loss | {"revive": {"every": 2, "until": 3}})
    learner = make_learner(Setting(recipe, SlicePairs(cohort, [0, 1], 1.5), 0, torch.device("cpu"), None))
    codes = learner.shipped.quantize.embedding.weight
    start = codes.detach().clone()
    learner.step(0)
    moved = (codes.detach() - start).norm(dim=1) > 2.0 * start.norm(dim=1).max()
    assert moved.float().mean() > 0.5
    settled = codes.detach().clone()
    for step in (1, 3, 4):  # neither between the revivals nor after the last of them
        values = learner.losses(learner.supply.batch(generator_of(0, step)), generator_of(0, step), step)
        assert values["codes_used"].detach() > 8
    assert torch.equal(codes.detach(), settled)


def test_some_slices_stand_for_all_between_latents(cohort, first_stage):
    recipe = changed(small("lbbdm"), latent_slices=5)
    pairs = SlicePairs(cohort, [0, 1], 1.5)
    learner = make_learner(Setting(recipe, pairs, 0, torch.device("cpu"), first_stage))
    supply = learner.supply
    assert len(supply.slices) == len(supply.ac) == len(set(supply.slices)) == 5 < len(pairs)
    batch = supply.batch(generator_of(0, 0))
    found = {tuple(image.flatten()[:40].tolist()) for image in batch.seen[:, 0]}
    encoded = supply.fit.to_network(pairs.select(supply.slices)[0])
    assert found <= {tuple(image.flatten()[:40].tolist()) for image in encoded[:, 0]}
