"""What corrected the images of a report, or corrects them for it, and what is to be said of that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spectac_fast.errors import InputError

if TYPE_CHECKING:
    from spectac_fast.correct.study import Prepared
    from spectac_fast.formats.series import Series
    from spectac_fast.models.translator import Translator


def derivation(series: Series) -> str:
    """How a corrected series was made, as it says itself (`derivation_of`)."""
    from spectac_fast.formats.dicom.derivation import derivation_of
    from spectac_fast.models.names import NAMED

    if series.header is None:
        return "Corrected by spectac_fast, as its name says; such a file does not state how."
    return derivation_of(series.header, NAMED)


def anonymous(sentence: str, series: Iterable[Series]) -> str:
    """A sentence on one of these series that names its phase and plane, not its file, which may name a patient."""
    for one in series:
        if sentence.startswith(f"{one.path}: "):
            return f"{one.phase} {one.plane}{sentence[len(str(one.path)) :]}"
    return sentence


def unusual(by_kind: Mapping[str, Mapping[tuple[str, str], Series]], translator: Translator) -> list[str]:
    """What a model finds unusual about series, which are called by phase and plane: file names may name a patient."""
    from spectac_fast.correct.study import prepare
    from spectac_fast.data.study import Study

    named = tuple(replace(one, path=Path(f"{one.phase} {one.plane}")) for one in by_kind["NC"].values())
    try:
        prepared = prepare(Study(named), translator, {}, 0)
    except InputError as reason:
        return [str(reason)]
    return [*prepared.warnings, *_far_apart(by_kind["SD"], prepared, translator)]


def _far_apart(written: Mapping[tuple[str, str], Series], prepared: Prepared, translator: Translator) -> Iterator[str]:
    """Whose samples lie further apart than in the training population, by the deviations that were written.

    Where planes are averaged, what is written is at most the largest of their deviations: if it is too large, one of
    them is. Too small a one says nothing here.
    """
    from spectac_fast.data.spread import central_slices, heart_spread
    from spectac_fast.models.uncertainty import calibration_of

    population = getattr(translator, "population", None)
    known = population.spread if population else None
    for series, scale in zip(prepared.study.series, prepared.scales):
        one = written.get((series.phase, series.plane))
        if known is None or one is None:
            continue
        said = derivation(one)
        drawn = re.search(r"deviation of samples (\d+)", said)
        if drawn is None or re.search(r"\bsteps (?!1\b)", said) or int(drawn[1]) < known.samples:
            continue
        # What was expected of the study widened its deviations, and says nothing of its samples.
        wide = re.search(r"\bwidened ([\d.]+)", said)
        stack = one.counts * np.float32(2.0 / (scale * translator.gain * float(wide[1] if wide else 1.0)))
        taken = stack[central_slices(len(stack), one.slice_mm)]
        spread = calibration_of(translator).undone(heart_spread(taken, stack.shape, one.spacing_mm))
        text = known.warning(series.path, series.plane, spread) if known.score(series.plane, spread) > 0 else None
        if text:
            yield text


def correct_in_memory(
    by_kind: Mapping[str, dict[tuple[str, str], Series]], translator: Translator, warnings: list[str]
) -> str:
    """Correct the NC series of a study for its report, in place of corrected ones, and say by what.

    Doubts about it go to `warnings`. Raises as `correct_study`.
    """
    from spectac_fast._version import __version__
    from spectac_fast.correct import correct_study
    from spectac_fast.data.study import Study

    nc = by_kind["NC"]
    counts = correct_study(
        Study(tuple(nc.values())), translator, on_doubt=lambda text: warnings.append(anonymous(text, nc.values()))
    )
    for (key, one), corrected in zip(nc.items(), counts):
        by_kind["corrected"][key] = replace(one, counts=corrected, attenuation_corrected=True, header=None)
    weights = f" (weights SHA-256 {translator.weights_sha256})" if translator.weights_sha256 else ""
    return (
        f"Corrected for this report by spectac_fast {__version__}, model {translator.name}{weights}; "
        "nothing corrected was at hand."
    )
