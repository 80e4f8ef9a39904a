"""Bridges as translators: a solver's table, samples averaged, whatever space the bridge runs in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from spectac_fast.checkpoints.weights import fill
from spectac_fast.diffusion.bridge_sampler import BridgeSampler
from spectac_fast.diffusion.fitted import table_from
from spectac_fast.diffusion.graph import Graphs
from spectac_fast.diffusion.solvers import StepTable
from spectac_fast.models.description import Description, describe, reading
from spectac_fast.models.engine.batches import in_batches
from spectac_fast.models.translators.sampling import SamplingNetworkTranslator, clip_of
from spectac_fast.tracing import phase

_DEFAULTS = ("steps", "samples", "sample_steps", "solver", "order", "eta")
# The published code's sampler, whose step list, first step and meaning of eta are its own.
PUBLISHED = {"published": "reference", "published_strides": "strides"}
_PUBLISHED_ARGUMENTS = {"solver": "ancestral", "eta_mode": "bbdm", "boot": False}
# The solver whose numbers a weight file may hold (`spectac fit`), and what it is where it holds none.
FITTED = "fitted"
UNFITTED = "dbim"


class BridgeTranslator(SamplingNetworkTranslator):
    """A trained bridge as a `Translator`.

    model:    has `bridge`, `multiple`, `context_slices`, perhaps `facts`, `start(images) -> (end, context or None)`,
              `finish(x0) -> slices`, and a network that `spectac_fast.engine` takes.
    config:   of the weight file; its "defaults" are {"steps", "samples", "sample_steps", "solver", "order", "eta"} of
              `translate`, its "fitted", where there is one, a list of tables (diffusion/fitted.py), and its "clip",
              where there is one, the bounds of every prediction.
    fitted:   those tables, by their number of evaluations.
    """

    def __init__(
        self, model: nn.Module, description: Description, device: torch.device, config: Mapping[str, Any]
    ) -> None:
        super().__init__(
            model,
            description,
            device,
            multiple=model.multiple,
            context_slices=model.context_slices,
            facts=getattr(model, "facts", ()),
        )
        self.defaults = {key: config["defaults"][key] for key in _DEFAULTS}
        self.graphs = Graphs()
        self.fitted = _fitted(model, config)
        self.clip = clip_of(config) if "clip" in config else None
        if self.defaults["solver"] == FITTED and self.defaults["sample_steps"] not in self.fitted:
            raise ValueError(f"no fitted table of {self.defaults['sample_steps']} evaluations, those of a sample.")

    def single_sample(
        self, *, steps: int | list[int] | None = None, samples: int | None = None, **options: Any
    ) -> bool:
        """See `SamplingTranslator.single_sample`; one evaluation draws nothing."""
        steps = self.evaluations(steps, samples)
        return super().single_sample(samples=samples) and (steps if isinstance(steps, int) else len(steps)) > 1

    def evaluations(self, steps: int | list[int] | None, samples: int | None) -> int | list[int]:
        """What a sample takes; steps=1 is the regression estimate E[ac | nc] and draws nothing.

        Without steps and samples the defaults of the weights hold; samples alone, as in `moments`, means samples of the
        weights' "sample_steps" evaluations.
        """
        if steps is None:
            steps = self.defaults["steps" if samples is None else "sample_steps"]
        return steps

    def sampler(
        self, steps: int | list[int], solver: str | None, order: int | None, eta: float | None
    ) -> BridgeSampler:
        """The sampler that the options of `translate` ask for; ValueError for impossible ones.

        solver: one of `solver_table`, or "published" for the sampler of the published code with its step list (1 step,
        or 3 and more; "published_strides": the published list of as many steps as timesteps has equal strides too), or
        "fitted" for the table of so many evaluations that the weights hold; where the weights' own solver is fitted,
        other numbers of evaluations are DBIM's, from which it was.

        The sampler takes any number of slices and keeps to fixed batch sizes itself, with all samples of a slice in few
        batches.
        """
        arguments: dict[str, Any] = {"solver": solver or self.defaults["solver"]}
        if arguments["solver"] == FITTED:
            table = self._fitted_table(steps)
            if table:
                return BridgeSampler(self.engine, self.model.bridge, table, finish=self._finish, graphs=self.graphs)
            if solver and steps != 1:
                known = ", ".join(map(str, sorted(self.fitted))) or "none at all"
                raise ValueError(f"the weights hold no fitted table for steps={steps}; those there are: {known}.")
            arguments = {"solver": UNFITTED}
        if spacing := PUBLISHED.get(arguments["solver"]):
            # One evaluation is the same by every solver, and the published list has none so short.
            arguments = {"solver": "ancestral"} if steps == 1 else {**_PUBLISHED_ARGUMENTS, "spacing": spacing}
        return BridgeSampler(
            self.engine,
            self.model.bridge,
            steps,
            finish=self._finish,
            graphs=self.graphs,
            order=order or self.defaults["order"],
            eta=self.defaults["eta"] if eta is None else eta,
            clip=self.clip,
            **arguments,
        )

    def _fitted_table(self, steps: int | list[int]) -> StepTable | None:
        count = steps if isinstance(steps, int) else len(steps)
        table = self.fitted.get(count)
        return table if table and (isinstance(steps, int) or list(table.t) == list(steps)) else None

    @torch.no_grad()
    def drawn(
        self, sampler: BridgeSampler, images: Tensor, seeds: Tensor, count: int, spread: bool
    ) -> Tensor | tuple[Tensor, Tensor]:
        if spread and not sampler.table.noise_rows:
            raise ValueError(f"samples of {len(sampler.table)} steps draw no noise and have no spread.")
        if not len(images):
            return (images[:, :1], images[:, :1]) if spread else images[:, :1]
        with phase("encode"):
            end, context = in_batches(self.model.start, images)
        return sampler(end, seeds, count, "mean_std" if spread else "mean", context=context)

    def _finish(self, x0: Tensor) -> Tensor:
        with phase("decode"):
            return self.model.finish(x0)


def _fitted(model: nn.Module, config: Mapping[str, Any]) -> dict[int, StepTable]:
    stored = config.get(FITTED, [])
    if not isinstance(stored, list):
        raise ValueError(f'"{FITTED}" must be a list of tables, found {stored!r}.')
    tables = {len(table): table for table in (table_from(model.bridge, data) for data in stored)}
    if len(tables) < len(stored):
        raise ValueError("two fitted tables have the same number of evaluations.")
    return tables


_Bridge = TypeVar("_Bridge", bound=BridgeTranslator)


def load_bridge(
    kind: type[_Bridge],
    model_of: Callable[[Mapping[str, Any]], nn.Module],
    tensors: dict[str, Tensor],
    header: dict[str, Any],
    path: Path,
    device: torch.device,
) -> _Bridge:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        model = model_of(header["config"])
        translator = kind(model, describe(header, path), device, header["config"])
    # The schedule follows from the configuration; weight files do not repeat it.
    state = {name: value.float() for name, value in tensors.items()}
    fill(model, {**model.bridge.buffers(), **state}, str(path))
    return translator
