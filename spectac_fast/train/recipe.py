"""What is trained and how, as a small JSON file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectac_fast.data.facts import FACTS
from spectac_fast.device import has_bf16_units
from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.names import APART
from spectac_fast.terms import IDEAL

if TYPE_CHECKING:
    import torch

_FOLDER = Path(__file__).parent / "recipes"
# Models whose networks predict codes of a first stage, or are one.
_OF_CODES = ("cpdm", "lbbdm", "ldm", "vqgan")
# Settings of data that are of pairs of images alone.
_OF_IMAGES = ("targets", "fields", "uptake")
# What a recipe need not hold to be changed in it: networks and data have defaults for these.
_MAY_BE_NEW = ("context_slices", "attenuation_paths", "facts", *_OF_IMAGES)


@dataclass(frozen=True)
class Recipe:
    """A training recipe.

    model: name in models/names.py. network, process: constructor arguments of the network(s) and of the diffusion
    process; in that of a GAN's generator, or in the network itself, "context_slices" is how many neighbouring slices on
    either side are seen too, and "attenuation_paths" how many path lengths an attenuation factor is made of (0: none);
    "facts" of a folded_unet are the names of what it is told of a study besides (data/facts.py).
    loss: the learner's own settings. defaults: how the finished model samples unless told otherwise.
    data: {"size", "fit": how slices get to the network (models/engine/fit.py), "batch": slices per step and process,
    "accumulate": batches per step, "shift_px": largest random shift, "scale_jitter": largest relative change of the
    count scale, "clip": bounds of the targets or null, "paired": whether NC and AC show the same slice; optional, for
    models between latents, "latent_slices": how many slices are encoded, all by default; optional, "targets": how often
    "AC" and "IDEAL" stand as a slice's target, {"AC": 1} by default, and AC alone of patients without IDEAL; and, see
    augment.py, "fields": fields that end within the patient, "uptake": places of other uptake}.
    optimiser: {"learning_rate": peak, "betas", "weight_decay"}. schedule: see schedule.py. gradient_clip: bound of the
    gradient's norm or null. average: {"decay", "start_step", "every"} of the running average of weights that ships.
    precision: "bf16" runs networks under autocast where the device has units for bfloat16 (`has_bf16_units`) and is
    "fp32" elsewhere (`on`); "fp32" is that everywhere. budget: {"steps" | "slices" | "epochs" | "minutes"} unless the
    command says otherwise; "slices": seen by all processes together, "epochs": passes over the slices there are.
    """

    name: str
    model: str
    network: dict[str, Any]
    process: dict[str, Any]
    loss: dict[str, Any]
    defaults: dict[str, Any]
    data: dict[str, Any]
    optimiser: dict[str, Any]
    schedule: dict[str, Any]
    gradient_clip: float | None
    average: dict[str, Any]
    precision: str
    budget: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as in the file."""
        return asdict(self)

    def on(self, device: torch.device) -> Recipe:
        """The recipe as that device carries it out: in "fp32" where bfloat16 would be emulated."""
        emulated = self.precision == "bf16" and not has_bf16_units(device)
        return replace(self, precision="fp32") if emulated else self

    @property
    def targets(self) -> dict[str, float]:
        """How often each kind of image stands as the target of a slice."""
        return self.data.get("targets", {"AC": 1.0})

    @property
    def facts(self) -> tuple[str, ...]:
        """Names of what the network is told of a study besides its slices (`data.facts.FACTS`)."""
        return tuple(self.network.get("facts", ()))

    @property
    def slices_per_step(self) -> int:
        """How many slices a step of one process sees."""
        return self.data["batch"] * self.data["accumulate"]


def recipe_names(model: str) -> list[str]:
    """The shipped recipes of a model."""
    return sorted(path.stem for path in (_FOLDER / model).glob("*.json"))


def trainable() -> list[str]:
    """The models that there are recipes for."""
    return sorted(folder.name for folder in _FOLDER.iterdir() if any(folder.glob("*.json")))


def load_recipe(model: str, name_or_path: str, changes: Mapping[str, Any] | None = None) -> Recipe:
    """A shipped recipe of a model by name, or any recipe for it by the path of its JSON file.

    changes: other values of it; dots lead inside ("data.batch"). Raises UsageError for an unknown recipe and for a
    change of what a recipe does not have, InputError for a file that is no recipe for this model.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = _FOLDER / model / f"{name_or_path}.json"
        if not path.is_file():
            known = ", ".join(recipe_names(model))
            raise UsageError(
                f"there is no recipe {name_or_path!r} for {model}; known recipes are {known}, or give a .json file"
            )
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"the recipe {path} cannot be read as JSON: {error}") from error
    expected = {field.name for field in fields(Recipe)}
    if not isinstance(data, dict) or set(data) != expected:
        wrong = sorted(expected ^ set(data)) if isinstance(data, dict) else ["no JSON object"]
        raise InputError(f"the recipe {path} must hold exactly the known keys; missing or unknown: {', '.join(wrong)}")
    if data["model"] != model:
        raise InputError(f"the recipe {path} is for {data['model']!r}, expected one for {model!r}")
    for name, value in (changes or {}).items():
        _change(data, name, value)
    _check_options(data)
    _check_targets(data)
    _check_facts(data)
    return Recipe(**data)


def _change(data: dict[str, Any], name: str, value: Any) -> None:
    """Put `value` in the place that `name` leads to; UsageError where there is none, or one of another kind."""
    *way, last = name.split(".")
    part: Any = data
    for k, step in enumerate(way):
        part = part.get(step) if isinstance(part, dict) else None
        if not isinstance(part, dict):
            raise UsageError(f"--set {name}: expected {'.'.join(way[: k + 1])} to be a part of the recipe, found none")
    if name in ("model", "name"):
        raise UsageError(f"--set {name}: expected how a model is trained, found the recipe's {name}")
    if last not in part and last not in _MAY_BE_NEW:
        raise UsageError(f"--set {name}: expected one of {', '.join(sorted(part))}, found {last}")
    old = part.get(last)
    if old is not None and _kind(old) != _kind(value):
        raise UsageError(f"--set {name}: expected {_kind(old)}, such as {json.dumps(old)}, found {json.dumps(value)}")
    part[last] = value


def _kind(value: Any) -> str:
    """What JSON calls it."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    names: dict[type, str] = {str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "nothing")


def _check_targets(data: dict[str, Any]) -> None:
    """UsageError for targets that no cohort has, or that are never drawn."""
    targets = data["data"].get("targets", {"AC": 1.0})
    if not targets or not set(targets) <= {"AC", IDEAL} or not all(share > 0 for share in targets.values()):
        raise UsageError(
            f"the recipe {data['name']}: expected targets AC and {IDEAL} with shares above 0, found {targets}"
        )


def _check_facts(data: dict[str, Any]) -> None:
    """UsageError for facts that nobody knows, or of a model that is told none."""
    facts = data["network"].get("facts", [])
    if facts and (data["model"] != "bbdm" or data["network"].get("kind") != "folded_unet"):
        raise UsageError(f"the recipe {data['name']}: facts are for a folded_unet of bbdm, found {data['model']}")
    if not isinstance(facts, list) or not set(facts) <= FACTS.keys() or len(set(facts)) < len(facts):
        known = ", ".join(FACTS)
        raise UsageError(f"the recipe {data['name']}: expected facts out of {known}, each once, found {facts}")


def _check_options(data: dict[str, Any]) -> None:
    """UsageError for neighbours or a factor where the model can have none, or where no network or data would read of
    them.
    """
    network, model, recipe = data["network"], data["model"], f"the recipe {data['name']}"
    unread = [name for name in _OF_IMAGES if model in APART and name in data["data"]]
    if unread:
        raise UsageError(f"{recipe}: {unread[0]} is of pairs of images, and {model} learns from others")
    places = {"network": network, **{f"network.{k}": part for k, part in network.items() if isinstance(part, dict)}}
    home = "network.generator" if "generator" in network else "network"
    for option in ("context_slices", "attenuation_paths"):
        found = [place for place, part in places.items() if part.get(option)]
        if found and option == "attenuation_paths" and model in _OF_CODES:
            raise UsageError(
                f"{recipe}: attenuation_paths makes a factor that raises counts of NC, but {model} predicts codes of a "
                "first stage, which are no counts"
            )
        if found and model == "vqgan":
            raise UsageError(f"{recipe}: a vqgan rebuilds the slice it sees and has no use for context_slices")
        if found and found != [home]:
            raise UsageError(f"{recipe}: {option} belongs into {home}, found in {' and '.join(found)}")
