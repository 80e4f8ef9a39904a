"""The training loop: optimise until the budget is spent, keep a diary, save a state that survives being killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from spectac_fast.errors import SpectacError
from spectac_fast.progress import Progress

from .bridge_loss import BridgeLoss
from .budget import Budget
from .log import RunLog
from .recipe import Recipe
from .state import TrainingState

_LOG_EVERY = 50
_VALIDATE_EVERY = 500
_SAVE_EVERY_S = 60.0


def optimise(
    state: TrainingState,
    loss: BridgeLoss,
    recipe: Recipe,
    budget: Budget,
    run: Path,
    identity: dict[str, Any],
    validate: Callable[[], dict[str, float]] | None,
) -> list[dict[str, Any]]:
    """Train until the budget is spent; returns the log. Writes `run`/log.jsonl and, every minute, `run`/state.pt."""
    log = RunLog(run, state.step)
    parameters = list(state.model.parameters())
    begun = time.monotonic() - state.seconds
    saved = time.monotonic()
    window: list[tuple[float, float]] = []
    state.model.train()
    with Progress(budget.total, "training", budget.unit) as progress:
        progress.step(round(budget.spent(state.step, state.seconds)))
        while budget.spent(state.step, state.seconds) < budget.total:
            rate = budget.learning_rate(recipe.learning_rate, recipe.warmup_steps, state.step, state.seconds)
            for group in state.optimizer.param_groups:
                group["lr"] = rate
            value, at_start = loss(state.step)
            state.optimizer.zero_grad(set_to_none=True)
            value.backward()
            norm = nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
            state.optimizer.step()
            state.ema.update_parameters(state.model)
            state.step += 1
            state.seconds = time.monotonic() - begun
            window.append((float(value.detach()), float(at_start)))
            if not np.isfinite(window[-1][0]):
                raise SpectacError(f"the loss became {window[-1][0]} at step {state.step}: lower the learning rate")
            done = round(min(budget.spent(state.step, state.seconds), budget.total))
            progress.step(done - progress.done, note=f"step {state.step}, loss {np.mean(window[-50:], axis=0)[0]:.4f}")
            if state.step % _LOG_EVERY == 0:
                mean, mean_start = np.mean(window, axis=0)
                window.clear()
                log.write(
                    step=state.step,
                    minutes=round(state.seconds / 60, 3),
                    loss=round(float(mean), 6),
                    loss_start=round(float(mean_start), 6),
                    gradient_norm=round(float(norm), 4),
                    learning_rate=rate,
                )
            if validate is not None and state.step % _VALIDATE_EVERY == 0:
                log.write(step=state.step, minutes=round(state.seconds / 60, 3), validation=validate())
            if time.monotonic() - saved > _SAVE_EVERY_S:
                state.save(run, identity)
                saved = time.monotonic()
    state.save(run, identity)
    return log.entries()
