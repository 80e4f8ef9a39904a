"""Training a Brownian bridge on NC/AC pairs, from a cohort to a weight file with its card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill, load_weights, save_weights
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import UsageError
from spectac_fast.models.bbdm import BBDM
from spectac_fast.models.networks import build_network

from .bridge_loss import BridgeLoss
from .budget import Budget
from .export import half_precision, loss_summary, seed_ranges, surroundings, write_json
from .loop import optimise
from .recipe import Recipe
from .slices import PairedCohort, SlicePairs, cases_of, left_ventricle_gain
from .state import TrainingState, averaged, has_state
from .validation import Validation


def build_model(recipe: Recipe, seed: int) -> BBDM:
    """A new model of the recipe with weights that are a function of the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BBDM(BrownianBridge(**recipe.bridge), build_network(recipe.network))


def _start_from(model: BBDM, path: Path) -> None:
    """Take the weights of a file, which may be of a network that saw no neighbouring slices."""
    tensors, _ = load_weights(path)
    values = {name: value.float() for name, value in tensors.items()}
    own = model.state_dict()
    stem = next(name for name in own if name.endswith("input_blocks.0.0.weight"))
    if stem in values and values[stem].shape[1] < own[stem].shape[1]:
        # Neighbours that the old weights did not know count for nothing at first.
        added = own[stem].shape[1] - values[stem].shape[1]
        values[stem] = torch.nn.functional.pad(values[stem], (0, 0, 0, 0, 0, added))
    fill(model, {**model.bridge.buffers(), **values}, str(path))


def one_evaluation(model: nn.Module, bridge: BrownianBridge) -> Callable[[Tensor], Tensor]:
    """The regression a bridge holds: its estimate of x0 from the start node, x = y, for slices and their neighbours."""

    def translate(seen: Tensor) -> Tensor:
        y = seen[:, :1]
        t = torch.full((len(y),), bridge.num_timesteps - 1)
        return bridge.x0_from(model(y, t, seen).float(), y, y, t)

    return translate


def validation_metrics(watched: Validation, net: BBDM, shipped: dict[str, Tensor]) -> dict[str, Any]:
    """Rows of the validation patients: identity, linear, one evaluation in float32 and with the weights as shipped."""
    translate = one_evaluation(net.eval(), net.bridge)
    rows: dict[str, Any] = {**watched.rows, "one_evaluation": watched.against_linear(translate)}
    net.load_state_dict({name: value.float() for name, value in shipped.items()}, strict=False)
    return {**rows, "one_evaluation_as_shipped": watched.against_linear(translate)}


def train_bbdm(
    cohort: PairedCohort,
    validation: PairedCohort | None,
    run: Path,
    recipe: Recipe,
    budget: Budget,
    seed: int = 0,
    resume: bool = False,
    initial: Path | None = None,
) -> Path:
    """Train a bridge and write RUN/bbdm64.safetensors (averaged weights, float16) and RUN/card.json.

    cohort: trained on its cases with training seeds; validation: looked at with its validation seeds, None to skip.
    initial: weight file to start from, None for fresh weights.
    Returns the path of the weight file. Raises UsageError if the folder already holds a run and `resume` is not set.
    """
    run.mkdir(parents=True, exist_ok=True)
    if has_state(run) and not resume:
        raise UsageError(f"{run} already holds a training run; add --resume to go on with it, or choose another folder")
    cases = cases_of(cohort, "train")
    gain = left_ventricle_gain(cohort, cases)
    data = SlicePairs(cohort, cases, gain)
    line = data.fit_line()
    model = build_model(recipe, seed)
    context = model.denoise_fn.context_slices
    watched = Validation(validation, cases_of(validation, "validation"), gain, line, context) if validation else None
    if initial is not None:
        _start_from(model, initial)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    state = TrainingState(model, averaged(model, recipe.ema_decay), optimizer)
    seeds = [cohort.cases[i]["seed"] for i in cases]
    identity = {
        "recipe": recipe.as_dict(),
        "seed": seed,
        "steps": budget.steps,
        "minutes": budget.minutes,
        "training seeds": seed_ranges(seeds),
        "initial weights": hashlib.sha256(initial.read_bytes()).hexdigest() if initial else None,
    }
    if resume:
        state.load(run, identity)

    def validate() -> dict[str, float]:
        return watched.against_linear(one_evaluation(state.ema.module.eval(), model.bridge))

    log = optimise(
        state, BridgeLoss(model, recipe, data, seed), recipe, budget, run, identity, validate if watched else None
    )

    shipped = half_precision(dict(state.ema.module.denoise_fn.state_dict(prefix="denoise_fn.")))
    card: dict[str, Any] = {
        "data": {"training_seeds": seed_ranges(seeds), "cases": len(cases), "slices": len(data)},
        "recipe": recipe.as_dict(),
        "seed": seed,
        "initial_weights_sha256": identity["initial weights"],
        "steps": state.step,
        "minutes": round(state.seconds / 60, 2),
        "loss_curve": loss_summary(log),
        **surroundings(),
    }
    if watched:
        card["validation"] = validation_metrics(watched, state.ema.module, shipped)
    config = {
        "network": recipe.network,
        "bridge": recipe.bridge,
        "defaults": recipe.defaults,
        "gain": gain,
        "pixel_mm": float(cohort.spacing_mm[1]),
        "slice_mm": float(cohort.spacing_mm[0]),
        "size": list(data.counts.shape[-2:]),
    }
    write_json(run / "card.json", card)
    save_weights(run / "bbdm64.safetensors", shipped, "bbdm", config, card)
    return run / "bbdm64.safetensors"
