"""What every method offers, and all that the pipeline, the benchmark and the evaluation know of it."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from spectac_fast.data.facts import StudyFacts
from spectac_fast.errors import UsageError
from spectac_fast.models.facts import join_facts


@runtime_checkable
class Translator(Protocol):
    """A method that turns NC slices into AC slices.

    name: of the method. pixel_mm: pixel size it was made for. gain: AC/NC gain of the left ventricle, so that corrected
    counts are to_counts(ac, scale * gain). card: where it comes from (data, recipe, metrics). device: where it runs.
    weights_sha256: of the file it was read from. context_mm: where, along the stack, the neighbouring slices lie that
    it also looks at; empty for most. One that is also told what is known of a study has a further attribute, `facts`,
    the names of `data.facts.FACTS` (see `facts_of`).
    """

    name: str
    pixel_mm: float
    gain: float
    card: dict[str, Any]
    device: torch.device
    weights_sha256: str
    context_mm: tuple[float, ...]

    def translate(
        self, nc: Tensor, seeds: Tensor | None = None, *, neighbours: Tensor | None = None, **options: Any
    ) -> Tensor:
        """NC -> AC, float32 [B, 1, H, W] in model units ([0, scale] is [-1, 1]; hotter voxels exceed 1).

        seeds: int64 [B], one per slice, for methods that draw noise; None means 0 ... B-1. neighbours: float32
        [B, len(context_mm), H, W], NC at `context_mm` from each slice (data/geometry/neighbours.py); None repeats the
        slice itself, which costs accuracy where a model has context. facts: among the options, float32 [B, n], the
        numbers of `data.facts.StudyFacts.values` for `facts_of` the translator; None, or 0, is what is not known.
        Options a method has no use for are ignored, so that one call serves all. Raises ValueError for another dtype
        or shape.
        """
        ...


@runtime_checkable
class SamplingTranslator(Translator, Protocol):
    """A translator that draws samples of AC given NC, and so has a spread. Regressions and generators have none."""

    def moments(
        self,
        nc: Tensor,
        seeds: Tensor | None = None,
        *,
        samples: int,
        neighbours: Tensor | None = None,
        **options: Any,
    ) -> tuple[Tensor, Tensor]:
        """(mean, standard deviation) of `samples` >= 2 samples of AC, each float32 [B, 1, H, W] in model units.

        One pass, no sample is kept; the same samples as those that `translate` averages. The deviation is the unbiased
        estimate and raw: `models.uncertainty` makes the error of an image of it. ValueError for options that draw
        no noise, else as `translate`.
        """
        ...

    def single_sample(self, **options: Any) -> bool:
        """Whether `translate` with these options gives one sample, which an average would spoil, and no estimate."""
        ...


def facts_of(translator: Translator) -> tuple[str, ...]:
    """The facts of a study that a translator is told, by their names in `data.facts.FACTS`; none for most."""
    return tuple(getattr(translator, "facts", ()))


def told(translator: Translator, known: StudyFacts, slices: int) -> dict[str, Tensor]:
    """What is known of a study as `translate` takes it for so many slices: {"facts": [slices, n]}, nothing for a
    translator that is told nothing.
    """
    values = known.values(facts_of(translator))
    return {"facts": torch.from_numpy(values).expand(slices, -1)} if len(values) else {}


def check_corrects(translator: Translator) -> None:
    """Raise UsageError for a model that gives back what it is given, such as a first stage: its images are not AC."""
    if not getattr(translator, "corrects", True):
        raise UsageError(
            f"the model {translator.name} is a first stage, which codes images and corrects nothing: expected a model "
            "of AC, such as bbdm."
        )


def check_slices(nc: Tensor, seeds: Tensor | None) -> None:
    """Raise ValueError unless nc is float32 [B, 1, H, W] and seeds, if given, int64 [B]."""
    if nc.dim() != 4 or nc.shape[1] != 1 or nc.dtype != torch.float32:
        raise ValueError(f"nc must be float32 [B, 1, H, W], found {nc.dtype} {list(nc.shape)}.")
    if seeds is not None and (seeds.dtype != torch.int64 or seeds.shape != nc.shape[:1]):
        raise ValueError(f"seeds must be int64 [{len(nc)}], found {seeds.dtype} {list(seeds.shape)}.")


def with_facts(images: Tensor, facts: Tensor | None, count: int) -> Tensor:
    """Images [B, C, H, W] and behind them `count` facts as even ones, nothing known where None; ValueError unless facts
    has so many.
    """
    if facts is None:
        facts = torch.zeros(len(images), count)
    if count and (facts.dtype != torch.float32 or facts.shape != (len(images), count)):
        raise ValueError(f"facts must be float32 {[len(images), count]}, found {facts.dtype} {list(facts.shape)}.")
    return join_facts(images, facts[:, :count], images.shape[-2:])


def with_neighbours(nc: Tensor, neighbours: Tensor | None, count: int) -> Tensor:
    """Slices and their neighbours as channels [B, 1 + count, H, W]; ValueError unless neighbours has count of them."""
    if not count:
        return nc
    if neighbours is None:
        neighbours = nc.expand(-1, count, -1, -1)
    expected = (nc.shape[0], count, *nc.shape[2:])
    if neighbours.dtype != torch.float32 or neighbours.shape != expected:
        raise ValueError(
            f"neighbours must be float32 {list(expected)}, found {neighbours.dtype} {list(neighbours.shape)}."
        )
    return torch.cat([nc, neighbours.to(nc.device)], dim=1)
