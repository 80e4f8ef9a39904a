"""The error of shape: what the gain of a study, which no NC image tells, leaves of a bridge's error."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny_training import TinyCohort, tiny_recipe

from spectac_fast.train.learner import Setting, generator_of
from spectac_fast.train.learners import make_learner
from spectac_fast.train.learners.bridge import one_evaluation, shape_error
from spectac_fast.train.slices import SlicePairs


def test_the_error_of_shape_does_not_know_the_gain(rng):
    found, wanted = torch.from_numpy(rng.random((2, 3, 1, 8, 8))).float()
    heart = torch.zeros(3, 1, 8, 8)
    heart[:2, :, 2:6, 2:6] = 1.0
    found.requires_grad_(True)
    error = shape_error(found, wanted, heart)
    for k in range(2):
        one, other = (1 + image.detach()[k][heart[k] > 0].numpy() for image in (found, wanted))
        expected = np.sum((one * (one @ other) / (one @ one) - other) ** 2) / 64
        assert float(error[k].detach()) == pytest.approx(expected, rel=1e-4)
        assert expected > 0
    # A slice without a heart has none, nor a gradient that is not finite.
    assert float(error[2].detach()) == 0.0
    error.sum().backward()
    assert bool(found.grad.isfinite().all())
    # Its gradient is no gradient of the scale.
    assert float((found.grad * (found + 1).detach()).sum().abs()) < 1e-5
    again = shape_error(3 * (found + 1) - 1, wanted, heart)
    torch.testing.assert_close(again, error, rtol=1e-4, atol=1e-6)


def test_a_recipe_may_weigh_the_shape():
    recipe = tiny_recipe(start_share=1.0, shift_px=0, scale_jitter=0.0)
    data = SlicePairs(TinyCohort([3]), [0], 2.0)
    batch, losses = data.batch(generator_of(0, 4), recipe.data["batch"], 0, 0.0), []
    for weight in (0.0, 2.0):
        weighed = dataclasses.replace(recipe, loss=recipe.loss | {"shape_weight": weight})
        learner = make_learner(Setting(weighed, data, 0, torch.device("cpu")))
        losses.append(float(learner.losses(batch, generator_of(0, 4), 4)["loss"].detach()))
    with torch.no_grad():
        found = one_evaluation(learner.shipped, learner.shipped.bridge)(batch.nc)
    shape = float(shape_error(found, batch.ac, batch.heart).mean()) / data.residual_power()
    assert losses[1] - losses[0] == pytest.approx(2 * shape, rel=1e-3)
    assert shape > 0
