"""One patient: how much of a known defect each image shows, and how far the operator's hand moves segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.evidence.clinical.cases import corrected_sa
from spectac_fast.cohort.cuts import working_stacks
from spectac_fast.cohort.paired import facts_of_case
from spectac_fast.evaluate.regional.segments import means, percent_of_maximum, polar_map
from spectac_fast.evaluate.regional.ventricle import Ventricle
from spectac_fast.phantom.people import Defect, Patient
from spectac_fast.phantom.simulate import simulate
from spectac_fast.terms import PLANES

LOSSES = (0.2, 0.4, 0.6)
# Degrees around the long axis, and share of its length.
SIZES = {"small": (50.0, 0.3), "large": (100.0, 0.5)}
MM = (6.8, 6.8, 6.8)
KINDS = ("NC", "AC", "TRUTH")
PIXEL_MM, TILT_DEG = 6.8, 3.0
# A place is of a defect where truth has lost half of what is to be lost there, and remote where it lost nothing.
_WITHIN, _REMOTE = 0.5, 0.02

Maps = Mapping[str, NDArray[np.float64]]


def measured(patient: Patient, translator: Any, device: str) -> dict[str, Any]:
    """contrast: {size: {loss: {image: contrast}}} at stress; moved: {hand: {image: mean absolute change of segments, %
    of maximum}}, corrected images and AC.
    """
    normal = stress_maps(patient, translator, device)
    contrast: dict[str, dict[str, dict[str, float]]] = {}
    for size, (width, length) in SIZES.items():
        for loss in LOSSES:
            ill = stress_maps(replace(patient, defects=(inferior(width, length, loss),)), translator, device)
            contrast.setdefault(size, {})[f"{loss:.0%}"] = contrasts(ill, normal, loss)
    moved = {}
    for name, (shift, tilt) in hands().items():
        centring, angles = np.add(patient.centring, shift), np.add(patient.tilt, tilt)
        other = replace(patient, centring=tuple(centring.tolist()), tilt=tuple(angles.tolist()))
        moved[name] = change(stress_maps(other, translator, device), normal)
    return {"contrast": contrast, "moved": moved}


def hands() -> dict[str, tuple[tuple[float, float, float], tuple[float, float]]]:
    """Other hands of an operator: (mm along the long axis, up, lateral; degrees)."""
    shifts = {"1 pixel along": (PIXEL_MM, 0, 0), "1 pixel up": (0, PIXEL_MM, 0), "1 pixel lateral": (0, 0, PIXEL_MM)}
    tilts = {"3 degrees up": (TILT_DEG, 0.0), "3 degrees lateral": (0.0, TILT_DEG)}
    return {name: (shift, (0.0, 0.0)) for name, shift in shifts.items()} | {
        name: ((0.0, 0.0, 0.0), tilt) for name, tilt in tilts.items()
    }


def inferior(width: float, length: float, loss: float) -> Defect:
    """A defect of the whole inferior wall's thickness, mid-ventricular, at stress and rest."""
    base = 0.5 - length / 2
    return Defect("RCA", -90.0, width, base, base + length, {"stress": loss, "rest": loss}, False)


def stress_maps(patient: Patient, translator: Any, device: str) -> Maps:
    """Polar maps [24, 72] of counts at stress: NC, corrected, AC and truth, on the ventricle as it is."""
    case = simulate(patient, device=device)
    stacks = np.clip(np.rint(working_stacks(case, KINDS)), 0, 65535).astype(np.float32)[0]
    of_kind = {kind: dict(zip(PLANES, stacks[:, k])) for k, kind in enumerate(KINDS)}
    nc = {("stress", plane): stack for plane, stack in of_kind["NC"].items()}
    images = {kind: found["SA"] for kind, found in of_kind.items()}
    facts = facts_of_case({"seed": patient.seed, "sex": patient.sex, "bmi": patient.bmi})
    images["corrected"] = corrected_sa(nc, MM, translator, facts)["stress"]
    ventricle = Ventricle.of_phantom(case.lv)
    return {kind: polar_map(stack, ventricle, MM) for kind, stack in images.items()}


def contrasts(ill: Maps, normal: Maps, loss: float) -> dict[str, float]:
    """1 - defect / remote of every image, both over the same places of the same patient without the defect."""
    lost = 1.0 - ill["TRUTH"] / normal["TRUTH"]
    within, remote = lost > _WITHIN * loss, np.abs(lost) < _REMOTE
    if not within.any() or not remote.any():
        raise ValueError(f"a defect of {loss:.0%} has no place in the polar map.")

    def contrast(kind: str) -> float:
        now, before = (maps[kind][within].mean() / maps[kind][remote].mean() for maps in (ill, normal))
        return float(1.0 - now / before)

    return {kind: contrast(kind) for kind in ("NC", "corrected", "AC", "TRUTH")}


def change(moved: Maps, usual: Maps) -> dict[str, float]:
    """Mean absolute change of the 17 segments, % of maximum, of the corrected image, AC, and the correction alone: what
    is left where AC changes as much.
    """
    segments = {
        kind: [means(percent_of_maximum(maps[kind])) for maps in (moved, usual)] for kind in ("corrected", "AC")
    }
    found = {kind: float(np.abs(now - before).mean()) for kind, (now, before) in segments.items()}
    (now, before), (ac_now, ac_before) = segments["corrected"], segments["AC"]
    return found | {"beyond AC": float(np.abs((now - before) - (ac_now - ac_before)).mean())}
