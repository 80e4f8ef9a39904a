"""How far a corrected value may be off: the spread of a model's samples, calibrated on patients with a known answer.

The samples of a bridge are drawn from what the network believes of AC given NC. Their standard deviation s says where
the belief is wide, not how often it is wrong, so it is scaled to the errors of patients that the network was not
trained on:

    std = sqrt((temperature s)^2 + floor^2)

The floor stands for errors that no sample shows, such as those of a smooth background on which all samples agree. Nor
does the spread know of all that makes a whole study worse than others: its deviations are multiplied by a power of the
error that is expected of its segments (cohort/expected_error.py), over the usual one.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError, UsageError
from spectac_fast.models.translator import SamplingTranslator, Translator

FORMAT = 1
# Their standard deviation is known within 18 %, which costs the intervals little (bench/results/calibration).
SAMPLES = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """temperature > 0; floor >= 0 in model units; exponent >= 0; usual > 0, error of the 17 segments in % of the
    maximum. `measured`: whether they were fitted for the weights at hand.
    """

    temperature: float = 1.0
    floor: float = 0.0
    exponent: float = 0.0
    usual: float = 1.0
    measured: bool = False

    def __call__(self, spread: Tensor) -> Tensor:
        """The standard deviation of the error in a usual study, of the samples' own, both in model units."""
        return (self.temperature * spread).square().add_(self.floor**2).sqrt_()

    def widening(self, expected: float | None) -> float:
        """What the deviations of a study are multiplied by whose segments are expected to err by `expected` % of the
        maximum, (expected / usual)^exponent; 1 where nothing is expected. With three decimals, as files say it.
        """
        return 1.0 if expected is None else round((expected / self.usual) ** self.exponent, 3)

    def undone(self, deviation: float) -> float:
        """The samples' own spread, of a standard deviation or the root mean square of several."""
        return math.sqrt(max(deviation**2 - self.floor**2, 0.0)) / self.temperature


def check_sampling(translator: Translator) -> SamplingTranslator:
    """The translator, if it can say how sure it is; else UsageError."""
    if not isinstance(translator, SamplingTranslator):
        raise UsageError(
            f"uncertainty: expected a model that draws samples, such as bbdm, but {translator.name} gives one image "
            "without a spread."
        )
    return translator


def translate_with_std(
    translator: Translator,
    nc: Tensor,
    seeds: Tensor | None = None,
    *,
    std_samples: int = SAMPLES,
    neighbours: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """(image, standard deviation of its error), each float32 [B, 1, H, W] in model units.

    image: that of `translator.translate` with the same options, bit for bit. std_samples: how many samples the
    deviation is taken from, at least 2; the image is their mean where `samples` asks for as many, and needs no
    evaluations of its own then. Other arguments as for `Translator.translate`.

    The deviation is that of AC given NC, as the model has it, by the calibration of the weights (`calibration_of`);
    the default estimate is the image it was fitted for. It is that of a usual study: `Calibration.widening` of the
    error that is expected of all its slices together is left to the caller. Raises UsageError for a model that draws no
    samples.
    """
    sampling = check_sampling(translator)
    drawing = drawing_options(options)
    mean, spread = sampling.moments(nc, seeds, samples=std_samples, neighbours=neighbours, **drawing)
    if options.get("samples") == std_samples and options.get("steps") != 1:
        image = mean
    else:
        image = translator.translate(nc, seeds, neighbours=neighbours, **options)
    return image, calibration_of(translator)(spread)


def drawing_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options of `translate` that the samples of a deviation take; none is as the weights say.

    One evaluation is the mean itself and has no spread, so samples take the weights' number then.
    """
    return {key: value for key, value in options.items() if key != "samples" and (key, value) != ("steps", 1)}


def calibration_of(translator: Translator) -> Calibration:
    """The calibration that came with a translator's weights; the samples' own spread where there is none."""
    return getattr(translator, "calibration", Calibration())


def calibration_file(weights: Path) -> Path:
    """Where the calibration of a weight file lies: beside it."""
    return weights.with_suffix(".uncertainty.json")


def read_calibration(weights: Path, sha256: str) -> Calibration:
    """The calibration beside a weight file, if it was fitted for these very weights (their SHA-256).

    One of other weights is as good as none. Raises InputError for a file that is damaged.
    """
    path = calibration_file(weights)
    if not path.is_file():
        return Calibration()
    try:
        content = json.loads(path.read_text())
        widening = float(content.get("exponent", 0.0)), float(content.get("usual", 1.0))
        found = Calibration(float(content["temperature"]), float(content["floor"]), *widening, measured=True)
        known, fitted_for = content["format"], content["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a calibration, but it cannot be read as one ({error!r}).") from None
    if known != FORMAT or not (
        found.temperature > 0 and found.floor >= 0 and 0 <= found.exponent < math.inf and 0 < found.usual < math.inf
    ):
        raise InputError(
            f"{path}: expected a calibration of format {FORMAT} with temperature and usual error above 0, floor and "
            f"exponent of at least 0, found {content}."
        )
    return found if fitted_for == sha256 else Calibration()


def warn_unmeasured(translator: Translator) -> None:
    """One sentence in the log where the deviations are nothing but the samples' own spread."""
    if not calibration_of(translator).measured:
        _log.warning(
            "the weights of %s have no calibration: deviations are the spread of its samples as they are.",
            translator.name,
        )
