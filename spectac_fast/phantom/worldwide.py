"""Who is scanned anywhere: the wide population, whose sizes, hearts and uptake go beyond those of the first cohort.

The source stands beside each distribution; "chosen wide" where none is known, so that the truth lies inside.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from spectac_fast.phantom.conditions import BREAST_MM, CONDITIONS, ELEVATION_DEG, HEARTS, WOMEN_ONLY
from spectac_fast.phantom.people import Patient, Uptake, draw
from spectac_fast.terms import PHASES

# BMI of published MPI populations, mean and SD in kg/m2: Western 28 +- 6, Asian 24 +- 3.5, to 45. As the skewed thing
# that it is: a least value plus a lognormal of that mean and SD.
BMI = {"western": (28.0, 6.0, 15.0), "asian": (24.0, 3.5, 14.0)}
BMI_LIMITS = (16.5, 45.0)
# Men: 57 % of 20 418 patients of REFINE SPECT (Slomka et al., J Nucl Cardiol 2020;27:1010), 56 % of 45 252 of its
# second release (Miller et al., J Nucl Med 2024;65:1795).
MEN = 0.57
WESTERN_SHARE = 0.6
# Height in cm, mean and SD for men and women: chosen wide.
HEIGHT = {"western": ((175, 7.5), (162, 7)), "asian": ((167, 6.5), (155, 6))}


def draw_worldwide(seed: int, origin: str | None = None, without: Collection[str] = ()) -> Patient:
    """The patient of a seed in the wide population; origin: "western" or "asian", drawn where None; without: conditions
    of `CONDITIONS` that nobody has.

    What is not drawn anew is as in `people.draw` of the same seed: defects, breathing, the operator's hand.
    """
    rng = np.random.default_rng((seed, 12))
    western = bool(rng.random() < WESTERN_SHARE)
    origin = origin or ("western" if western else "asian")
    patient = _body(draw(seed), rng, origin)
    patient = _heart(patient, rng)
    patient = replace(patient, uptake={phase: _uptake(rng, phase) for phase in PHASES})
    return _conditions(patient, rng, without)


def _bmi(rng: np.random.Generator, origin: str) -> float:
    mean, sd, least = BMI[origin]
    square = math.log(1 + (sd / (mean - least)) ** 2)
    value = math.inf
    while not BMI_LIMITS[0] <= value <= BMI_LIMITS[1]:
        value = least + math.exp(rng.normal(math.log(mean - least) - square / 2, math.sqrt(square)))
    return float(value)


def _body(patient: Patient, rng: np.random.Generator, origin: str) -> Patient:
    male, bmi = bool(rng.random() < MEN), _bmi(rng, origin)
    height, spread = HEIGHT[origin][0 if male else 1]
    more = bmi - 23
    # Men carry fat in the belly, women below the skin: the chest's share differs by as much again. Chosen wide.
    fat = 7 + float(rng.uniform(1.4, 2.2)) * (bmi - 21) + float(rng.normal(0, 2.5)) + (0 if male else 5)
    breast = float(np.clip(40 + 3.6 * more + rng.normal(0, 14), *BREAST_MM))
    return replace(
        patient,
        sex="M" if male else "F",
        height_cm=float(rng.normal(height, spread)),
        bmi=bmi,
        fat=max(4.0, fat),
        breast=0.0 if male else breast,
        breast_z=float(rng.normal(20, 16)),
        # The belly lifts the diaphragm less and less: 0.9 mm a unit at first, as in `people.draw`, 16 mm at most.
        left_dome=float(rng.normal(-12, 9) if male else rng.normal(-20, 9)) + 16 * math.tanh(0.9 * more / 16),
        right_dome_rise=float(rng.normal(15, 7)),
        left_lobe=float(rng.uniform(0, 55)),
        azimuth=float(np.clip(rng.normal(47, 9), 22, 72)),
        elevation=float(np.clip(rng.normal(30 - 0.7 * more, 8), *ELEVATION_DEG)),
        heart_x=float(rng.normal(45, 7)),
        heart_y=float(rng.normal(-25, 7)),
        lung_mu=float(np.clip(rng.normal(0.046, 0.007), 0.028, 0.07)),
        ct_shift=(float(rng.normal(0, 3)), float(rng.normal(0, 3)), float(rng.normal(0, 5))),
    )


def _heart(patient: Patient, rng: np.random.Generator) -> Patient:
    """Volumes and walls about those of `people.draw` (PMC7758747), with Western hearts a little larger: chosen wide."""
    male = patient.sex == "M"
    edv = float(np.clip(rng.normal(118, 32) if male else rng.normal(95, 25), 42, 240))
    return replace(
        patient,
        edv=edv,
        ejection_fraction=float(np.clip(rng.normal(0.61, 0.11) if male else rng.normal(0.66, 0.10), 0.22, 0.85)),
        wall=float(np.clip(rng.normal(9.9, 1.5) if male else rng.normal(8.6, 1.3), 6.0, 14.0)),
        lv_length=(edv / 110) ** (1 / 3) * float(rng.normal(88, 4)),
    )


def _uptake(rng: np.random.Generator, phase: str) -> Uptake:
    """About the values of `people.draw`, which lie around one real study, up to twice as wide: chosen wide. Liver and
    bowel are higher at rest, as with sestamibi and tetrofosmin.
    """
    rest = 1.0 if phase == "stress" else 1.25

    def about(median: float, spread: float, low: float, high: float) -> float:
        return float(np.clip(math.exp(rng.normal(math.log(median), spread)), low, high))

    return Uptake(
        blood=float(rng.uniform(0.03, 0.12)),
        lung=about(0.045, 0.45, 0.015, 0.16),
        muscle=float(rng.uniform(0.05, 0.15)),
        fat=float(rng.uniform(0.010, 0.035)),
        liver=about(0.42 * rest, 0.55, 0.10, 2.0),
        spleen=float(rng.uniform(0.2, 1.0)),
        kidney=float(rng.uniform(0.6, 2.2)),
        gut=about(0.40 * rest, 0.8, 0.05, 4.0),
        gut_wall=about(0.25, 0.5, 0.08, 1.2),
        gallbladder=about(0.8, 0.9, 0.1, 6.0),
        bone=float(rng.uniform(0.06, 0.25)),
        right_ventricle=float(rng.uniform(0.30, 0.75)),
    )


def _conditions(patient: Patient, rng: np.random.Generator, without: Collection[str]) -> Patient:
    taken = False
    for name, (share, change) in CONDITIONS.items():
        has = rng.random() < share and (patient.sex == "F" or name not in WOMEN_ONLY)
        if has and name not in without and not (taken and name in HEARTS):
            patient = change(patient, rng)
            taken = taken or name in HEARTS
    return patient
