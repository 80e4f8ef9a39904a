"""The torso: attenuation map at 140 keV and activity at stress and rest on one voxel grid.

Shapes are soft-edged superellipses and ellipsoids whose sizes follow the patient's height, BMI and sex. Frame: LPS
mm, arrays [z, y, x].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from spectac_fast.phantom.canvas import TORSO_CENTRE_Y, Canvas
from spectac_fast.phantom.extras import COVER_MM, arms, implants, parts
from spectac_fast.phantom.heart import HeartFrame, Ventricle, mirror, occupancy, ventricle
from spectac_fast.phantom.people import Patient, Uptake
from spectac_fast.reconstruct.camera import blur
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.terms import PHASES

MU_FAT, MU_SOFT, MU_HEART, MU_ABDOMEN, MU_GAS, MU_BONE = 0.140, 0.153, 0.155, 0.152, 0.010, 0.215
CT_RESOLUTION_SIGMA = 4.0


@dataclass(frozen=True)
class Anatomy:
    """What the camera sees. Tensors [nz, n, n] float32; activities and `muscle` (LV wall times perfusion) per phase."""

    grid: Grid
    lv: Ventricle
    mu_emission: Tensor
    mu_ct: Tensor
    activity: dict[str, Tensor]
    muscle: dict[str, Tensor]


def build(patient: Patient, grid: Grid, device: str = "cpu") -> Anatomy:
    """The patient on a grid. Deterministic in the patient's seed on a given device."""
    rng = np.random.default_rng((patient.seed, 2))
    canvas = Canvas(grid, device, patient.findings.mirrored)
    lv = ventricle(patient)
    frame = HeartFrame(patient, lv, canvas.x, canvas.y, canvas.z)
    torso = _torso(patient, canvas)
    heart = _heart(frame, lv)
    organs = _organs(patient, canvas, torso, heart, rng)
    extra = parts(patient, canvas, torso, organs, heart, frame)
    mu = _attenuation(patient, torso, organs)
    for part in extra:
        mu = mu + part.where * (part.mu - mu)
    breathing = (torso["cavity_wide"] + organs["abdomen"]).clamp(0, 1)

    def breathe(volume: Tensor) -> Tensor:
        moved = blur(volume, (patient.respiration_sd, 0.0, 0.0), grid.dx)
        return volume + breathing * (moved - volume)

    texture = _texture(grid, rng, device)
    activity, muscle = {}, {}
    for phase in PHASES:
        filled, wall = frame.cavity_and_wall(phase)
        still = _activity(patient.uptake[phase], torso, organs, heart, texture, filled, wall)
        for part in extra:
            still = still + part.where * (part.uptake[phase] - still)
        activity[phase] = breathe(still) * (torso["body"] > 0.02)
        muscle[phase] = blur(wall, (patient.respiration_sd, 0.0, 0.0), grid.dx)
    seen = replace(lv, axes=mirror(lv.axes)) if patient.findings.mirrored else lv
    return Anatomy(grid, seen, breathe(mu), _ct_map(mu, patient.ct_shift, grid), activity, muscle)


def _torso(p: Patient, c: Canvas) -> dict[str, Tensor]:
    male, scale = p.sex == "M", p.height_cm / 165.0
    half_width, half_depth = (150 * scale, 97 * scale) if male else (138 * scale, 88 * scale)
    shoulders = torch.clamp((c.z + 60) / 150, 0, 1)
    belly = torch.clamp((-60 - c.z) / 100, min=0)
    skin_width = half_width + 8 + p.fat * (1 + 0.3 * belly) + 8 * shoulders
    front = half_depth + 8 + p.fat * (0.75 + 0.5 * belly)
    back = torch.full_like(front, half_depth + 8 + p.fat * 0.6)
    skin_depth = torch.where(c.y < TORSO_CENTRE_Y, front, back)
    body = occupancy(c.outline(skin_width, skin_depth, 2.4, half_depth), 2.0)
    if not male:
        t = p.breast
        for side, removed in zip((-1, 1), p.findings.removed, strict=True):
            if removed:
                continue
            centre = (side * 0.56 * half_width, TORSO_CENTRE_Y - half_depth - 0.30 * t + 12, p.breast_z - 0.15 * t)
            body = torch.maximum(
                body, occupancy(c.ellipsoid(centre, (54 + 0.45 * t, 0.55 * t + 16, 46 + 0.4 * t)), 2.0)
            )
    for centre, (wide, deep, high) in implants(p, half_width, TORSO_CENTRE_Y - half_depth - 8):
        covered = (wide + COVER_MM, deep + COVER_MM, high + COVER_MM)
        body = torch.maximum(body, occupancy(c.ellipsoid(centre, covered), 2.0))
    for arm, _ in arms(p, c, skin_width):
        body = torch.maximum(body, occupancy(arm, 2.0))
    cavity = c.outline(half_width - 10, half_depth - 12, 2.2, half_depth).expand(c.z.shape[0], -1, -1)
    rib_shell = (c.outline(half_width + 2, half_depth, 2.2, half_depth) > 0) & (cavity < 0)
    return {
        "body": body,
        "muscle": occupancy(c.outline(half_width + 8, half_depth + 8, 2.4, half_depth), 2.0) * body,
        "cavity": cavity,
        "cavity_wide": occupancy(cavity, 6.0),
        "rib_shell": rib_shell.float(),
        "half_depth": torch.tensor(half_depth),
        "half_width": torch.tensor(half_width),
        "skin_width": skin_width,
    }


def _heart(frame: HeartFrame, lv: Ventricle) -> dict[str, Tensor]:
    """Right ventricle, atria and the blood pool about them."""
    s, u, v = frame.s, frame.u, frame.v
    epi = max(shell.epi_radius for shell in lv.shells)
    length = max(shell.epi_length for shell in lv.shells)

    def ellipsoid(ds: float, du: float, dv: float, rs: float, ru: float, rv: float) -> Tensor:
        return 1 - torch.sqrt(((s - ds) / rs) ** 2 + ((u - du) / ru) ** 2 + ((v - dv) / rv) ** 2)

    right = ellipsoid(22, -2, -epi - 4, 62, 36, 34) * 34
    atria = ellipsoid(-26, 2, -14, 34, 40, 52) * 36
    left = torch.minimum(frame.depth(epi, length), s + 8)
    whole = torch.maximum(torch.maximum(occupancy(right), occupancy(atria)), occupancy(left))
    right_wall = (
        occupancy(right) * (1 - occupancy(right - 4.0)) * occupancy(s) * (1 - occupancy(torch.minimum(left, s + 2)))
    )
    return {"whole": whole, "right_wall": right_wall}


def _organs(
    p: Patient, c: Canvas, torso: dict[str, Tensor], heart: dict[str, Tensor], rng: np.random.Generator
) -> dict[str, Tensor]:
    yc, depth = TORSO_CENTRE_Y, float(torso["half_depth"])
    left, right = p.left_dome, p.left_dome + p.right_dome_rise
    dome = torch.maximum(
        right - ((c.x + 72) / 70) ** 2 * 40 - ((c.y - yc) / 75) ** 2 * 42,
        left - ((c.x - 68) / 68) ** 2 * 38 - ((c.y - yc - 5) / 75) ** 2 * 40,
    )
    dome = torch.maximum(dome, min(left, right) - 12 - ((c.y - yc) / 85) ** 2 * 30 - torch.abs(c.x) * 0.02)
    above = occupancy(c.z - dome, 2.0)
    pericardium = torch.maximum(heart["whole"], (blur(heart["whole"], 5.0, c.dx) > 0.25).float())
    width = 26 + 0.10 * torch.abs(c.z) + torch.where(c.y > yc + 20, 6.0, 0.0)
    mediastinum = occupancy(width - torch.abs(c.x - 4)) * occupancy(torso["cavity"])
    lung = occupancy(torso["cavity"]) * above * (1 - torch.maximum(pericardium, mediastinum))
    abdomen = torso["body"] * (1 - above) * occupancy(torso["cavity"] + 4)
    lobe = p.left_lobe
    liver = abdomen * torch.maximum(
        occupancy(-12 - c.x - 0.25 * (c.y - yc) - 0.15 * (c.z - right)) * occupancy(c.z - (right - 135)),
        c.organ((-5 + lobe * 0.5, yc - 38, left - 32), (45 + lobe, 42, 34)),
    )
    stomach = abdomen * c.organ((72, yc - 8, left - 42), (40, 42, 36)) * (1 - liver)
    gas = abdomen * c.organ((74, yc - 14, left - 34), (26, 24, 18)) * float(p.stomach_gas) * (1 - liver)
    spleen = abdomen * c.organ((100, yc + 45, left - 46), (30, 38, 48)) * (1 - stomach)
    kidneys = torch.maximum(
        c.organ((62, yc + 55, left - 105), (28, 26, 52)), c.organ((-62, yc + 55, left - 120), (28, 26, 52))
    )
    gut = torch.zeros_like(abdomen)
    for _ in range(rng.integers(3, 8)):
        centre = (rng.uniform(-50, 95), rng.uniform(-45, 25) + yc - 15, left - rng.uniform(62, 130))
        radii = (rng.uniform(12, 34), rng.uniform(12, 22), rng.uniform(12, 24))
        gut = torch.maximum(gut, c.organ(centre, radii) * rng.uniform(0.3, 1.0))
    return {
        "above": above,
        "abdomen": abdomen,
        "pericardium": pericardium,
        "lung": lung,
        "liver": liver,
        "stomach": stomach,
        "gas": gas,
        "spleen": spleen,
        "kidneys": kidneys * torso["body"],
        "gut": gut * abdomen * (1 - liver),
        "gallbladder": abdomen * c.organ((-38, yc - 48, right - 108), (16, 16, 26)),
        "bone": _bone(c, torso, dome, depth, rng),
    }


def _bone(c: Canvas, torso: dict[str, Tensor], dome: Tensor, depth: float, rng: np.random.Generator) -> Tensor:
    yc = TORSO_CENTRE_Y
    vertebrae = c.organ((0, yc + depth - 34, 0), (21, 19, 400))
    spines = occupancy(12 - torch.abs(c.x)) * occupancy(9 - torch.abs(c.y - (yc + depth - 12)))
    pitch, phase = rng.uniform(25, 29), rng.uniform(0, 2 * np.pi)
    slope = c.z + 0.35 * (c.y - yc) + 0.10 * torch.abs(c.x)
    ribs = (
        torso["rib_shell"]
        * (torch.sin(2 * np.pi * slope / pitch + phase) > 0.15)
        * (torch.abs(c.x) > 18)
        * (c.z > dome - 60)
    )
    sternum = (torch.abs(c.x) < 17) * occupancy(7 - torch.abs(c.y - (yc - depth + 3))) * occupancy(c.z + 45)
    return (torch.maximum(vertebrae, spines) + 0.85 * ribs + sternum).clamp(0, 1) * torso["body"]


def _attenuation(p: Patient, torso: dict[str, Tensor], organs: dict[str, Tensor]) -> Tensor:
    mu = torso["body"] * MU_FAT + torso["muscle"] * (MU_SOFT - MU_FAT)
    layers = (
        (organs["lung"], p.lung_mu),
        (organs["pericardium"], MU_HEART),
        (organs["abdomen"] * torso["muscle"], MU_ABDOMEN),
        (organs["gas"], MU_GAS),
        # Ribs and vertebrae are part marrow, hence the weight.
        (organs["bone"] * 0.9, MU_BONE),
    )
    for where, value in layers:
        mu = mu + where * (value - mu)
    return mu


def _activity(
    uptake: Uptake,
    torso: dict[str, Tensor],
    organs: dict[str, Tensor],
    heart: dict[str, Tensor],
    texture: Tensor,
    filled: Tensor,
    wall: Tensor,
) -> Tensor:
    a = uptake.fat * torso["body"] + (uptake.muscle - uptake.fat) * torso["muscle"]
    layers = (
        (organs["lung"], uptake.lung),
        (organs["pericardium"], uptake.blood * 0.8),
        (organs["bone"], uptake.bone),
        (organs["abdomen"] * torso["muscle"], uptake.muscle * 0.8),
        (organs["liver"], uptake.liver),
        (organs["spleen"], uptake.spleen),
        (organs["stomach"], uptake.gut_wall),
        (organs["kidneys"], uptake.kidney),
    )
    for where, value in layers:
        a = a + where * (value - a)
    a = (a + organs["gut"] * uptake.gut + organs["gallbladder"] * uptake.gallbladder) * texture
    a = a + heart["whole"] * (uptake.blood - a)
    a = a + heart["right_wall"] * (uptake.right_ventricle - uptake.blood)
    a = a + filled * (uptake.blood - a)
    return a + wall * (1 - uptake.blood)


def _texture(grid: Grid, rng: np.random.Generator, device: str) -> Tensor:
    """Mild regional heterogeneity of uptake, 10 % at 10 mm."""
    noise = torch.from_numpy(rng.standard_normal((grid.nz, grid.n, grid.n), dtype=np.float32)).to(device)
    smooth = blur(noise, 10.2, grid.dx)
    return (1 + 0.10 * smooth / smooth.std()).clamp(0.6, 1.4)


def _ct_map(mu: Tensor, shift_mm: tuple[float, float, float], grid: Grid) -> Tensor:
    """The map a CT would give: one breathing position, residual misregistration, smoothed to the resolution of the
    emission image.
    """
    n, nz = grid.n, grid.nz
    step = torch.tensor(
        [2 * s / (grid.dx * (size - 1)) for s, size in zip(shift_mm, (n, n, nz), strict=True)], device=mu.device
    )
    theta = torch.eye(3, 4, device=mu.device)
    theta[:, 3] = -step
    where = torch.nn.functional.affine_grid(theta[None], [1, 1, nz, n, n], align_corners=True)
    moved = torch.nn.functional.grid_sample(mu[None, None], where, padding_mode="border", align_corners=True)[0, 0]
    return blur(moved, CT_RESOLUTION_SIGMA, grid.dx)
