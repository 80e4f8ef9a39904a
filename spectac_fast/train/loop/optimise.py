"""The training loop: optimise until the budget is spent, keep a diary, save a state that survives being killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectac_fast.errors import SpectacError
from spectac_fast.progress import Progress
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.loop.distributed import agree, processes, rank
from spectac_fast.train.loop.log import RunLog
from spectac_fast.train.loop.state import TrainingState
from spectac_fast.train.recipe import Recipe

_LOG_EVERY = 50
_VALIDATE_EVERY = 500
# Shares of the budget at which validation patients are looked at too: curves are read on a logarithmic axis.
_LOOKS = (0.01, 0.03, 0.1, 0.3, 1.0)
_SAVE_EVERY_S = 60.0


def optimise(
    state: TrainingState,
    recipe: Recipe,
    budget: Budget,
    run: Path,
    identity: dict[str, Any],
    validate: Callable[[], dict[str, float]] | None,
) -> list[dict[str, Any]]:
    """Train until the budget is spent; returns the log. Writes `run`/log.jsonl and, every minute, `run`/state.pt.

    recipe: as the device carries it out (`Recipe.on`).
    """
    diary = RunLog(run, state.step) if rank() == 0 else None
    begun = time.monotonic() - state.seconds
    saved = time.monotonic()
    window: list[dict[str, float]] = []
    for network in state.learner.networks.values():
        network.train()
    with Progress(budget.total, "training", budget.unit) as progress:
        progress.step(round(min(state.spent(budget), budget.total)))
        while (spent := agree(state.spent(budget))) < budget.total:
            state.schedule.before(state.step, spent / budget.total)
            window.append(_step(state, recipe))
            state.seconds = time.monotonic() - begun
            if diary is None:
                continue
            done = round(min(state.spent(budget), budget.total))
            loss = np.mean([entry["loss"] for entry in window[-_LOG_EVERY:]])
            progress.step(done - progress.done, note=f"step {state.step}, loss {loss:.4f}")
            so_far = {"step": state.step, "slices": state.slices, "minutes": round(state.seconds / 60, 3)}
            if state.step % _LOG_EVERY == 0:
                means = {key: round(float(np.mean([entry[key] for entry in window])), 6) for key in window[0]}
                window.clear()
                rates = {n: o.param_groups[0]["lr"] for n, o in state.learner.optimizers.items()}
                diary.write(**so_far, **means, learning_rate=rates)
            passed = any(spent < look * budget.total <= state.spent(budget) for look in _LOOKS)
            if validate is not None and (passed or state.step % _VALIDATE_EVERY == 0):
                diary.write(**so_far, threads=torch.get_num_threads(), validation=validate())
            if time.monotonic() - saved > _SAVE_EVERY_S:
                state.save(run, identity)
                saved = time.monotonic()
    if diary is None:
        return []
    state.save(run, identity)
    return diary.entries()


def _step(state: TrainingState, recipe: Recipe) -> dict[str, float]:
    """One step of the learner, the schedule and the average."""
    values = state.learner.step(state.step)
    wrong = [name for name, value in values.items() if not np.isfinite(value)]
    if wrong:
        raise SpectacError(f"{wrong[0]} became {values[wrong[0]]} at step {state.step}: lower the learning rate")
    state.schedule.after(values["loss"])
    state.step += 1
    state.slices += recipe.slices_per_step * processes()
    state.steps_in[recipe.precision] = state.steps_in.get(recipe.precision, 0) + 1
    average = recipe.average
    if state.step > average["start_step"] and state.step % average["every"] == 0:
        state.average.update_parameters(state.learner.shipped)
    return values
