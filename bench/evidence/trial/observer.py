"""A channelised Hotelling observer that looks for a perfusion defect where one may be.

Images are what a reader is shown about the place: a square of the short-axis slice, turned so that the wall lies the
same way wherever on the heart the place is, in % of the maximum of the image's own polar map. Channels: four octaves of
spatial frequency without direction, as in Frey et al., IEEE Trans. Nucl. Sci. 49:2216, 2002, for defects in myocardial
SPECT. The template that tells with from without (Barrett et al., PNAS 90:9758, 1993) is made of all other patients.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectac_fast.evaluate.regional.segments import polar_map
from spectac_fast.evaluate.regional.ventricle import Spacing, Ventricle, interpolate

SIDE, PIXEL_MM = 64, 3.4
# Octaves, cycles a pixel.
EDGES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4)
_TOP_PERCENTILE = 99.0


def square(
    stack: NDArray, ventricle: Ventricle, place: tuple[float, float], spacing_mm: Spacing
) -> NDArray[np.float64]:
    """What the observer is shown [SIDE, SIDE] of a short-axis stack [slices, rows, columns].

    place: (angle in degrees, 0 lateral and 90 anterior; depth, 0 base to 1 apex). The wall lies above the middle of the
    ventricle in it, outwards up.
    """
    angle, depth = math.radians(place[0]), place[1]
    start, end = math.asin(min(max(ventricle.base_mm / ventricle.length_mm, -0.95), 0.95)), math.pi / 2
    theta = np.array([start + depth * (end - start)])
    centre = ventricle.rays(theta, np.array([angle]), np.zeros(1))[:, 0, 0, 0]
    outwards = np.array([0.0, math.sin(angle), math.cos(angle)])
    along = np.array([0.0, -math.cos(angle), math.sin(angle)])
    steps = (np.arange(SIDE) - (SIDE - 1) / 2) * PIXEL_MM
    points = (
        centre[:, None, None]
        - outwards[:, None, None] * steps[None, :, None]
        + along[:, None, None] * steps[None, None, :]
    )
    top = float(np.percentile(polar_map(stack, ventricle, spacing_mm), _TOP_PERCENTILE))
    return 100.0 * interpolate(stack, spacing_mm, points) / max(top, 1e-6)


def place_of(case: Mapping[str, Any], phase: str, rng: np.random.Generator, usual: NDArray) -> tuple[float, float]:
    """Where the observer looks: at the worst defect of a phase, or where one of `usual` [n, 2] lies in another patient.

    usual: (angle, depth) of the defects of all patients.
    """
    visible = [defect for defect in case["defects"] if defect["loss"][phase] > 0]
    if visible:
        worst = max(visible, key=lambda defect: defect["loss"][phase])
        return float(worst["angle"]), (worst["base"] + min(worst["apex"], 1.0)) / 2
    angle, depth = usual[rng.integers(len(usual))]
    return float(angle), float(depth)


def usual_places(cases: list[Mapping[str, Any]]) -> NDArray[np.float64]:
    """(angle, depth) [n, 2] of all defects of some patients."""
    return np.array(
        [(d["angle"], (d["base"] + min(d["apex"], 1.0)) / 2) for case in cases for d in case["defects"]], float
    ).reshape(-1, 2)


@functools.cache
def channels() -> NDArray[np.float64]:
    """The channels' images [4, SIDE * SIDE], about the middle of the square."""
    frequency = np.fft.fftfreq(SIDE)
    radius = np.hypot(frequency[:, None], frequency[None])
    # The middle of an even number of pixels lies between two of them.
    shift = np.exp(-2j * np.pi * (frequency[:, None] + frequency[None]) * (SIDE - 1) / 2)
    bands = [(radius >= low) & (radius < high) for low, high in itertools.pairwise(EDGES)]
    return np.stack([np.fft.ifft2(band * shift).real.ravel() for band in bands])


def seen(square_of: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outputs of the channels [4] for what the observer is shown."""
    return channels() @ square_of.ravel()


def ratings(outputs: NDArray[np.float64], ill: NDArray[np.int64]) -> NDArray[np.float64]:
    """How ill each image seems, by a template made of the other patients.

    outputs: [patient, phase, channel]; ill: [patient, phase] 1 with a defect, 0 without, others are not learned from.
    Returns [patient, phase]; NaN where the others hold no image with or none without.
    """
    found = np.full(ill.shape, np.nan)
    for patient in range(len(ill)):
        others = np.arange(len(ill)) != patient
        with_, without = (outputs[others][ill[others] == kind] for kind in (1, 0))
        if len(with_) > 1 and len(without) > 1:
            spread = (np.cov(with_.T) + np.cov(without.T)) / 2
            template = np.linalg.solve(spread, with_.mean(0) - without.mean(0))
            found[patient] = outputs[patient] @ template
    return found
