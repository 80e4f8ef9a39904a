"""A training run, from a cohort to a weight file with its card."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.cohort.joined import JoinedCohort
from spectac_fast.cohort.map_cohort import MAP_KINDS, MapCohort
from spectac_fast.cohort.paired import PairedCohort, left_ventricle_gain
from spectac_fast.cohort.views import ViewCohort
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.facts import FACTS_EMBED
from spectac_fast.models.names import MAPS, VIEWS
from spectac_fast.outputs import Kind, Permit, check_folder
from spectac_fast.train.export import half_precision, loss_summary, surroundings, trained_on, write_json
from spectac_fast.train.learner import Learner, Setting
from spectac_fast.train.learners import make_learner
from spectac_fast.train.loop.budget import Budget, budget_of
from spectac_fast.train.loop.compiled import compile_networks
from spectac_fast.train.loop.distributed import rank, start
from spectac_fast.train.loop.optimise import optimise
from spectac_fast.train.loop.schedule import make_schedule
from spectac_fast.train.loop.state import TrainingState, averaged, has_state
from spectac_fast.train.maps.slices import MapSlices
from spectac_fast.train.maps.validation import MapValidation
from spectac_fast.train.recipe import Recipe
from spectac_fast.train.slices import SlicePairs, cases_of
from spectac_fast.train.validation import Validation
from spectac_fast.train.views.cunet import CountLearner, CountValidation
from spectac_fast.train.views.dudoss import SparseValidation, ViewLearner
from spectac_fast.train.views.stacks import ViewStacks

_log = logging.getLogger(__name__)

AnyCohort = PairedCohort | MapCohort | ViewCohort
Data = SlicePairs | MapSlices | ViewStacks
Watched = Validation | MapValidation | CountValidation | SparseValidation
# A sampler takes a minute for 24 patients, and that time is the budget's: while training goes on, few are looked at.
_GLANCE = 4


@dataclass(frozen=True)
class Options:
    """How a run is started. budget: None for the recipe's. initial: weight file to start from, None for fresh weights.

    seed: of weights, data order and noise. resume: go on with the run in the folder. first_stage: weight file of the
    VQGAN between whose latents a latent model works, None for the others. compiled: make machine code of the networks
    before the first step, which takes minutes and a C++ compiler, and refuse it where its gradients are others.
    """

    budget: Budget | None = None
    seed: int = 0
    resume: bool = False
    initial: Path | None = None
    device: str = "cpu"
    first_stage: Path | None = None
    compiled: bool = False


def train(
    cohort: AnyCohort, validation: AnyCohort | None, run: Path, recipe: Recipe, options: Options = Options()
) -> Path:
    """Train a recipe's model and write RUN/<model><size>.safetensors (averaged weights, float16) and RUN/card.json,
    whose "precision" counts the steps made in each.

    cohort: trained on its cases of the training split (`cases_of`); validation: looked at with its validation cases
    (the first few while training goes on, all for the card), None to skip.
    Returns the path of the weight file. Raises UsageError if the folder already holds a run and `resume` is not set,
    and for a cohort of another kind than the model learns from.
    """
    check_folder(run)
    run.mkdir(parents=True, exist_ok=True)
    if has_state(run) and not options.resume:
        raise UsageError(f"{run} already holds a training run; add --resume to go on with it, or choose another folder")
    path = run / f"{recipe.model}{recipe.data['size'][0]}.safetensors"
    permit = Permit(tuple(filter(None, [options.initial, options.first_stage])))
    for target, kind in {path: Kind.WEIGHTS, run / "card.json": Kind.JSON, run / "log.jsonl": Kind.LOG}.items():
        permit.check(target, kind)
    device = start(torch.device(options.device))
    cases = cases_of(cohort, "train")
    pairs = _pairs(cohort, cases, recipe)
    budget = options.budget or budget_of(recipe.budget, len(pairs))
    carried_out = recipe.on(device)
    learner = make_learner(Setting(carried_out, pairs, options.seed, device, options.first_stage))
    if options.initial is not None:
        start_from(learner, options.initial, recipe.facts)
    schedule = make_schedule(recipe.schedule, learner.optimizers.values())
    state = TrainingState(learner, averaged(learner.shipped, recipe.average["decay"]), schedule)
    data = trained_on([cohort.cases[i] for i in cases])
    identity = {
        "recipe": recipe.as_dict(),
        "seed": options.seed,
        **{f"budget of {unit}": amount for unit, amount in asdict(budget).items()},
        **{key.replace("_", " "): value for key, value in data.items()},
        "initial weights": _digest(options.initial),
        "first stage": _digest(options.first_stage),
    }
    if options.resume:
        state.load(run, identity)
    if options.compiled:
        # The average, which is looked at in batches of other sizes, is not compiled.
        compile_networks(learner, state.step)
    if rank() == 0:
        _say_precision(recipe, carried_out.precision, state.steps_in)
    glance = _validation(validation, pairs, learner, recipe, device, _GLANCE) if rank() == 0 else None

    def validate() -> dict[str, float]:
        assert glance is not None
        return glance.scores(learner.estimate(state.weights.eval()))

    log = optimise(state, carried_out, budget, run, identity, validate if glance else None)
    card = {
        "data": data | {"cases": len(cases), "slices": len(pairs)},
        "recipe": recipe.as_dict(),
        "parameters": sum(p.numel() for p in learner.shipped.parameters()),
        "seed": options.seed,
        "initial_weights_sha256": identity["initial weights"],
        "first_stage_sha256": identity["first stage"],
        "steps": state.step,
        "slices": state.slices,
        "precision": state.steps_in,
        "compiled": options.compiled,
        "minutes": round(state.seconds / 60, 2),
        "loss_curve": loss_summary(log),
        "device": device.type,
        **surroundings(),
    }
    if rank() == 0:
        watched = _validation(validation, pairs, learner, recipe, device)
        _finish(path, state, card, watched, cohort, pairs)
    return path


def start_from(learner: Learner, path: Path, facts: Sequence[str] = ()) -> None:
    """Take the weights of a file, by `fitted`; what a network makes of `facts` begins as nothing where the file knows
    none of them.
    """
    values = fitted(path, learner.tensors(learner.shipped), facts)
    learner.shipped.load_state_dict(values, strict=False)


def fitted(path: Path, own: Mapping[str, Tensor], facts: Sequence[str] = ()) -> dict[str, Tensor]:
    """The weights of a file in the shapes of a network's `own` tensors, float32; the file may be of a network that saw
    fewer neighbouring slices, or was told less: those it knows come first, and the others count for nothing.

    Raises InputError if the file holds other tensors, or one of another shape, or knows facts in another order.
    """
    tensors, header = load_weights(path)
    known = header["config"].get("network", {}).get("facts", [])
    if known and known != list(facts[: len(known)]):
        raise InputError(f"{path}: expected a network told {', '.join(facts)}, found {', '.join(known)}")
    tensors = {name: value for name, value in own.items() if FACTS_EMBED in name} | tensors
    if tensors.keys() != own.keys():
        different = sorted(tensors.keys() ^ own.keys())
        raise InputError(f"{path} does not fit the network: {different[0]} is in one of them only")
    return {name: _widened(value.float(), own[name], f"{path}, {name}") for name, value in tensors.items()}


def _widened(value: Tensor, own: Tensor, name: str) -> Tensor:
    of_inputs = own.dim() == 4 or name.endswith(f"{FACTS_EMBED}0.weight")
    missing = own.shape[1] - value.shape[1] if own.dim() == value.dim() and of_inputs else 0
    if missing > 0 and own.shape[1] > 1:
        # Neighbours and facts that the old weights did not know count for nothing at first; they are the last.
        value = nn.functional.pad(value, (*(0, 0) * (own.dim() - 2), 0, missing))
    if value.shape != own.shape:
        raise InputError(f"{name} has shape {list(value.shape)}, expected {list(own.shape)}")
    return value


def _say_precision(recipe: Recipe, precision: str, before: Mapping[str, int]) -> None:
    """One sentence where steps are not made in what the recipe asks for, or not in what the run was begun with."""
    said = []
    if precision != recipe.precision:
        said.append(f"the recipe {recipe.name} asks for {recipe.precision}, which this device can only emulate")
    other = [f"{steps} steps in {name}" for name, steps in before.items() if name != precision]
    if other:
        said.append(f"the run was begun with {' and '.join(other)}")
    if said:
        _log.warning("%s: training in %s.", ", and ".join(said), precision)


def _digest(path: Path | None) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def _pairs(cohort: AnyCohort, cases: list[int], recipe: Recipe) -> Data:
    """What the recipe's model learns from."""
    if recipe.model in VIEWS:
        return ViewStacks(_views(cohort, recipe), cases)
    if recipe.model in MAPS:
        return MapSlices(_maps(cohort), cases)
    paired = _images(cohort, recipe)
    gain = left_ventricle_gain(paired, cases)
    return SlicePairs(paired, cases, gain, recipe.targets, recipe.facts)


def _maps(cohort: AnyCohort) -> MapCohort | JoinedCohort:
    """What holds maps; UsageError for what holds pairs of images."""
    if isinstance(cohort, MapCohort | JoinedCohort) and cohort.kinds == MAP_KINDS:
        return cohort
    raise UsageError(
        "a network of attenuation maps learns from cohorts of maps (`spectac phantom --format maps`), found "
        f"{', '.join(cohort.kinds)}."
    )


def _views(cohort: AnyCohort, recipe: Recipe) -> ViewCohort:
    """What holds projections; UsageError for what does not."""
    if isinstance(cohort, ViewCohort):
        return cohort
    raise UsageError(f"{recipe.model} learns from projections, found {', '.join(cohort.kinds)}.")


def _images(cohort: AnyCohort, recipe: Recipe) -> PairedCohort:
    """What holds pairs of images; UsageError for what holds maps or projections."""
    if isinstance(cohort, MapCohort | ViewCohort) or cohort.kinds == MAP_KINDS:
        found = "projections" if isinstance(cohort, ViewCohort) else "a cohort of attenuation maps"
        raise UsageError(f"{recipe.model} learns from pairs of NC and AC, found {found}.")
    return cohort


def _validation(
    validation: AnyCohort | None,
    pairs: Data,
    learner: Learner,
    recipe: Recipe,
    device: torch.device,
    most: int | None = None,
) -> Watched | None:
    if validation is None:
        return None
    cases = cases_of(validation, "validation")[:most]
    if isinstance(pairs, ViewStacks):
        assert isinstance(learner, CountLearner | ViewLearner)
        return learner.watching(ViewStacks(_views(validation, recipe), cases))
    if isinstance(pairs, MapSlices):
        return MapValidation(_maps(validation), cases, learner.context_slices, device)
    images, line = _images(validation, recipe), pairs.fit_line()
    return Validation(images, cases, pairs.gain, line, learner.context_slices, device, recipe.facts)


def _finish(
    path: Path,
    state: TrainingState,
    card: dict[str, Any],
    watched: Watched | None,
    cohort: AnyCohort,
    pairs: Data,
) -> None:
    """Write weights and card; with validation, the rows of its patients."""
    learner, network = state.learner, state.weights.eval()
    shipped = half_precision(learner.tensors(network))
    if watched:
        rows: dict[str, Any] = {**watched.rows, "trained": watched.scores(learner.estimate(network))}
        network.load_state_dict({name: value.float() for name, value in shipped.items()}, strict=False)
        card["validation"] = rows | {"as_shipped": watched.scores(learner.estimate(network))}
    recipe = card["recipe"]
    config = learner.config() | {
        "gain": pairs.gain,
        "pixel_mm": float(cohort.spacing_mm[1]),
        "slice_mm": float(cohort.spacing_mm[0]),
        "size": recipe["data"]["size"],
        "fit": recipe["data"]["fit"],
    }
    write_json(path.with_name("card.json"), card)
    save_weights(path, shipped, recipe["model"], config, card)
