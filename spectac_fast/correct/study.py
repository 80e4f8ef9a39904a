"""Correct one study that is in memory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.correct.agreement import agreed, partners_of
from spectac_fast.correct.doubts.bounded import cut_off_hearts
from spectac_fast.correct.doubts.correction import Expectation, doubtful_corrections, expectations, foreign_spread
from spectac_fast.correct.doubts.foreign import foreign_input
from spectac_fast.correct.doubts.small_field import field_warnings
from spectac_fast.correct.engines.in_memory import run_batches
from spectac_fast.correct.scales import scales_of
from spectac_fast.correct.view import View, filled, view_of
from spectac_fast.data.acquisition import claim_of
from spectac_fast.data.facts import NOTHING_KNOWN, StudyFacts, facts_of_series
from spectac_fast.data.geometry.field import Field, field_of
from spectac_fast.data.geometry.lattice import difference
from spectac_fast.data.geometry.neighbours import neighbours
from spectac_fast.data.geometry.resample import InPlane, check_geometry
from spectac_fast.data.scale import to_counts, to_model
from spectac_fast.data.seeds import stable_seed
from spectac_fast.data.study import Study
from spectac_fast.errors import SpectacError, UsageError
from spectac_fast.models.translator import SamplingTranslator, check_corrects, facts_of
from spectac_fast.models.uncertainty import (
    SAMPLES,
    calibration_of,
    check_sampling,
    drawing_options,
    translate_with_std,
    warn_unmeasured,
)

if TYPE_CHECKING:
    from spectac_fast.models.translator import Translator

_log = logging.getLogger(__name__)


def correct_study(
    study: Study,
    translator: Translator,
    *,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    facts: StudyFacts = NOTHING_KNOWN,
    batch_size: int = 64,
    on_slices: Callable[[int], None] | None = None,
    on_doubt: Callable[[str], None] | None = None,
) -> list[NDArray[np.float32]]:
    """Attenuation-corrected counts for every series of `study`.

    Each acquisition has one scale, taken from its NC short-axis stack (`scales`); slices are
    brought to the model's pixel size, translated, and brought back (`InPlane.carry_back`). Unless the model gives
    single samples, the corrections of planes that show one volume are averaged before (`agreement`).

    Args:
        study: NC series, counts in any unit.
        translator: the model.
        steps, samples: passed on to the model unless None.
        seed: together with the series UID it fixes the noise of a slice, whatever it is batched with.
        facts: what is known of the study, instead of what its headers say; what is None they say still. Of use to
            models that are told facts, and then as good as a header that says them.
        batch_size: most slices given to the model at once.
        on_slices: called with the number of slices after each batch.
        on_doubt: called with a sentence for each correction that is expected to be wrong.

    Returns one float32 array [slices, rows, columns] per series, counts >= 0, in the source's geometry.
    Raises InputError for geometry far from the model's or a heart region without counts, UsageError for options that
    the model refuses, SpectacError if its output is not finite.
    """
    check_corrects(translator)
    options = {key: value for key, value in (("steps", steps), ("samples", samples)) if value is not None}
    prepared = prepare(study, translator, options, seed, facts)

    def image(nc: Tensor, **given: Any) -> Tensor:
        return translator.translate(nc, **given, **options)

    outputs = [output[:, 0] for output in run_batches(image, 1, prepared, translator, options, batch_size, on_slices)]
    counts = prepared.finish(outputs, translator)
    for sentence in prepared.doubts(outputs, prepared.expectations(outputs, translator), translator):
        if on_doubt is not None:
            on_doubt(sentence)
    return counts


def correct_study_with_std(
    study: Study,
    translator: Translator,
    *,
    std_samples: int = SAMPLES,
    steps: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    facts: StudyFacts = NOTHING_KNOWN,
    batch_size: int = 64,
    on_slices: Callable[[int], None] | None = None,
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """(attenuation-corrected counts, standard deviation of their error) for every series of `study`.

    The counts are those of `correct_study` with the same arguments, bit for bit; the deviations are what
    `spectac correct --uncertainty` writes: the spread of the model's samples, by the calibration of its weights
    (`translate_with_std`), the wider the larger an error is expected of the study, and where planes are averaged the
    mean of theirs.

    Args:
        std_samples: how many samples of each slice the deviation is taken from, at least 2.
        Others as for `correct_study`.

    Returns two lists of one float32 array [slices, rows, columns] per series, counts >= 0 and deviations >= 0 in
    counts, in the source's geometry. Series whose samples lie unlike those of the training population are named in
    the log. Raises as `correct_study` does, and UsageError for a model that draws no samples or fewer than 2 of them.
    """
    check_sampling(translator)
    if std_samples < 2:
        raise UsageError(f"uncertainty: expected at least 2 samples, found {std_samples}.")
    warn_unmeasured(translator)
    options = {key: value for key, value in (("steps", steps), ("samples", samples)) if value is not None}
    prepared = prepare(study, translator, options, seed, facts)

    def both(nc: Tensor, **given: Any) -> Tensor:
        return torch.cat(translate_with_std(translator, nc, **given, std_samples=std_samples, **options), dim=1)

    outputs = run_batches(both, 2, prepared, translator, options, batch_size, on_slices)
    deviations = [output[:, 1] for output in outputs]
    means = [output[:, 0] for output in outputs]
    counts = prepared.finish(means, translator)
    expected = prepared.expectations(means, translator)
    finished = prepared.finish_deviations(deviations, prepared.widening(expected, translator), translator)
    prepared.doubts(means, expected, translator)
    prepared.foreign_spread(deviations, translator, 0 if drawing_options(options) else std_samples)
    return counts, finished


@dataclass(frozen=True, eq=False)
class Prepared:
    """A study as a model sees it: for each series its slices in model units, their neighbours and their seeds.

    fields: what the series show; views: how the model sees them; inputs: their counts in model units, float32 [slices,
    rows, columns]; beside: float32 [slices, neighbours, rows, columns]; facts: what the model is told of their study,
    float32 [slices, facts], of all that is known of it; seeds: int64 [slices]. partners: for each series the numbers of
    those it is averaged with. warnings: a sentence for everything unusual.
    """

    study: Study
    grids: list[InPlane]
    fields: list[Field]
    views: list[View]
    scales: list[float]
    inputs: list[NDArray[np.float32]]
    beside: list[NDArray[np.float32]]
    facts: list[NDArray[np.float32]]
    known: list[StudyFacts]
    seeds: list[NDArray[np.int64]]
    partners: list[tuple[int, ...]]
    warnings: tuple[str, ...] = ()

    def finish(self, outputs: Sequence[NDArray[np.float32]], translator: Translator) -> list[NDArray[np.float32]]:
        """Corrected counts on the source's grid from the model's outputs, one array per series.

        Raises SpectacError for outputs that are not finite.
        """
        for series, output in zip(self.study.series, outputs):
            if not np.isfinite(output).all():
                raise SpectacError(f"{series.path}: the model {translator.name} gave values that are not finite.")
        gain = translator.gain
        ac = self._agreed(self._alone(outputs, gain), gain)
        return [
            field.bounded(grid.carry_back(view.source, view.own(view.counts), view.own(stack), scale=scale, gain=gain))
            for field, grid, view, stack, scale in zip(self.fields, self.grids, self.views, ac, self.scales)
        ]

    def finish_deviations(
        self, outputs: Sequence[NDArray[np.float32]], widening: Sequence[float], translator: Translator
    ) -> list[NDArray[np.float32]]:
        """Standard deviations of `finish`'s counts on the source's grid, from those of the model's outputs, those of
        each series times its `widening`.

        A mean of planes has an error whose deviation is at most the mean of theirs (Minkowski): that is what is given,
        because the planes show one heart to one network and err alike. Raises SpectacError for deviations that are not
        finite.
        """
        for series, output in zip(self.study.series, outputs):
            if not np.isfinite(output).all():
                raise SpectacError(f"{series.path}: the model {translator.name} gave deviations that are not finite.")
        units = [np.float32(scale * translator.gain / 2.0 * wide) for scale, wide in zip(self.scales, widening)]
        stds = [output * unit for output, unit in zip(outputs, units)]
        stds = self._agreed(stds, 0.0)
        return [
            field.bounded(grid.carry_back_deviation(view.source, view.own(view.counts), view.own(stack), scale=scale))
            for field, grid, view, stack, scale in zip(self.fields, self.grids, self.views, stds, self.scales)
        ]

    def expectations(self, outputs: Sequence[NDArray[np.float32]], translator: Translator) -> list[Expectation | None]:
        """What error is expected of each series' correction (`doubts.correction.expectations`)."""
        gain = translator.gain
        alone = self._alone(outputs, gain)
        own, together = (
            [to_model(stack, scale * gain) for stack, scale in zip(stacks, self.scales)]
            for stacks in (alone, self._agreed(alone, gain))
        )
        return expectations(self.study.series, self.grids, self.inputs, own, together, self.known, translator)

    def widening(self, expected: Sequence[Expectation | None], translator: Translator) -> list[float]:
        """What the deviations of each series are multiplied by: by its own expected error, or that of the short axis
        that it is averaged with.
        """
        known = calibration_of(translator)
        found = [[expected[n] for n in (k, *others)] for k, others in enumerate(self.partners)]
        return [known.widening(next((one.corrected for one in each if one), None)) for each in found]

    def doubts(
        self,
        outputs: Sequence[NDArray[np.float32]],
        expected: Sequence[Expectation | None],
        translator: Translator,
    ) -> tuple[str, ...]:
        """A sentence for every correction that is expected to be wrong, or was cut off (`doubts`)."""
        cut_off = cut_off_hearts(self.study.series, self.grids, outputs, translator)
        known = getattr(translator, "expected_error", None)
        return cut_off + doubtful_corrections(self.study.series, expected, known)

    def foreign_spread(
        self, outputs: Sequence[NDArray[np.float32]], translator: Translator, samples: int
    ) -> tuple[str, ...]:
        """A sentence for every series whose samples, `samples` a slice, lie unusually (`doubts.foreign_spread`)."""
        return foreign_spread(self.study.series, self.grids, outputs, translator, samples)

    def _alone(self, outputs: Sequence[NDArray[np.float32]], gain: float) -> list[NDArray[np.float32]]:
        return [to_counts(output, scale * gain) for output, scale in zip(outputs, self.scales)]

    def _agreed(self, stacks: Sequence[NDArray[np.float32]], gain: float) -> list[NDArray[np.float32]]:
        nc, lattices = [view.counts for view in self.views], [view.lattice for view in self.views]
        return agreed(stacks, nc, gain, self.scales, lattices, self.partners)


def prepare(
    study: Study, translator: Translator, options: Mapping[str, Any], seed: int, told: StudyFacts = NOTHING_KNOWN
) -> Prepared:
    """What `correct_study` does before the model; raises InputError as it does and logs what is unusual.

    options: those that `translate` will be given. told: as for `correct_study`.
    """
    warnings = [text for one in study.series for text in (*one.warnings, *check_geometry(one, translator.pixel_mm))]
    grids = [InPlane(s.counts.shape[1:], s.pixel_mm, translator.pixel_mm) for s in study.series]
    fields = [field_of(series) for series in study.series]
    views = [view_of(*each, translator) for each in zip(study.series, fields, grids)]
    nc = [view.own(view.counts) for view in views]
    claims = [claim_of(series) for series in study.series]
    differ = functools.cache(lambda a, b: _difference(views[a], views[b]))
    scales, unlike = scales_of(study.series, claims, grids, nc, differ)
    alone: list[tuple[int, ...]] = [()] * len(study.series)
    partners = alone if gives_single_sample(translator, options) else partners_of(study.series, claims, differ)
    for one, field, others in zip(study.series, fields, partners):
        warnings += field_warnings(one.path, field, translator, alone=len(others) < 2)
    views = filled(study.series, views, scales, partners, translator)
    inputs = [to_model(view.counts, scale) for view, scale in zip(views, scales)]
    beside = [neighbours(x, series.slice_mm, translator.context_mm) for x, series in zip(inputs, study.series)]
    names = facts_of(translator)
    known = facts_of_series(study.series, told)
    facts = [np.tile(each.values(names), (len(one.counts), 1)) for each, one in zip(known, study.series)]
    seeds = [slice_seeds(seed, series.uid, len(series.counts)) for series in study.series]
    warnings += unlike + foreign_input(study.series, inputs, grids, translator)
    for warning in warnings:
        _log.warning(warning)
    return Prepared(study, grids, fields, views, scales, inputs, beside, facts, known, seeds, partners, tuple(warnings))


def _difference(a: View, b: View) -> tuple[float, float, float]:
    return difference(a.counts, b.counts, a.lattice, b.lattice, known=(a.known, b.known))


def gives_single_sample(translator: Translator, options: Mapping[str, Any]) -> bool:
    """Whether a model with these options draws one sample of every slice: the mean of planes would be none."""
    return isinstance(translator, SamplingTranslator) and translator.single_sample(**options)


def slice_seeds(seed: int, series_uid: str, slices: int) -> NDArray[np.int64]:
    """The noise seed of each slice, int64 [slices]: a hash of (user seed, series UID), the same for a whole series.

    Samples are then as smooth from slice to slice as AC is (bench/results/quality-cost), and one sample is one volume.
    """
    return np.full(slices, stable_seed(f"{seed}/{series_uid}"), np.int64)
