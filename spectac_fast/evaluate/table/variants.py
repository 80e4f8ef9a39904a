"""Which rows a table has: for every model its estimates, plane by plane and with planes combined, and its samples.

One evaluation of a bridge is close to the posterior mean and minimises RMSE; an exact posterior sample has sqrt(2)
times that RMSE; the mean of K samples lies between. So a diffusion model without its steps and samples is no result.
What `correct` writes has the corrections of the three planes of a phase averaged, unless they are single samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectac_fast.data.facts import AS_IDEAL, FACTS, NOTHING_KNOWN, StudyFacts
from spectac_fast.errors import UsageError
from spectac_fast.models.translator import facts_of
from spectac_fast.terms import PLANES

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator

BASELINES = ("identity", "scale", "linear")
BRIDGES = ("bbdm", "lbbdm", "cpdm")
NOISE_PREDICTORS = ("ddpm", "palette", "ldm")
FIRST_STAGES = ("vqgan",)
# Planes whose corrections are averaged with each other.
SEPARATE = tuple((plane,) for plane in PLANES)
COMBINED = (PLANES,)


@dataclass(frozen=True)
class Row:
    """One row: what is printed, the model, the options of every ``translate`` call, and what it is given.

    Rows of one label are trainings of one method that differ in their seed alone; a table prints their mean. name: of
    the model, without what the options add.
    given: "NC", or "AC" for a first stage, whose round trip of AC is the floor of every model between its latents.
    together: groups of planes; the corrections of a group are averaged (`correct.agreement`).
    wanted: which AC is asked for, of a model that has learnt several, whatever is known of a case.
    """

    label: str
    translator: Translator
    options: dict[str, Any] = field(default_factory=dict)
    given: str = "NC"
    together: tuple[tuple[str, ...], ...] = SEPARATE
    name: str = ""
    wanted: StudyFacts = NOTHING_KNOWN

    @property
    def is_baseline(self) -> bool:
        """True for the rows that are no networks."""
        return self.translator.name in BASELINES


def expand(
    models: Sequence[str],
    load: Callable[[str], Translator],
    steps: int,
    samples: int,
    noise_steps: int | None = None,
) -> list[Row]:
    """Rows for the named models, in their order; ``load`` is called once a file.

    models: each a name, a file, NAME=FILE, or NAME=FILE+FILE+... for several trainings under one label.
    steps, samples: network evaluations of one sample of a bridge, and samples averaged, in the sampled rows.
    noise_steps: evaluations of one sample of a model that starts from noise, None for its own number.

    Raises:
        UsageError: no model, one named twice, or trainings of several methods under one name.
    """
    if not models:
        raise UsageError("--models needs at least one model, such as identity,scale,linear,bbdm.")
    rows: list[Row] = []
    known: set[str] = set()
    for model in models:
        # A file is known by its name, so that two trainings of one method can stand in one table.
        name, _, files = model.partition("=") if "=" in model else (Path(model).stem, "", model)
        trainings = [load(file) for file in files.split("+")]
        methods = sorted({translator.name for translator in trainings})
        if len(methods) > 1:
            raise UsageError(f"--models {name}: expected trainings of one method, found {' and '.join(methods)}.")
        own = [
            [replace(row, name=name) for row in _variants(name, translator, steps, samples, noise_steps)]
            for translator in trainings
        ]
        for label in (row.label for row in own[0]):
            if label in known:
                raise UsageError(f"--models would give two rows called {label!r}; name each model once.")
            known.add(label)
        rows += [row for same in zip(*own, strict=True) for row in same]
    return rows


def separate(rows: Sequence[Row]) -> list[Row]:
    """The rows that need not know how the planes of a phase lie to each other."""
    return [row for row in rows if row.together == SEPARATE]


def shown_rows(rows: Sequence[Row]) -> list[Row]:
    """Every network as `correct` writes it: its first row with planes combined, if there is one; without networks the
    last row.
    """
    networks = dict.fromkeys(row.name for row in rows if not row.is_baseline)
    own = ([row for row in rows if row.name == name] for name in networks)
    return [min(group, key=lambda row: row.together != COMBINED) for group in own] or list(rows[-1:])


def _variants(name: str, translator: Translator, steps: int, samples: int, noise_steps: int | None) -> list[Row]:
    """The rows of one model."""
    if translator.name in BRIDGES:
        estimates = _estimate(f"{name}, 1 evaluation", translator, {"steps": 1, "samples": 1})
        return [*estimates, *_sampled(name, translator, steps, samples)]
    if translator.name in NOISE_PREDICTORS:
        # Of pure noise a network tells the posterior mean, as a bridge does of its end. A few steps lead nowhere from
        # there: samples have a number of steps of their own.
        # The published list of latent diffusion has its one node at the other end.
        one = {"steps": 1, "samples": 1, "solver": "ddim"}
        estimates = _estimate(f"{name}, 1 evaluation", translator, one)
        return [*estimates, *_sampled(name, translator, noise_steps or _own_steps(translator), samples)]
    if translator.name in FIRST_STAGES:
        return [Row(f"{name}, round trip of AC", translator, given="AC")]
    if translator.name in BASELINES:
        return [Row(name, translator)]
    return _estimate(name, translator, {})


def _own_steps(translator: Any) -> int:
    """What the weights of one that predicts noise say."""
    return translator.defaults["steps"]


def _estimate(label: str, translator: Translator, options: dict[str, Any]) -> list[Row]:
    """Every plane for itself, and the planes combined."""
    row = Row(label, translator, options)
    return [row, replace(row, label=f"{label}, planes combined", together=COMBINED)]


def _sampled(name: str, translator: Translator, steps: int, samples: int) -> list[Row]:
    """The mean of several samples and a single one."""
    rows = []
    if samples > 1:
        label = f"{name}, mean of {samples} x {steps}-step samples"
        rows += _estimate(label, translator, {"steps": steps, "samples": samples})
    return [*rows, Row(f"{name}, one {steps}-step sample", translator, {"steps": steps, "samples": 1})]


def with_ideal(rows: Sequence[Row]) -> list[Row]:
    """The rows, and behind each estimate whose planes are combined the same asked for IDEAL, of models that have learnt
    it.
    """
    every = []
    for row in rows:
        every.append(row)
        one = row.together == COMBINED and row.options.get("samples", 1) == 1
        if one and AS_IDEAL in facts_of(row.translator):
            ideal = replace(row.wanted, ideal=True, keeps_scatter=False)
            every.append(replace(row, name=f"{row.name}, ideal", label=f"{row.label}, ideal", wanted=ideal))
    return every


def with_wanted(rows: Sequence[Row], wanted: StudyFacts) -> list[Row]:
    """The rows, all models that have learnt an AC of that kind asked for it, which their labels say.

    Raises UsageError where no model has.
    """
    names = [name for name, (attribute, _, _) in FACTS.items() if getattr(wanted, attribute) is not None]
    if not names:
        return list(rows)
    every = []
    for row in rows:
        words = wanted.words([name for name in names if name in facts_of(row.translator)])
        every.append(replace(row, label=f"{row.label}, {words}", wanted=wanted) if words else row)
    if every == list(rows):
        raise UsageError(f"--models: expected one that has learnt {wanted.words(names)}, such as bbdm, found none.")
    return every
