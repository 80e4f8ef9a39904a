"""What conditions put into the body and the heart, measured on a coarse grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spectac_fast.phantom.anatomy import Anatomy, build
from spectac_fast.phantom.findings import Findings
from spectac_fast.phantom.people import Patient, draw
from spectac_fast.reconstruct.grid import Grid

GRID = Grid(84, 48, 6.8)
VOXEL_ML = 0.68**3


def woman() -> Patient:
    seed = int(np.random.default_rng().integers(10_000))
    return next(p for p in map(draw, range(seed, seed + 200)) if p.sex == "F" and p.bmi < 28)


def made(patient: Patient, **findings: object) -> Anatomy:
    return build(replace(patient, findings=Findings(**findings)), GRID)


def body_ml(anatomy: Anatomy) -> float:
    return float((anatomy.mu_emission > 0.07).sum()) * VOXEL_ML


def side(anatomy: Anatomy, left: bool) -> torch.Tensor:
    """Voxels of one side of the patient."""
    x = torch.from_numpy(GRID.axis_x())
    return ((x > 0) if left else (x < 0))[None, None, :].expand_as(anatomy.mu_emission)


def test_dextrocardia_is_the_mirror_image():
    patient = woman()
    usual, mirrored = made(patient), made(patient, mirrored=True)
    assert torch.allclose(mirrored.mu_emission.flip(-1), usual.mu_emission, atol=1e-5)
    assert mirrored.lv.axes.long[0] == -usual.lv.axes.long[0]
    assert mirrored.lv.axes.centre[0] == -usual.lv.axes.centre[0]
    for axes in (usual.lv.axes, mirrored.lv.axes):
        assert np.allclose(np.cross(axes.up, axes.long), axes.lateral)
    hot = (mirrored.muscle["stress"] * torch.from_numpy(GRID.axis_x()).float()).sum()
    assert float(hot) < 0 < float((usual.muscle["stress"] * torch.from_numpy(GRID.axis_x()).float()).sum())


def test_an_implant_adds_its_volume_and_attenuates_as_silicone():
    # Of a breast so thin that the implant lies before it.
    patient = replace(woman(), breast=14.0)
    none, both = made(patient), made(patient, implants_ml=(400.0, 400.0), implant_mu=0.147)
    left = made(patient, implants_ml=(0.0, 400.0), implant_mu=0.147)
    # Skin and fat in front of it come on top; what it covers of the breast is not added.
    assert 400 < body_ml(both) - body_ml(none) < 1500
    added = (left.mu_emission - none.mu_emission) > 0.1
    assert (added & side(left, False)).sum() == 0
    silicone = left.mu_emission[added & side(left, True)]
    assert float(((silicone - 0.147).abs() < 0.003).float().mean()) > 0.3


def test_a_removed_breast_is_gone():
    patient = replace(woman(), breast=60.0)
    usual, right = made(patient), made(patient, removed=(True, False))
    changed = (usual.mu_emission - right.mu_emission) > 0.05
    assert changed.any()
    assert (changed & side(right, True)).sum() == 0
    assert body_ml(right) < body_ml(usual) - 100


def test_fluid_takes_the_place_of_lung():
    patient = woman()
    usual, pleural = made(patient), made(patient, pleural=(0.0, 45.0))
    more = (pleural.mu_emission - usual.mu_emission) > 0.05
    assert 50 < float(more.sum()) * VOXEL_ML < 2000
    assert (more & side(pleural, False)).sum() == 0
    # At the back of the chest, without uptake.
    y = torch.from_numpy(GRID.axis_y())[None, :, None].expand_as(more)
    assert float(y[more].mean()) > 30
    assert float(pleural.activity["stress"][more].mean()) < 0.05
    around = made(patient, pericardial=12.0)
    ring = (around.mu_emission - usual.mu_emission) > 0.05
    assert 30 < float(ring.sum()) * VOXEL_ML < 1200


def test_arms_lie_beside_the_chest():
    patient = woman()
    usual, down = made(patient), made(patient, arms_down=45.0)
    arms = (down.mu_emission - usual.mu_emission) > 0.1
    columns = torch.from_numpy(np.abs(GRID.axis_x()))[None, None, :].expand_as(arms)[arms]
    assert float(columns.min()) > 100
    # Two cylinders of 45 mm radius through 326 mm.
    volume = 2 * np.pi * 4.5**2 * 32.6
    assert float(arms.sum()) * VOXEL_ML == pytest.approx(volume, rel=0.2)


def test_a_hernia_lies_behind_the_heart_and_may_hold_gas():
    patient = woman()
    usual = made(patient)
    filled = made(patient, hernia=34.0, hernia_uptake=1.5)
    gas = made(patient, hernia=34.0, hernia_gas=True)
    hot = (filled.activity["rest"] - usual.activity["rest"]) > 0.8
    assert 20 < float(hot.sum()) * VOXEL_ML < 200
    y = torch.from_numpy(GRID.axis_y())[None, :, None].expand_as(hot)
    assert float(y[hot].mean()) > patient.heart_y + 15
    assert float(gas.mu_emission[hot].min()) < 0.08 < float(filled.mu_emission[hot].mean())


def test_a_loop_of_bowel_lies_below_the_inferior_wall_and_not_in_it():
    patient = woman()
    usual = made(patient)
    loop = made(patient, bowel=14.0, bowel_gap=8.0, bowel_at=(35.0, 0.0), bowel_uptake=(2.5, 1.0))
    hot = (loop.activity["stress"] - usual.activity["stress"]) > 1.0
    assert 3 < float(hot.sum()) * VOXEL_ML < 120
    axes, lv = usual.lv.axes, usual.lv
    z, y, x = (torch.from_numpy(a) for a in (GRID.axis_z(), GRID.axis_y(), GRID.axis_x()))
    up = sum(
        c * float(d) for c, d in zip((x[None, None], y[None, :, None], z[:, None, None]), axes.up, strict=True)
    ) - float(axes.up @ axes.centre)
    assert float(up.expand_as(hot)[hot].mean()) < -max(shell.epi_radius for shell in lv.shells)
    assert not (hot & (usual.muscle["stress"] > 0.7)).any()


def test_left_bundle_branch_block_takes_its_share_of_the_septum():
    patient = replace(woman(), defects=(), respiration_sd=0.01)
    usual, block = made(patient), made(patient, septal_loss=(0.4, 0.2))
    for phase, loss in (("stress", 0.4), ("rest", 0.2)):
        lost = 1 - block.muscle[phase].sum() / usual.muscle[phase].sum()
        # 115 of 360 degrees over three quarters of the length.
        assert 0.1 * loss < float(lost) < 0.35 * loss
        deepest = (1 - block.muscle[phase] / usual.muscle[phase])[usual.muscle[phase] > 0.5].max()
        assert float(deepest) == pytest.approx(loss, rel=0.1)


def test_a_thick_septum_is_more_muscle_on_one_side():
    patient = replace(woman(), defects=())
    usual, thick = made(patient), made(patient, septal_wall=1.6)
    more = thick.muscle["rest"] - usual.muscle["rest"]
    axes = usual.lv.axes
    z, y, x = (torch.from_numpy(a) for a in (GRID.axis_z(), GRID.axis_y(), GRID.axis_x()))
    lateral = sum(
        c * float(d) for c, d in zip((x[None, None], y[None, :, None], z[:, None, None]), axes.lateral, strict=True)
    ) - float(axes.lateral @ axes.centre)
    gained = more.clamp_min(0)
    assert float(gained.sum()) > 0.05 * float(usual.muscle["rest"].sum())
    assert float((gained * lateral).sum() / gained.sum()) < -15


def test_a_dilated_ventricle_holds_the_volume_that_it_was_drawn_with():
    from spectac_fast.phantom.heart import ventricle

    patient = replace(draw(3), edv=300.0, ejection_fraction=0.25, lv_length=118.0, findings=Findings(sphericity=0.6))
    shells = ventricle(patient).shells
    equator = 0.28 * patient.lv_length
    volumes = []
    for shell in shells:
        z = min(equator, shell.endo_length)
        half = 2 * shell.endo_length / 3 + z - z**3 / (3 * shell.endo_length**2)
        volumes.append(np.pi * shell.endo_radius**2 * half / 1000)
    # Five instants of a cycle from EDV to EDV (1 - EF).
    assert 0.74 * 300 < min(volumes) < 0.79 * 300
    assert 0.93 * 300 < max(volumes) <= 300.5
