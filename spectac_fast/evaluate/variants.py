"""Which rows a table has: one per deterministic model, three per diffusion model.

One evaluation of a bridge is close to the posterior mean and minimises RMSE; an exact posterior sample has sqrt(2)
times that RMSE; the mean of K samples lies between. So a diffusion model without its steps and samples is no result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.errors import UsageError

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator

BASELINES = ("identity", "scale", "linear")
DIFFUSION = ("bbdm",)


@dataclass(frozen=True)
class Row:
    """One row: what is printed, the model, and the options of every ``translate`` call."""

    label: str
    translator: Translator
    options: dict[str, int] = field(default_factory=dict)

    @property
    def is_baseline(self) -> bool:
        """True for the rows that are no networks."""
        return self.translator.name in BASELINES


def expand(models: Sequence[str], load: Callable[[str], Translator], steps: int, samples: int) -> list[Row]:
    """Rows for the named models, in their order; ``load`` is called once a model.

    steps, samples: network evaluations of one sample, and samples averaged, in the sampled rows of diffusion models.

    Raises:
        UsageError: no model, or one named twice.
    """
    if not models:
        raise UsageError("--models needs at least one model, such as identity,scale,linear,bbdm.")
    rows: list[Row] = []
    for model in models:
        translator = load(model)
        # A file is known by its name, so that two trainings of one method can stand in one table.
        name = Path(model).stem
        if translator.name not in DIFFUSION:
            rows.append(Row(name, translator))
            continue
        rows.append(Row(f"{name}, 1 evaluation", translator, {"steps": 1, "samples": 1}))
        if samples > 1:
            label = f"{name}, mean of {samples} x {steps}-step samples"
            rows.append(Row(label, translator, {"steps": steps, "samples": samples}))
        rows.append(Row(f"{name}, one {steps}-step sample", translator, {"steps": steps, "samples": 1}))
    labels = [row.label for row in rows]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(f"--models would give two rows called {label!r}; name each model once.")
    return rows
