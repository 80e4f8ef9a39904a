"""Protocols by name: the first cohort's, which is the default, others that change one thing of it, and `random`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from spectac_fast.phantom.conditions import CONDITIONS, Change, inferior_defect, prone, with_bmi
from spectac_fast.phantom.drawn import draw_protocol
from spectac_fast.phantom.people import Patient, draw
from spectac_fast.phantom.protocol import HANOI, RANDOM, Camera, Field, Protocol
from spectac_fast.phantom.worldwide import draw_worldwide
from spectac_fast.reconstruct.settings import Filter


@dataclass(frozen=True)
class Plan:
    """How a study is made, of whom (origin "western" or "asian"; None: the first cohort's patients), and what is
    changed in each patient.
    """

    protocol: Protocol = HANOI
    origin: str | None = None
    change: Change | None = None


def _study(**changes: Any) -> Plan:
    return Plan(replace(HANOI, **changes))


def _camera(**changes: Any) -> Plan:
    return _study(camera=replace(HANOI.camera, **changes))


def _nc(**changes: Any) -> Plan:
    return _study(nc=replace(HANOI.nc, **changes))


def _ac(**changes: Any) -> Plan:
    return _study(ac=replace(HANOI.ac, **changes))


def _both(camera: Camera = HANOI.camera, **changes: Any) -> Plan:
    return _study(camera=camera, nc=replace(HANOI.nc, **changes), ac=replace(HANOI.ac, **changes))


def _patient(change: Change) -> Plan:
    return replace(_camera(body_mm=None), change=change)


PLANS: dict[str, Plan] = {
    "hanoi": Plan(),
    # Reconstruction.
    "fbp": _nc(method="FBP"),
    "fbp-hann": _nc(method="FBP", filter=Filter("hann", 0.85)),
    "osem-2x10": _both(replace(HANOI.camera, views=60), iterations=2, subsets=10),
    "osem-12x8": _both(iterations=12),
    "rr": _both(resolution_recovery=True),
    "butterworth-30": _both(filter=Filter(cutoff=0.30)),
    "gaussian-12": _both(filter=Filter("gaussian", fwhm_mm=12.0)),
    "hann-70": _both(filter=Filter("hann", 0.70)),
    "no-scatter-correction": _ac(scatter="none"),
    "dew": _ac(scatter="dew"),
    "exact-scatter": _ac(scatter="exact"),
    "exact-map": _study(exact_map=True),
    # Camera. 30 views do not divide into 8 subsets; 5 x 6 come nearest to 4 x 8.
    "arc360": _camera(arc=360.0),
    "views30": _both(replace(HANOI.camera, views=30), iterations=5, subsets=6),
    "views120": _camera(views=120),
    "legp": _camera(collimator="LEGP"),
    "czt": _both(
        Camera("CZT", 64, 4.92, 120, radius_mm=None, clearance_mm=20.0, heart_centred=True, scatter_share=0.7),
        resolution_recovery=True,
    ),
    "matrix128": _camera(matrix=128, pixel_mm=3.4),
    "pixels-5": _camera(pixel_mm=5.0),
    # Over the body's contour with a gap, where the first cohort's circle of 245 mm is.
    "contour": _camera(radius_mm=None, clearance_mm=20.0, contour=True),
    "counts-quarter": _study(counts=0.25),
    "counts-half": _study(counts=0.5),
    "counts-double": _study(counts=2.0),
    # What is kept of the field.
    "box": _study(field=Field("zeroed", 85.0)),
    "ball": _study(field=Field("zeroed", 85.0, round=True)),
    "cropped": _study(field=Field("cropped", 85.0)),
    # The patient.
    "no-attenuation": _study(attenuation=False),
    "prone": replace(_study(position="prone"), change=prone),
    "inferior-defect": _patient(inferior_defect),
    "bmi40": _patient(lambda patient, rng: with_bmi(patient, 40.0)),
    **{name: _patient(change) for name, (_, change) in CONDITIONS.items()},
    "western": replace(_camera(body_mm=None), origin="western"),
    "asian": replace(_camera(body_mm=None), origin="asian"),
}


def planned(name: str, seed: int, *, acquisition: int = 0, without: Collection[str] = ()) -> tuple[Patient, Protocol]:
    """The patient and the protocol of a seed under a protocol's name.

    name: of `protocol.NAMES`; without: of `protocol.LEFT_OUT`, what a random draw must not be. KeyError for another
    name.
    """
    if name == RANDOM:
        protocol = replace(draw_protocol(seed, without), acquisition=acquisition)
        return _drawn_patient(seed, protocol, without), protocol
    plan = PLANS[name]
    patient = draw(seed) if plan.origin is None else draw_worldwide(seed, plan.origin)
    if plan.change is not None:
        patient = plan.change(patient, np.random.default_rng((seed, 13)))
    return patient, replace(plan.protocol, name=name, acquisition=acquisition)


def _drawn_patient(seed: int, protocol: Protocol, without: Collection[str]) -> Patient:
    """Of the wide population; under the first cohort's protocol, one of its own."""
    if protocol.name == HANOI.name:
        return draw(seed)
    patient = draw_worldwide(seed, without=without)
    return prone(patient, np.random.default_rng((seed, 13))) if protocol.position == "prone" else patient
