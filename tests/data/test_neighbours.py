"""Neighbouring slices: at which distance they are taken, how a model gets them, and what it does without."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from fake_study import Times, heart, write_nc
from tiny_training import SLICES, TinyCohort, tiny_recipe

from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.correct.study import correct_study
from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.study import read_study
from spectac_fast.errors import InputError
from spectac_fast.models.registry import load
from spectac_fast.train.learner import Setting, generator_of
from spectac_fast.train.learners import make_learner
from spectac_fast.train.learners.bridge import one_evaluation
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train
from spectac_fast.train.slices import SlicePairs

OFFSETS = (-13.6, -6.8, 6.8, 13.6)


def looking(count=2, **changes):
    recipe = tiny_recipe(**changes)
    return dataclasses.replace(recipe, network={**recipe.network, "context_slices": count})


@pytest.fixture(scope="module")
def cohort():
    return TinyCohort([3, 4, 7])


@pytest.fixture(scope="module")
def weights(cohort, tmp_path_factory):
    return train(cohort, None, tmp_path_factory.mktemp("run"), looking(), Options(Budget(steps=2)))


@pytest.mark.parametrize("slice_mm", [6.8, -6.8, 6.8001])
def test_on_the_slices_nothing_is_interpolated(fresh, slice_mm):
    stack = fresh.random((5, 3, 4), dtype=np.float32)
    found = neighbours(stack, slice_mm, OFFSETS)
    for i in range(5):
        for k, step in enumerate((-2, -1, 1, 2)):
            np.testing.assert_array_equal(found[i, k], stack[min(max(i + step, 0), 4)])


def test_another_spacing_is_interpolated(fresh):
    ramp = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    found = neighbours(ramp, 4.0, OFFSETS)
    expected = (np.arange(12)[:, None] + np.array(OFFSETS) / 4.0).clip(0, 11)
    np.testing.assert_allclose(found[..., 0, 0], expected, atol=1e-5)
    assert neighbours(ramp, 4.0, ()).shape == (12, 0, 2, 2)
    assert neighbours(ramp[:1], 4.0, OFFSETS).tolist() == np.zeros((1, 4, 2, 2)).tolist()


def test_training_sees_what_the_pipeline_gives(cohort):
    data = SlicePairs(cohort, [0, 1], 2.0)
    every = np.arange(len(data))
    nc, _ = data.select(every)
    found = data.neighbours(every, 2)
    for stack in range(len(data) // SLICES):
        part = slice(stack * SLICES, (stack + 1) * SLICES)
        np.testing.assert_array_equal(found[part], neighbours(nc[part, 0].numpy(), 6.8, OFFSETS))


def test_a_batch_reverses_half_and_hides_some(cohort):
    data = SlicePairs(cohort, [0], 2.0)
    kinds = {"as counted": 0, "reversed": 0, "alone": 0}
    every = np.arange(len(data))
    nc, _ = data.select(every)
    beside = data.neighbours(every, 1)
    for seed in range(8):
        batch = data.batch(np.random.default_rng(seed), 32, 0, 0.0, context=1)
        for image, found in zip(batch.nc, batch.neighbours):
            i = next(k for k in every if torch.equal(nc[k], image))
            if torch.equal(found, image.expand(2, -1, -1)):
                kinds["alone"] += 1
            elif torch.equal(found, beside[i]):
                kinds["as counted"] += 1
            else:
                assert torch.equal(found, beside[i].flip(0))
                kinds["reversed"] += 1
    assert 3 < kinds["alone"] < 70
    assert min(kinds["as counted"], kinds["reversed"]) > 70


def test_a_slice_alone_is_its_own_neighbour(weights):
    model, nc = load(weights, device="cpu"), torch.randn(3, 1, 16, 16)
    assert model.context_mm == OFFSETS
    alone = nc.expand(-1, 4, -1, -1).contiguous()
    assert torch.equal(model.translate(nc), model.translate(nc, neighbours=alone))
    torch.nn.init.normal_(model.model.denoise_fn.head.weight)
    torch.nn.init.normal_(model.model.denoise_fn.body.out[-1].weight)
    assert not torch.equal(model.translate(nc), model.translate(nc, neighbours=torch.randn(3, 4, 16, 16)))
    with pytest.raises(ValueError, match=r"neighbours must be float32 \[3, 4, 16, 16\], found torch.float32 \[3, 2"):
        model.translate(nc, neighbours=alone[:, :2])


def test_the_pipeline_gives_neighbours_in_millimetres(tmp_path, fresh):
    counts = heart(fresh)
    write_nc(tmp_path / "SA.dcm", counts)
    seen = []

    class Watch(Times):
        context_mm = OFFSETS

        def translate(self, nc, seeds=None, neighbours=None, **options):
            seen.append((nc, neighbours))
            return nc

    correct_study(read_study(tmp_path), Watch(), batch_size=4)
    nc, beside = (torch.cat(parts) for parts in zip(*seen))
    np.testing.assert_array_equal(beside, neighbours(nc[:, 0].numpy(), 6.8, OFFSETS))


def test_weights_without_neighbours_can_learn_to_use_them(cohort, tmp_path):
    first = train(cohort, None, tmp_path / "first", tiny_recipe(), Options(Budget(steps=3)))
    still = Options(Budget(steps=1), initial=first)
    second = train(cohort, None, tmp_path / "second", looking(learning_rate=0.0), still)
    nc = torch.randn(2, 1, 16, 16)
    one, other = load(first, device="cpu"), load(second, device="cpu")
    found = other.translate(nc, neighbours=torch.randn(2, 4, 16, 16))
    torch.testing.assert_close(one.translate(nc), found, rtol=0, atol=1e-4)


def test_block_means_count_in_the_heart(cohort):
    recipe = looking(start_share=1.0, heart_weight=1.0, shift_px=0, scale_jitter=0.0, block_weight=3.0)
    data = SlicePairs(cohort, [0], 2.0)
    learner = make_learner(Setting(recipe, data, 0, torch.device("cpu")))
    model = learner.shipped
    torch.nn.init.normal_(model.denoise_fn.head.weight, std=0.1)
    batch = learner.supply.batch(rng := generator_of(0, 4))
    loss = learner.losses(batch, rng, 4)["loss"]
    with torch.no_grad():
        error = one_evaluation(model, model.bridge)(torch.cat([batch.nc, batch.neighbours], 1)) - batch.ac
    blocks = error.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5)).square()
    share = batch.heart.unfold(2, 4, 4).unfold(3, 4, 4).mean((4, 5))
    expected = (error.square().mean() + 3.0 * (blocks * share).mean()) / data.residual_power()
    assert float(loss.detach()) == pytest.approx(float(expected), rel=1e-4)


def test_cohorts_joined():
    joined = JoinedCohort([TinyCohort([3, 4]), TinyCohort([7])])
    assert [case["seed"] for case in joined.cases] == [3, 4, 7]
    whole = TinyCohort([3, 4, 7])
    for i in range(3):
        assert joined.scale(i, "rest") == whole.scale(i, "rest")
        np.testing.assert_array_equal(joined.pair(i, "rest", "VLA"), whole.pair(i, "rest", "VLA"))
    with pytest.raises(InputError, match="found 1 seeds twice, such as 4"):
        JoinedCohort([TinyCohort([3, 4]), TinyCohort([4])])
    other = TinyCohort([9])
    other.spacing_mm = (4.0, 6.8, 6.8)
    with pytest.raises(InputError, match=r"expected \(6.8, 6.8, 6.8\) mm"):
        JoinedCohort([TinyCohort([3]), other])
