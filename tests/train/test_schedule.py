"""Learning rates over a training, those of the papers."""

from __future__ import annotations

import pytest
import torch
from small_recipes import small

from spectac_fast.train.learner import adam
from spectac_fast.train.loop.schedule import make_schedule


def test_schedules():
    recipe = small("regression", learning_rate=2.0)
    weight = torch.nn.Parameter(torch.ones(1))

    def rates(settings, shares):
        optimizer = adam([weight], recipe)
        schedule = make_schedule(settings, [optimizer])
        found = []
        for step, share in enumerate(shares):
            schedule.before(step, share)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    assert rates({"kind": "cosine", "warmup_steps": 2}, [0, 0.5, 1.0]) == pytest.approx([1.0, 1.0, 0.0])
    assert rates({"kind": "linear", "flat": 0.75}, [0, 0.75, 0.875, 1.0]) == pytest.approx([2.0, 2.0, 1.0, 0.0])
    assert rates({"kind": "constant"}, [0, 1.0]) == [2.0, 2.0]
    with pytest.raises(ValueError, match="'steep'"):
        make_schedule({"kind": "steep"}, [])


def test_plateau_halves_and_resumes():
    recipe = small("regression", learning_rate=1.0)
    settings = {"kind": "plateau", "factor": 0.5, "patience": 2, "cooldown": 1, "min_lr": 0.1}

    def start():
        optimizer = adam([torch.nn.Parameter(torch.ones(1))], recipe)
        return optimizer, make_schedule(settings, [optimizer])

    optimizer, schedule = start()
    rates = []
    for _ in range(6):
        schedule.after(1.0)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]
    other, again = start()
    other.load_state_dict(optimizer.state_dict())
    again.load(schedule.state())
    for _ in range(4):
        schedule.after(1.0)
        again.after(1.0)
    assert other.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == 0.25
