"""Training: the data it sees, a run that is killed and resumed, what it writes, and the fitted rows."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest
import torch
from tiny_training import SLICES, TinyCohort, tiny_recipe

from spectac_fast.cohort.paired import left_ventricle_gain
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.solvers import solver_table
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.registry import load
from spectac_fast.train.export import seed_ranges
from spectac_fast.train.learner import Setting, generator_of
from spectac_fast.train.learners import make_learner
from spectac_fast.train.learners.bridge import BridgeLearner, node_density, one_evaluation
from spectac_fast.train.loop import optimise as loop
from spectac_fast.train.loop.budget import Budget, budget_of
from spectac_fast.train.loop.log import RunLog
from spectac_fast.train.recipe import load_recipe
from spectac_fast.train.rows import train_row
from spectac_fast.train.run import Options, train
from spectac_fast.train.slices import SlicePairs, cases_of


@pytest.fixture(scope="module")
def cohort():
    return TinyCohort([3, 4, 7])


def losses(run):
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]


class Killed(Exception):
    pass


def test_killed_run_resumes_to_the_same_weights(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    whole, broken, recipe, budget = tmp_path / "whole", tmp_path / "broken", tiny_recipe(), Budget(steps=9)
    path = train(cohort, None, whole, recipe, Options(budget, seed=5))

    step = BridgeLearner.step

    def fail_once(self, number):
        if number == 6:
            raise Killed
        return step(self, number)

    monkeypatch.setattr(BridgeLearner, "step", fail_once)
    with pytest.raises(Killed):
        train(cohort, None, broken, recipe, Options(budget, seed=5))
    monkeypatch.setattr(BridgeLearner, "step", step)
    again = train(cohort, None, broken, recipe, Options(budget, seed=5, resume=True))

    assert losses(broken) == losses(whole)
    assert len(losses(whole)) == 9
    first, second = load(path, device="cpu").model.state_dict(), load(again, device="cpu").model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_learns_and_says_where_it_comes_from(cohort, tmp_path):
    recipe, validation = tiny_recipe(learning_rate=3e-3), TinyCohort([500_001, 12])
    path = train(cohort, validation, tmp_path, recipe, Options(Budget(steps=120), seed=1))
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["data"] == {"training_seeds": [[3, 4], [7, 7]], "cases": 3, "slices": 3 * 6 * SLICES}
    assert card["steps"] == 120
    assert card["recipe"]["process"]["max_var"] == recipe.process["max_var"]
    rows = card["validation"]
    assert rows["trained"]["field"] < 0.8 * rows["identity"]["field"]
    assert rows["as_shipped"]["field"] == pytest.approx(rows["trained"]["field"], rel=0.02)

    model = load(path, device="cpu")
    gain = left_ventricle_gain(cohort, [0, 1, 2])
    assert model.gain == pytest.approx(gain)
    nc, ac = SlicePairs(validation, [0], gain).select(np.arange(6 * SLICES))
    found = float((model.translate(nc) - ac).square().mean().sqrt())
    assert found == pytest.approx(rows["as_shipped"]["field"], rel=0.01)


def test_a_run_is_not_overwritten_or_mixed_up(cohort, tmp_path):
    recipe = tiny_recipe()
    train(cohort, None, tmp_path, recipe, Options(Budget(steps=1)))
    with pytest.raises(UsageError, match="--resume"):
        train(cohort, None, tmp_path, recipe, Options(Budget(steps=1)))
    with pytest.raises(InputError, match="seed"):
        train(cohort, None, tmp_path, recipe, Options(Budget(steps=1), seed=2, resume=True))
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(InputError, match="damaged"):
        train(cohort, None, tmp_path, recipe, Options(Budget(steps=1), resume=True))
    with pytest.raises(InputError, match="nothing to resume"):
        train(cohort, None, tmp_path / "new", recipe, Options(Budget(steps=1), resume=True))


def test_only_training_seeds_are_trained_on(tmp_path):
    mixed = TinyCohort([1, 500_000, 600_000, 900_000, 499_999])
    assert cases_of(mixed, "train") == [0, 4]
    assert cases_of(mixed, "validation") == [1]
    with pytest.raises(InputError, match="train"):
        train(TinyCohort([600_001]), None, tmp_path, tiny_recipe(), Options(Budget(steps=1)))


def test_model_units(cohort):
    gain = left_ventricle_gain(cohort, [0, 1, 2])
    data = SlicePairs(cohort, [1], gain)
    nc, ac = data.select(np.arange(len(data)))
    raw_nc, raw_ac = cohort.pair(1, "stress", "VLA")
    scale = cohort.scale(1, "stress")
    np.testing.assert_allclose(nc[SLICES : 2 * SLICES, 0], 2 * raw_nc / scale - 1, atol=1e-5)
    np.testing.assert_allclose(ac[SLICES : 2 * SLICES, 0], 2 * raw_ac / (scale * gain) - 1, atol=1e-5)


def test_augmentation_moves_both_images_alike(cohort):
    data = SlicePairs(cohort, [0, 1], 2.0)
    nc, ac, _, _ = data.batch(np.random.default_rng(), 32, shift_px=2, jitter=0.1)
    empty = nc == -1.0
    assert torch.equal(empty.sum((2, 3)) > 0, (ac == -1.0).sum((2, 3)) > 0)
    assert 0 < int((empty.sum((1, 2, 3)) > 0).sum()) < 33
    again, *_ = data.batch(np.random.default_rng(8), 4, 2, 0.1)
    same, *_ = data.batch(np.random.default_rng(8), 4, 2, 0.1)
    assert torch.equal(again, same)
    # The counts of both images carry the same factor: AC is about twice NC wherever there are counts.
    inside = ~empty
    assert float(((ac[inside] + 1) / (nc[inside] + 1)).std()) < 0.3


def test_rows_are_the_least_squares_solution(cohort, tmp_path):
    data = SlicePairs(cohort, [0, 1, 2], left_ventricle_gain(cohort, [0, 1, 2]))
    nc, ac = (part.double().flatten().numpy() for part in data.select(np.arange(len(data))))
    slope, offset = np.polyfit(nc, ac, 1)
    linear = load(train_row("linear", cohort, tmp_path), device="cpu")
    assert (linear.slope, linear.offset) == pytest.approx((slope, offset), rel=1e-6)
    scale = load(train_row("scale", cohort, tmp_path), device="cpu")
    factor = np.sum((nc + 1) * (ac + 1)) / np.sum((nc + 1) ** 2)
    assert (scale.slope, scale.offset) == pytest.approx((factor, factor - 1), rel=1e-6)
    identity = load(train_row("identity", cohort, tmp_path), device="cpu")
    assert (identity.slope, identity.offset) == (1.0, 0.0)
    assert identity.gain == linear.gain == data.gain
    assert data.residual_power() == pytest.approx(np.mean((nc - ac) ** 2), rel=1e-6)


def test_the_heart_counts_more_and_moves_with_its_slice(cohort):
    recipe = tiny_recipe(start_share=1.0, heart_weight=5.0, shift_px=0, scale_jitter=0.0)
    data = SlicePairs(cohort, [0], 2.0)
    y, x0, heart, _ = data.batch(generator_of(0, 4), recipe.data["batch"], 0, 0.0)
    assert set(heart.unique().tolist()) <= {0.0, 1.0}
    whole = data.heart(np.arange(len(data))).mean()
    assert heart.mean() == pytest.approx(whole, rel=0.9)
    learner = make_learner(Setting(recipe, data, 0, torch.device("cpu")))
    model = learner.shipped
    loss = learner.losses(learner.supply.batch(rng := generator_of(0, 4)), rng, 4)["loss"]
    with torch.no_grad():
        squared = (one_evaluation(model, model.bridge)(y) - x0).square()
    expected = (squared * (1 + 4 * heart)).mean() / data.residual_power()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_a_run_can_start_from_weights(cohort, tmp_path):
    first = train(cohort, None, tmp_path / "first", tiny_recipe(), Options(Budget(steps=3)))
    still = Options(Budget(steps=2), initial=first)
    second = train(cohort, None, tmp_path / "second", tiny_recipe(learning_rate=0.0), still)
    one, other = (load(path, device="cpu").model.state_dict() for path in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)
    card = json.loads((tmp_path / "second" / "card.json").read_text())
    assert card["initial_weights_sha256"] == hashlib.sha256(first.read_bytes()).hexdigest()


def told(**changes):
    """The tiny recipe with facts."""
    recipe = tiny_recipe(**changes)
    return dataclasses.replace(recipe, network=recipe.network | {"facts": ["sex", "arc", "keeps_scatter"]})


def test_what_is_known_begins_as_nothing_and_is_learnt(cohort, tmp_path):
    first = train(cohort, None, tmp_path / "first", tiny_recipe(), Options(Budget(steps=3)))
    still = Options(Budget(steps=2), initial=first)
    second = train(cohort, None, tmp_path / "second", told(learning_rate=0.0), still)
    plain, same = load(first, device="cpu"), load(second, device="cpu")
    assert (plain.facts, same.facts) == ((), ("sex", "arc", "keeps_scatter"))
    nc, facts = torch.rand(3, 1, 16, 16), torch.tensor([[1.0, -1.0, 0.0]] * 3)
    for more in ({}, {"facts": facts}):
        torch.testing.assert_close(same.translate(nc, **more), plain.translate(nc), rtol=0, atol=1e-5)
    # A network that has learnt something, of a kind.
    third = load(second, device="cpu")
    for parameter in third.model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    heard = third.translate(nc, facts=facts)
    assert float((heard - third.translate(nc)).abs().max()) > 1e-3
    # Each slice by its own facts, in any company, by the estimate and by samples.
    facts[1] = 0.0
    for options in ({}, {"steps": 3, "samples": 2}):
        mixed = third.translate(nc, torch.zeros(3, dtype=torch.int64), facts=facts, **options)
        alone = third.translate(nc[1:2], torch.zeros(1, dtype=torch.int64), **options)
        torch.testing.assert_close(mixed[1:2], alone, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"facts must be float32 \[3, 3\], found torch.float32 \[3, 2\]"):
        third.translate(nc, facts=facts[:, :2])


def test_a_network_that_is_told_more_begins_as_it_was(cohort, tmp_path):
    first = train(cohort, None, tmp_path / "first", told(), Options(Budget(steps=3)))
    recipe = told(learning_rate=0.0)
    more = dataclasses.replace(recipe, network=recipe.network | {"facts": [*recipe.network["facts"], "bmi"]})
    still = Options(Budget(steps=2), initial=first)
    one, other = load(first, device="cpu"), load(train(cohort, None, tmp_path / "more", more, still), device="cpu")
    nc, facts = torch.rand(3, 1, 16, 16), torch.tensor([[1.0, -1.0, 0.0]] * 3)
    further = torch.cat([facts, torch.full((3, 1), 2.0)], dim=1)
    torch.testing.assert_close(one.translate(nc, facts=facts), other.translate(nc, facts=further), rtol=0, atol=1e-5)
    swapped = dataclasses.replace(recipe, network=recipe.network | {"facts": ["arc", "sex", "keeps_scatter"]})
    with pytest.raises(InputError, match="expected a network told arc, sex, keeps_scatter, found sex, arc"):
        train(cohort, None, tmp_path / "swapped", swapped, still)


def test_networks_are_compiled_and_their_average_is_not(cohort, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *_, **__: compiled.append(self))
    train(cohort, None, tmp_path / "plain", tiny_recipe(), Options(Budget(steps=1)))
    assert not compiled
    before, steps = BridgeLearner.step, []

    def step(self, number):
        assert compiled in ([], [self.shipped])
        steps.append(len(compiled))
        return before(self, number)

    monkeypatch.setattr(BridgeLearner, "step", step)
    train(cohort, None, tmp_path / "fast", tiny_recipe(), Options(Budget(steps=1), compiled=True))
    assert steps == [0, 1, 1]  # as it is and compiled, to see whether they agree; then the run
    assert json.loads((tmp_path / "fast" / "card.json").read_text())["compiled"] is True


def test_start_share_trains_the_regression(cohort):
    """At the start node x equals y, and the loss there is that of one evaluation."""
    recipe = tiny_recipe(start_share=1.0, shift_px=0, scale_jitter=0.0)
    data = SlicePairs(cohort, [0], 2.0)
    learner = make_learner(Setting(recipe, data, 0, torch.device("cpu")))
    model = learner.shipped
    torch.nn.init.normal_(model.denoise_fn.head.weight, std=0.1)
    seen = []
    model.register_forward_pre_hook(lambda _m, arguments: seen.append(arguments))
    values = learner.losses(learner.supply.batch(rng := generator_of(0, 4)), rng, 4)
    loss, at_start = values["loss"], values["loss_start"].detach()
    x, t, y = seen[0]
    assert float((x - y).abs().max()) < 1e-5
    assert t.tolist() == [999] * recipe.data["batch"]
    y, x0, *_ = data.batch(generator_of(0, 4), recipe.data["batch"], 0, 0.0)
    with torch.no_grad():
        expected = (one_evaluation(model, model.bridge)(y) - x0).square().mean() / data.residual_power()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)
    assert float(at_start) == pytest.approx(float(expected), rel=1e-4)


def test_nodes_of_a_table_are_all_that_is_trained(cohort, monkeypatch):
    recipe = load_recipe("bbdm", "native64-nodes")
    process = BrownianBridge(**recipe.process)
    nodes = recipe.loss["nodes"]
    assert (process.num_timesteps - 1, *nodes) == solver_table(process, recipe.defaults["sample_steps"]).t
    small = dataclasses.replace(tiny_recipe(), loss=recipe.loss)
    learner = make_learner(Setting(small, SlicePairs(cohort, [0], 2.0), 0, torch.device("cpu")))
    seen, forward = set(), learner.shipped.forward
    monkeypatch.setattr(learner.shipped, "forward", lambda x, t, c: seen.update(t.tolist()) or forward(x, t, c))
    for step in range(20):
        learner.step(step)
    assert seen == {process.num_timesteps - 1, *nodes}


def test_the_uniform_recipe_draws_its_timesteps_otherwise_and_differs_in_nothing_else():
    table, uniform = (load_recipe("bbdm", f"native64-{name}").as_dict() for name in ("table", "uniform"))
    assert uniform["loss"].pop("nodes") == "uniform"
    assert {**uniform, "name": table["name"]} == table


def test_densities_of_nodes():
    process = BrownianBridge(num_timesteps=50)
    assert np.allclose(node_density(process, "uniform"), 1 / 50)
    assert np.array_equal(node_density(process, "lambda"), process.lambda_density())
    assert np.array_equal(np.flatnonzero(node_density(process, [30, 7])), [7, 30])
    for wrong in ("sigma", [], [50], [-1]):
        with pytest.raises(UsageError, match="nodes"):
            node_density(process, wrong)


def test_budgets():
    by_steps, by_time, by_slices = Budget(steps=100), Budget(minutes=2.0), Budget(slices=640)
    assert (by_steps.total, by_steps.unit, by_steps.spent(7, 56, 1e9)) == (100, "steps", 7)
    assert (by_time.total, by_time.unit, by_time.spent(7, 56, 30.0)) == (120, "s", 30.0)
    assert (by_slices.total, by_slices.unit, by_slices.spent(7, 56, 1e9)) == (640, "slices", 56)
    assert budget_of({"epochs": 2.5}, slices=101) == Budget(slices=253)
    for settings in ({"minutes": 20}, {"steps": 7}, {"slices": 3000}):
        assert budget_of(settings, 100) == Budget(**settings)
    for wrong in ({}, {"steps": 1, "minutes": 1.0}, {"slices": 1, "steps": 1}):
        with pytest.raises(ValueError, match="one of steps, minutes and slices"):
            Budget(**wrong)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_budget_of_slices_counts_what_was_seen(cohort, tmp_path, monkeypatch, accumulate):
    monkeypatch.setattr(loop, "_LOG_EVERY", 1)
    drawn, batch = [], SlicePairs.batch
    monkeypatch.setattr(
        SlicePairs, "batch", lambda self, rng, size, *a: drawn.append(size) or batch(self, rng, size, *a)
    )
    recipe = dataclasses.replace(tiny_recipe(batch=3, accumulate=accumulate), budget={"slices": 10})
    train(cohort, None, tmp_path, recipe, Options())
    steps = {1: 4, 2: 2}[accumulate]
    assert sum(drawn) == 12
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["slices"], card["steps"]) == (12, steps)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["slices"] for entry in entries] == [3 * accumulate * (k + 1) for k in range(steps)]
    with pytest.raises(InputError, match="budget of slices"):
        train(cohort, None, tmp_path, recipe, Options(Budget(slices=11), resume=True))


def test_seed_ranges():
    assert seed_ranges([7, 1, 2, 3, 9, 8]) == [[1, 3], [7, 9]]
    assert seed_ranges([]) == []


def test_recipes_are_checked(tmp_path):
    with pytest.raises(UsageError, match="native64"):
        load_recipe("bbdm", "native46")
    path = tmp_path / "odd.json"
    path.write_text(json.dumps({**load_recipe("bbdm", "native64").as_dict(), "colour": 1}))
    with pytest.raises(InputError, match="colour"):
        load_recipe("bbdm", str(path))
    path.write_text("{")
    with pytest.raises(InputError, match=r"odd\.json"):
        load_recipe("bbdm", str(path))


def test_shipped_network_is_small_enough():
    """At most 4 MB of half-precision weights."""
    from spectac_fast.models.networks.build import build_network

    parameters = sum(p.numel() for p in build_network(load_recipe("bbdm", "native64").network).parameters())
    assert 2 * parameters < 4_000_000


def test_tensorboard_gets_the_numbers_of_the_diary(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    diary = RunLog(tmp_path, 0)
    diary.write(step=50, loss=0.5, learning_rate={"model": 0.001})
    diary.write(step=100, loss=0.25, learning_rate={"model": 0.0005})
    RunLog(tmp_path, 50).write(step=100, loss=0.125, learning_rate={"model": 0.0005})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["learning_rate/model", "loss"]
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(50, 0.5), (100, 0.125)]
