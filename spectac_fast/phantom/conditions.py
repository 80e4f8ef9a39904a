"""What a department meets beside ordinary patients: each condition changes one patient, everything else stays.

Sizes and shares are chosen wide, above what a department sees, so that no training is without them, unless a source is
named: DePuey (J Nucl Med 1994;35:699) lists breast, diaphragm, bowel, hernia, arms and left bundle branch block as the
artefacts of the day; Pitman et al. (2005) found the inferior wall cold or very variable where bowel or liver reach half
the heart's uptake or all of it; DePuey et al. (J Nucl Med 1988;29:1479) the septum of left bundle branch block reduced
at stress and less at rest; Segall and Davis (J Nucl Med 1989;30:548) the inferior wall restored by lying prone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from spectac_fast.phantom.people import TERRITORY_ANGLE, Defect, Patient

Change = Callable[[Patient, np.random.Generator], Patient]

BREAST_MM = (14.0, 95.0)
ELEVATION_DEG = (8.0, 48.0)


def with_bmi(patient: Patient, bmi: float) -> Patient:
    """The same patient heavier or lighter, by the slopes of `people.draw`: fat, breast, diaphragm and pose follow."""
    more = bmi - patient.bmi
    breast = 0.0 if patient.sex == "M" else float(np.clip(patient.breast + 4.0 * more, *BREAST_MM))
    return replace(
        patient,
        bmi=bmi,
        fat=max(4.0, patient.fat + 2.0 * more),
        breast=breast,
        left_dome=patient.left_dome + 0.9 * more,
        elevation=float(np.clip(patient.elevation - 0.7 * more, *ELEVATION_DEG)),
    )


def _found(patient: Patient, name: str, **values: Any) -> Patient:
    names = (*patient.findings.names, name)
    return replace(patient, findings=replace(patient.findings, names=names, **values))


def _woman(patient: Patient) -> Patient:
    return patient if patient.sex == "F" else replace(patient, sex="F", breast=40.0)


def _side(rng: np.random.Generator) -> tuple[bool, bool]:
    left = bool(rng.random() < 0.5)
    return not left, left


def implant(patient: Patient, rng: np.random.Generator) -> Patient:
    """Both sides in two of three. Silicone 0.147 /cm (its elements by XCOM at 140 keV, 0.97 g/ml), else saline."""
    volume, both, side = float(rng.uniform(200, 450)), bool(rng.random() < 0.67), _side(rng)
    volumes = (volume, volume) if both else tuple(volume * s for s in side)
    mu = 0.147 if rng.random() < 0.7 else 0.154
    return _found(_woman(patient), "breast implant", implants_ml=volumes, implant_mu=mu)


def mastectomy(patient: Patient, rng: np.random.Generator) -> Patient:
    """One breast of a woman removed; both in one of eight."""
    side, both = _side(rng), bool(rng.random() < 0.125)
    return _found(_woman(patient), "mastectomy", removed=(True, True) if both else side)


def effusion(patient: Patient, rng: np.random.Generator) -> Patient:
    """Fluid in the left pleura, the right, both, or around the heart."""
    kind, depth = rng.choice(["left", "right", "both", "heart"], p=[0.35, 0.2, 0.25, 0.2]), float(rng.uniform(15, 55))
    pleural = (depth if kind in ("right", "both") else 0.0, depth if kind in ("left", "both") else 0.0)
    thickness = float(rng.uniform(5, 14)) if kind == "heart" else 0.0
    name = "pericardial effusion" if kind == "heart" else "pleural effusion"
    return _found(patient, name, pleural=pleural, pericardial=thickness)


def high_diaphragm(patient: Patient, rng: np.random.Generator) -> Patient:
    """The left dome beside the heart instead of below it."""
    raised = replace(patient, left_dome=patient.left_dome + float(rng.uniform(12, 28)))
    return _found(raised, "high diaphragm")


def hernia(patient: Patient, rng: np.random.Generator) -> Patient:
    """A part of the stomach behind the heart, often with gas, sometimes with tracer that flowed back."""
    uptake = float(np.exp(rng.normal(np.log(0.25), 0.8)).clip(0.05, 2.0))
    gas = bool(rng.random() < 0.5)
    radius = float(rng.uniform(20, 38))
    return _found(patient, "hiatal hernia", hernia=radius, hernia_gas=gas, hernia_uptake=uptake)


def bowel(patient: Patient, rng: np.random.Generator) -> Patient:
    """A loop of bowel or the left lobe's edge a few millimetres below the inferior wall, at 0.4 to 3 of its uptake."""
    hot = float(np.exp(rng.uniform(np.log(0.4), np.log(3.0))))
    return _found(
        patient,
        "bowel beside the inferior wall",
        bowel=float(rng.uniform(9, 18)),
        bowel_gap=float(rng.uniform(2, 16)),
        bowel_at=(float(rng.uniform(10, 60)), float(rng.uniform(-22, 22))),
        bowel_uptake=(hot, hot * float(rng.uniform(0.5, 1.4))),
    )


def dextrocardia(patient: Patient, rng: np.random.Generator) -> Patient:
    """All organs on the other side."""
    return _found(patient, "dextrocardia", mirrored=True)


def dilated(patient: Patient, rng: np.random.Generator) -> Patient:
    """A large, round, weak ventricle; its apex may not pierce the chest, so it lies deeper."""
    edv, longer = float(rng.uniform(190, 330)), float(rng.normal(0, 3))
    length = (edv / 110) ** (1 / 3) * (84 + longer)
    larger = replace(
        patient,
        edv=edv,
        ejection_fraction=float(rng.uniform(0.15, 0.40)),
        wall=float(rng.uniform(7.0, 10.0)),
        lv_length=length,
        heart_x=patient.heart_x - 0.20 * (length - 88),
        heart_y=patient.heart_y + 0.35 * (length - 88),
    )
    return _found(larger, "dilated heart", sphericity=float(rng.uniform(0.52, 0.62)))


def hypertrophic(patient: Patient, rng: np.random.Generator) -> Patient:
    """A thick wall about a small cavity; in half of them the septum is thicker than the rest."""
    thicker = replace(
        patient,
        edv=float(rng.uniform(60, 105)),
        ejection_fraction=float(rng.uniform(0.60, 0.82)),
        wall=float(rng.uniform(13.0, 19.0)),
        apical_thinning=float(rng.uniform(0.8, 1.1)),
    )
    septum = float(rng.uniform(1.2, 1.7)) if rng.random() < 0.5 else 1.0
    return _found(thicker, "hypertrophic heart", septal_wall=septum)


def left_bundle(patient: Patient, rng: np.random.Generator) -> Patient:
    """Left bundle branch block: the septum takes up less, most at stress, without a narrowed artery."""
    loss = float(rng.uniform(0.10, 0.40))
    return _found(patient, "left bundle branch block", septal_loss=(loss, loss * float(rng.uniform(0.5, 1.0))))


def arms_down(patient: Patient, rng: np.random.Generator) -> Patient:
    """Both arms beside the chest, in the way of every lateral view."""
    radius = float(np.clip(38 + 1.2 * (patient.bmi - 23) + rng.normal(0, 4), 32, 64))
    return _found(patient, "arms down", arms_down=radius)


def pacemaker(patient: Patient, rng: np.random.Generator) -> Patient:
    """A generator below the left collarbone; its lead makes the septum late, as left bundle branch block does."""
    return _found(left_bundle(patient, rng), "pacemaker", generator=True)


def prone(patient: Patient, rng: np.random.Generator) -> Patient:
    """Lying on the front: the diaphragm sinks, the heart comes to the chest wall, breasts are pressed flat."""
    lying = replace(
        patient,
        left_dome=patient.left_dome - float(rng.uniform(6, 16)),
        heart_y=patient.heart_y - float(rng.uniform(2, 8)),
        breast=0.8 * patient.breast,
    )
    return _found(lying, "prone")


def inferior_defect(patient: Patient, rng: np.random.Generator) -> Patient:
    """A defect of the inferior wall and no other, from a mild and small one on, fixed in half of them: what the
    diaphragm's shadow looks like, most of all in men.
    """
    base, loss = float(rng.uniform(0.10, 0.40)), float(rng.uniform(0.12, 0.70))
    reversible = 0.0 if rng.random() < 0.5 else float(rng.uniform(0.3, 1.0))
    defect = Defect(
        territory="RCA",
        angle=TERRITORY_ANGLE["RCA"] + float(rng.uniform(-15, 35)),
        width=float(rng.uniform(40, 120)),
        base=base,
        apex=base + float(rng.uniform(0.25, 0.60)),
        loss={"stress": loss, "rest": loss * (1 - reversible)},
        subendocardial=bool(rng.random() < 0.15),
    )
    return replace(patient, defects=(defect,))


# Condition -> (share of all patients, or of women where only they can have it; the change).
CONDITIONS: dict[str, tuple[float, Change]] = {
    "dilated": (0.08, dilated),
    "hypertrophic": (0.07, hypertrophic),
    "lbbb": (0.07, left_bundle),
    "pacemaker": (0.04, pacemaker),
    "implant": (0.06, implant),
    "mastectomy": (0.05, mastectomy),
    "effusion": (0.07, effusion),
    "high-diaphragm": (0.12, high_diaphragm),
    "hernia": (0.06, hernia),
    "bowel": (0.18, bowel),
    "arms-down": (0.08, arms_down),
    "dextrocardia": (0.03, dextrocardia),
}
WOMEN_ONLY = ("implant", "mastectomy")
# Of these a heart has one at most.
HEARTS = ("dilated", "hypertrophic", "lbbb", "pacemaker")
