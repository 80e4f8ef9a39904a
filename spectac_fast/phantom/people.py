"""Who is scanned: the population from which synthetic patients are drawn.

Every quantity is a physical or physiological one, with the source of its distribution beside it. Nothing here is
fitted to an NC/AC ratio. Frame throughout: patient LPS in mm, x to the left, y to the back, z to the head, z = 0 at
the centre of the left ventricle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from spectac_fast.phantom.findings import Findings
from spectac_fast.terms import PHASES

TERRITORY_ANGLE = {"LAD": 110.0, "RCA": -100.0, "LCX": 0.0}


@dataclass(frozen=True)
class Defect:
    """A perfusion defect: centre and width around the long axis (degrees: 0 lateral, 90 anterior, 180 septal, -90
    inferior), extent along it (0 base .. 1 apex), loss of uptake at stress and at rest (0..1), and whether it is
    confined to the subendocardial half.
    """

    territory: str
    angle: float
    width: float
    base: float
    apex: float
    loss: dict[str, float]
    subendocardial: bool


@dataclass(frozen=True)
class Uptake:
    """Activity concentrations relative to normal myocardium = 1."""

    blood: float
    lung: float
    muscle: float
    fat: float
    liver: float
    spleen: float
    kidney: float
    gut: float
    gut_wall: float
    gallbladder: float
    bone: float
    right_ventricle: float


@dataclass(frozen=True)
class Patient:
    """One synthetic patient. Lengths in mm, volumes in ml, angles in degrees."""

    seed: int
    sex: str
    height_cm: float
    bmi: float
    fat: float
    breast: float
    breast_z: float
    edv: float
    ejection_fraction: float
    wall: float
    apical_thinning: float
    lv_length: float
    azimuth: float
    elevation: float
    heart_x: float
    heart_y: float
    left_dome: float
    right_dome_rise: float
    left_lobe: float
    stomach_gas: bool
    lung_mu: float
    uptake: dict[str, Uptake]
    counts: dict[str, float]
    defects: tuple[Defect, ...]
    respiration_sd: float
    ct_shift: tuple[float, float, float]
    scatter_error: dict[str, float]
    centring: tuple[float, float, float]
    tilt: tuple[float, float]
    findings: Findings = field(default_factory=Findings)

    @property
    def normal(self) -> bool:
        """True where the patient has no perfusion defect."""
        return not self.defects


def draw(seed: int) -> Patient:
    """The patient of a seed: the same seed always gives the same patient.

    Sources: body size of Vietnamese adults of 55-70 years; LV volumes, ejection fraction and wall thickness from CT
    of 172 Korean adults (PMC7758747, table 3); respiratory excursion of the diaphragm from 1103 patients (PMC7714447:
    1.1-37.4 mm, 33 % above 10 mm); uptake ratios around one real GE study; share and size of defects are modelling
    choices.
    """
    rng = np.random.default_rng((seed, 1))
    uniform, normal = rng.uniform, rng.normal
    male = bool(rng.random() < 0.62)
    bmi = float(np.clip(normal(23.6, 3.1) if male else normal(23.2, 3.4), 17, 38))
    edv = float(np.clip(normal(113, 26) if male else normal(98, 21), 50, 220))
    liver = math.exp(normal(math.log(0.36), 0.45))
    uptake, counts, scatter_error = {}, {}, {}
    for phase in PHASES:
        stress = phase == "stress"
        hepatic = 1.0 if stress else 1.25
        uptake[phase] = Uptake(
            blood=uniform(0.04, 0.09),
            lung=uniform(0.025, 0.05),
            muscle=uniform(0.07, 0.13) if stress else uniform(0.055, 0.10),
            fat=uniform(0.012, 0.03),
            liver=float(np.clip(liver * hepatic * uniform(0.85, 1.15), 0.12, 1.2)),
            spleen=uniform(0.3, 0.7),
            kidney=uniform(0.8, 1.8),
            gut=math.exp(normal(math.log(0.35 * hepatic), 0.6)),
            gut_wall=uniform(0.15, 0.35),
            gallbladder=min(math.exp(normal(math.log(0.8), 0.7)), 3.0),
            bone=uniform(0.10, 0.2),
            right_ventricle=uniform(0.35, 0.6),
        )
        counts[phase] = math.exp(normal(math.log(5.3e6 if stress else 4.9e6), 0.25))
        scatter_error[phase] = float(1 + 0.08 * np.clip(normal(), -2.5, 2.5))
    return Patient(
        seed=seed,
        sex="M" if male else "F",
        height_cm=normal(166, 6) if male else normal(155, 5.5),
        bmi=bmi,
        fat=max(4.0, 7 + 2.0 * (bmi - 21) + normal(0, 2) + (0 if male else 5)),
        breast=0.0 if male else float(np.clip(40 + 4.0 * (bmi - 23) + normal(0, 12), 14, 95)),
        breast_z=normal(24, 12),
        edv=edv,
        ejection_fraction=float(np.clip(normal(0.634, 0.085) if male else normal(0.664, 0.08), 0.28, 0.82)),
        wall=float(np.clip(normal(9.9, 1.2) if male else normal(8.4, 1.0), 6.5, 13.5)),
        apical_thinning=uniform(0.7, 0.9),
        lv_length=(edv / 110) ** (1 / 3) * normal(88, 3),
        azimuth=float(np.clip(normal(47, 8), 25, 70)),
        elevation=float(np.clip(normal(30 - 0.7 * (bmi - 23), 7), 8, 48)),
        heart_x=normal(45, 6),
        heart_y=normal(-25, 6),
        left_dome=(normal(-12, 8) if male else normal(-20, 8)) + 0.9 * (bmi - 23),
        right_dome_rise=normal(15, 5),
        left_lobe=uniform(0, 45),
        stomach_gas=bool(rng.random() < 0.5),
        lung_mu=normal(0.045, 0.004),
        uptake=uptake,
        counts=counts,
        defects=_draw_defects(rng),
        respiration_sd=0.354 * float(np.clip(math.exp(normal(math.log(8.0), 0.5)), 1.1, 37)),
        ct_shift=(normal(0, 2.5), normal(0, 2.5), normal(0, 4.0)),
        scatter_error=scatter_error,
        centring=(normal(0, 2.0), normal(0, 2.0), normal(0, 2.0)),
        tilt=(normal(0, 2.0), normal(0, 2.0)),
    )


def _draw_defects(rng: np.random.Generator) -> tuple[Defect, ...]:
    if rng.random() >= 0.55:
        return ()
    territories = rng.choice(
        list(TERRITORY_ANGLE), size=1 + int(rng.random() < 0.25), replace=False, p=[0.45, 0.33, 0.22]
    )
    defects = []
    for territory in map(str, territories):
        to_apex = territory == "LAD" and rng.random() < 0.6
        base = rng.uniform(0.25, 0.55) if territory == "LAD" else rng.uniform(0.05, 0.35)
        loss = rng.uniform(0.25, 0.8)
        reversible = (0.0, rng.uniform(0.3, 0.7), 1.0)[int(rng.choice(3, p=[0.3, 0.3, 0.4]))]
        defects.append(
            Defect(
                territory=territory,
                angle=TERRITORY_ANGLE[territory] + rng.normal(0, 12),
                width=rng.uniform(60, 130),
                base=base,
                apex=1.05 if to_apex else base + rng.uniform(0.3, 0.55),
                loss={"stress": loss, "rest": loss * (1 - reversible)},
                subendocardial=bool(rng.random() < 0.3),
            )
        )
    return tuple(defects)
