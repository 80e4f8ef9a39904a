"""Fluid, implants, arms and bowel: what some patients have and the ordinary torso has not.

Soft shapes in the torso's frame (LPS mm, arrays [z, y, x]), laid over its attenuation and activity in the order given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from spectac_fast.phantom.canvas import TORSO_CENTRE_Y, Canvas
from spectac_fast.phantom.heart import HeartFrame, occupancy
from spectac_fast.phantom.people import Patient
from spectac_fast.reconstruct.camera import blur
from spectac_fast.terms import PHASES

# 1/cm at 140 keV: fluid and bowel as water; a titanium can with its battery by its mean density, chosen.
MU_FLUID, MU_MUSCLE, MU_HUMERUS, MU_GENERATOR, MU_GAS = 0.153, 0.153, 0.24, 0.45, 0.010
FLUID_UPTAKE = 0.02
# Skin and fat over an implant, mm.
COVER_MM = 10.0

Point: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Part:
    """Share of every voxel [nz, n, n] that is of this material, its attenuation in 1/cm and its uptake per phase."""

    where: Tensor
    mu: float
    uptake: Mapping[str, float]


def _cold(where: Tensor, mu: float, uptake: float = 0.0) -> Part:
    return Part(where, mu, dict.fromkeys(PHASES, uptake))


def implants(patient: Patient, half_width: float, front: float) -> list[tuple[Point, Point]]:
    """(centre, radii) of breast implants: oblate, 0.45 as deep as wide, on the chest wall at y = front, none over the
    breastbone however narrow the chest."""
    found = []
    for side, volume in zip((-1, 1), patient.findings.implants_ml, strict=True):
        if volume > 0:
            radius = (1000 * volume / (4 / 3 * math.pi * 0.45)) ** (1 / 3)
            beside = max(0.52 * half_width, radius + COVER_MM)
            centre = (side * beside, front - 6 - 0.45 * radius, patient.breast_z)
            found.append((centre, (radius, 0.45 * radius, radius)))
    return found


def arms(patient: Patient, canvas: Canvas, skin_width: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(depth inside an upper arm, depth inside its bone), mm, of both arms hanging beside the chest."""
    radius = patient.findings.arms_down
    if not radius:
        return []
    found = []
    for side in (-1, 1):
        off = torch.sqrt((canvas.x - side * (skin_width + radius)) ** 2 + (canvas.y - 20.0) ** 2)
        found.append((radius - off, 11.0 - off))
    return found


def parts(
    patient: Patient,
    canvas: Canvas,
    torso: Mapping[str, Tensor],
    organs: Mapping[str, Tensor],
    heart: Mapping[str, Tensor],
    frame: HeartFrame,
) -> list[Part]:
    """Everything that the patient's findings add, in the order in which it covers the torso; most patients: nothing."""
    return [
        *_breasts_and_arms(patient, canvas, torso),
        *_fluid(patient, canvas, torso, organs, heart),
        *_hernia(patient, canvas, heart),
        *_bowel(patient, frame, organs),
    ]


def _breasts_and_arms(patient: Patient, canvas: Canvas, torso: Mapping[str, Tensor]) -> list[Part]:
    findings, half_depth = patient.findings, float(torso["half_depth"])
    front = TORSO_CENTRE_Y - half_depth - 8
    found = [
        _cold(canvas.organ(centre, radii), findings.implant_mu)
        for centre, radii in implants(patient, float(torso["half_width"]), front)
    ]
    if findings.generator:
        can = canvas.organ((80.0, front - 8, 125.0), (25.0, 6.0, 25.0)) * torso["body"]
        found.append(_cold(can, MU_GENERATOR))
    for arm, bone in arms(patient, canvas, torso["skin_width"]):
        muscle = {phase: patient.uptake[phase].muscle for phase in PHASES}
        found.append(Part(occupancy(arm - 0.2 * findings.arms_down), MU_MUSCLE, muscle))
        found.append(_cold(occupancy(bone), MU_HUMERUS, patient.uptake[PHASES[0]].bone))
    return found


def _fluid(
    patient: Patient,
    canvas: Canvas,
    torso: Mapping[str, Tensor],
    organs: Mapping[str, Tensor],
    heart: Mapping[str, Tensor],
) -> list[Part]:
    findings, found = patient.findings, []
    back = TORSO_CENTRE_Y + float(torso["half_depth"]) - 12
    for side, thickness in zip((-1, 1), findings.pleural, strict=True):
        if thickness:
            # Fluid lies at the back of a supine patient, deepest above the diaphragm.
            layer = occupancy(canvas.y - (back - thickness) - 0.15 * canvas.z.clamp(min=-40.0))
            found.append(_cold(layer * organs["lung"] * (side * canvas.x > 0), MU_FLUID, FLUID_UPTAKE))
    if findings.pericardial:
        # A blurred surface falls to 0.16 one standard deviation outside.
        near = blur(heart["whole"], findings.pericardial, canvas.dx)
        shell = torch.sigmoid((near - 0.16) * 40) * (1 - heart["whole"]) * (1 - organs["abdomen"])
        found.append(_cold(shell, MU_FLUID, FLUID_UPTAKE))
    return found


def _hernia(patient: Patient, canvas: Canvas, heart: Mapping[str, Tensor]) -> list[Part]:
    findings = patient.findings
    if not findings.hernia:
        return []
    radius = findings.hernia
    centre = (12.0, TORSO_CENTRE_Y + 18, -14.0)
    outside = 1 - heart["whole"]
    found = [_cold(canvas.organ(centre, (radius, 0.8 * radius, 1.1 * radius)) * outside, 0.152, findings.hernia_uptake)]
    if findings.hernia_gas:
        # Gas rises to the front of a supine patient's stomach.
        above = (centre[0], centre[1] - 0.25 * radius, centre[2])
        gas = canvas.organ(above, (0.8 * radius, 0.45 * radius, 0.85 * radius)) * outside
        found.append(_cold(gas, MU_GAS))
    return found


def _bowel(patient: Patient, frame: HeartFrame, organs: Mapping[str, Tensor]) -> list[Part]:
    findings = patient.findings
    if not findings.bowel:
        return []
    radius = findings.bowel
    epi = max(shell.epi_radius for shell in frame.lv.shells)
    along, across = findings.bowel_at
    offsets = ((frame.s - along) / (1.8 * radius), (frame.u + epi + findings.bowel_gap + radius) / radius)
    loop = 1 - torch.sqrt(offsets[0] ** 2 + offsets[1] ** 2 + ((frame.v - across) / (1.4 * radius)) ** 2)
    where = occupancy(loop * radius) * (1 - organs["pericardium"])
    return [Part(where, 0.152, dict(zip(PHASES, findings.bowel_uptake, strict=True)))]
