"""Cameras, orbits and reconstructions other than the first cohort's, against physics and against each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from spectac_fast.phantom.anatomy import build
from spectac_fast.phantom.conditions import arms_down, with_bmi
from spectac_fast.phantom.people import draw
from spectac_fast.phantom.protocol import HANOI, Camera, Protocol
from spectac_fast.phantom.scan import (
    COLLIMATORS,
    Scan,
    acquire,
    object_grid,
    orbit,
    prepare,
    scatter_estimate,
)
from spectac_fast.phantom.simulate import reconstruct, reconstruct_ideal, simulate
from spectac_fast.reconstruct.camera import view_angles
from spectac_fast.reconstruct.filters import filtered_back_projection, hann
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.projector import Projector, to_columns, to_volume
from spectac_fast.reconstruct.regrid import overlap, regridded
from spectac_fast.reconstruct.settings import Reconstruction

# Few views and one iteration: what is tested is not how good an image is.
QUICK = Camera("LEGP", 64, 6.8, 8, radius_mm=None, clearance_mm=15.0, contour=True, body_mm=None)
ONCE = Reconstruction("OSEM", 1, 4)
QUICKLY = Protocol(name="quick", camera=QUICK, nc=ONCE, ac=ONCE)


@pytest.fixture(scope="module")
def anatomy():
    return build(draw(650_124), object_grid(draw(650_124), QUICK))


@pytest.fixture
def fresh():
    return torch.Generator().manual_seed(int(np.random.default_rng().integers(2**31)))


def test_detector_bins_share_the_counts_of_pixels_by_area(fresh):
    """Whatever the size of a bin: all counts are there, a uniform view stays uniform, and halves are sums of 2 x 2."""
    views = torch.rand(2, 3, 48, 24, generator=fresh)
    source = Grid(48, 24, 3.4)
    for bins in (Grid(24, 12, 6.8), Grid(40, 20, 4.08), Grid(34, 17, 4.8)):
        scan = Scan(source, bins, bins, bins.n, view_angles(3), np.full(3, 200.0), "cpu")
        binned = scan._binned(views, source)
        assert binned.shape == (2, 3, bins.n, bins.nz)
        assert float(binned.sum()) == pytest.approx(float(views.sum()), rel=1e-5)
        flat = scan._binned(torch.ones_like(views), source)[..., 1:-1, 1:-1]
        assert torch.allclose(flat, torch.full_like(flat, (bins.dx / 3.4) ** 2), rtol=1e-5)
    halves = Scan(source, Grid(24, 12, 6.8), source, 24, view_angles(3), np.full(3, 200.0), "cpu")._binned(
        views, source
    )
    assert torch.allclose(halves, views.reshape(2, 3, 24, 2, 12, 2).sum((3, 5)))


def test_a_map_wider_than_the_slices_attenuates_from_outside_them(fresh):
    angles, image = view_angles(12), Grid(32, 6, 6.8)
    scan = Scan(image, image, image, 48, angles, np.full(12, 250.0), "cpu")
    mu = 0.2 * torch.rand(1, 48, 48, 6, generator=fresh)
    wide = Projector(48, 6.8, angles).survival(mu)
    projector = scan._projector(32, 6.8, None)
    assert torch.allclose(projector.through(mu)["survival"], wide[:, :, 8:40, 8:40], atol=1e-6)
    assert projector.through(mu[:, 8:40, 8:40])["mu"].shape == (1, 32, 32, 6)


@pytest.mark.parametrize(("n", "nz", "dx"), [(24, 12, 6.8), (40, 20, 4.1), (20, 9, 9.3)])
def test_other_voxels_hold_the_same_amount(n, nz, dx, fresh):
    source = Grid(48, 24, 3.4)
    volume = torch.rand(2, 24, 48, 48, generator=fresh)
    # Nothing near the faces, which the other grid need not reach.
    volume[:, :4], volume[:, -4:], volume[..., :4, :], volume[..., -4:, :] = 0, 0, 0, 0
    volume[..., :4], volume[..., -4:] = 0, 0
    target = regridded(volume, source, Grid(n, nz, dx))
    assert target.shape == (2, nz, n, n)
    assert float(target.sum() * dx**3) == pytest.approx(float(volume.sum() * 3.4**3), rel=1e-5)


def test_overlap_is_the_length_that_intervals_share():
    rng = np.random.default_rng()
    source, target = np.sort(rng.uniform(-9, 9, 8)), np.sort(rng.uniform(-9, 9, 6))
    weights = overlap(source, target)
    points = rng.uniform(-9, 9, 400_000)
    for i in range(5):
        inside = (points >= target[i]) & (points < target[i + 1])
        for j in range(7):
            both = inside & (points >= source[j]) & (points < source[j + 1])
            share = both.sum() / max(inside.sum(), 1)
            assert weights[i, j] == pytest.approx(share, abs=6 * math.sqrt(0.25 / max(inside.sum(), 1)))


def test_hann_halves_at_half_its_cutoff_and_ends_there():
    n, dx, cutoff = 64, 5.0, 0.5
    x = torch.arange(n) * dx / 10
    for frequency, passed in ((0.25, 0.5), (0.5, 0.0), (0.75, 0.0)):
        wave = 10 + torch.cos(2 * math.pi * frequency * x)
        out = hann(wave.expand(8, 8, n).contiguous(), dx, cutoff)
        assert float(out.mean()) == pytest.approx(10, rel=1e-5)
        assert float(out.max() - out.min()) / 2 == pytest.approx(passed, abs=1e-3)


def test_filtered_back_projection_gives_the_same_activity_from_half_and_whole_circles():
    n, nz = 64, 4
    half = (np.arange(n) - n / 2 + 0.5) * 6.8
    disc = torch.from_numpy((half[:, None] ** 2 + half[None] ** 2 <= 120.0**2).astype(np.float32)).expand(nz, n, n)
    columns, level = to_columns(disc.contiguous()), {}
    for arc in (180.0, 360.0):
        projector = Projector(n, 6.8, view_angles(64, arc))
        views = projector.project(columns)
        volume = to_volume(filtered_back_projection(projector, views))[0]
        level[arc] = float(volume[1, 24:40, 24:40].mean())
    assert level[180.0] == pytest.approx(1.0, rel=0.03)
    assert level[360.0] == pytest.approx(level[180.0], rel=0.02)


def test_sharper_and_wider_collimators_are_in_the_order_of_their_names():
    mm = {name: holes.sigma(np.array([100.0]))[0] * 2.3548 for name, (holes, _) in COLLIMATORS.items()}
    assert 4.5 < mm["CZT"] < 6 < mm["LEHR"] < 7.5 < 8.5 < mm["LEGP"] < 10.5


def test_the_detector_keeps_off_the_body(anatomy):
    angles = view_angles(16, 360.0)
    contour, circle = (orbit(anatomy, replace(QUICK, contour=c), angles) for c in (True, False))
    assert np.allclose(circle, contour.max())
    assert np.ptp(contour) > 30
    grid = anatomy.grid
    z, y, x = np.nonzero((anatomy.mu_emission > 0.05).numpy())
    x, y = grid.axis_x()[x], grid.axis_y()[y]
    beside = np.abs(grid.axis_z()[z]) < 100
    for angle, radius in zip(np.radians(angles), contour, strict=True):
        # A detector at the left (90) has the patient's left (+x) before it, one at the front (0) the front (-y).
        reach = x[beside] * np.sin(angle) - y[beside] * np.cos(angle)
        assert radius == pytest.approx(reach.max() + 15.0, abs=1e-3)


def test_the_body_fits_onto_its_grid():
    patient = arms_down(with_bmi(draw(650_123), 41.0), np.random.default_rng())
    mu = build(patient, object_grid(patient, QUICK)).mu_emission
    for face in (mu[..., 0], mu[..., -1], mu[..., 0, :], mu[..., -1, :]):
        assert float(face.max()) < 0.01
    assert object_grid(patient, HANOI.camera) == Grid(128, 96, 3.4)


@pytest.mark.parametrize("kind", ["estimate", "dew"])
def test_scatter_estimates_are_right_up_to_their_error(kind, anatomy):
    patient = replace(draw(650_124), scatter_error={"stress": 1.1, "rest": 0.95})
    scan = prepare(anatomy, QUICK, "cpu")
    taken = acquire(patient, anatomy, QUICKLY, scan)
    believed = scatter_estimate(kind, patient, taken, scan, 0)
    for i, error in enumerate((1.1, 0.95)):
        ratio = float(believed[i].sum() / taken.scatter[i].sum())
        assert ratio == pytest.approx(error, rel=0.03)
    assert scatter_estimate("none", patient, taken, scan, 0) is None
    assert scatter_estimate("exact", patient, taken, scan, 0) is taken.scatter


def test_counts_are_those_of_the_protocol(anatomy):
    patient, scan = draw(650_124), prepare(anatomy, QUICK, "cpu")
    for counts in (1.0, 0.25):
        taken = acquire(patient, anatomy, replace(QUICKLY, counts=counts), scan)
        for i, phase in enumerate(("stress", "rest")):
            found = float(taken.counts[i].double().sum())
            assert found == pytest.approx(counts * patient.counts[phase], rel=0.005)
        assert float((taken.counts - taken.counts.round()).abs().max()) == 0


def test_ideal_is_ac_without_its_errors(anatomy):
    patient, exact = draw(650_124), replace(ONCE, scatter="exact")
    protocol = replace(QUICKLY, ac=exact, noise=False, exact_map=True)
    scan, found = prepare(anatomy, QUICK, "cpu"), {}
    for noise in (False, True):
        used = replace(protocol, noise=noise, exact_map=not noise)
        taken = acquire(patient, anatomy, used, scan)
        found[noise] = (
            reconstruct(patient, anatomy, taken, used, scan)["AC"],
            reconstruct_ideal(anatomy, taken, used, scan),
        )
    assert torch.allclose(*found[False], rtol=1e-4, atol=1e-3)
    assert torch.equal(found[True][1], found[False][1])
    assert float((found[True][0] - found[True][1]).abs().mean()) > 0.1


def test_without_attenuation_there_is_nothing_to_correct(anatomy):
    protocol, scan = replace(QUICKLY, attenuation=False), prepare(anatomy, QUICK, "cpu")
    taken = acquire(draw(650_124), anatomy, protocol, scan)
    volumes = reconstruct(draw(650_124), anatomy, taken, protocol, scan)
    assert torch.allclose(volumes["NC"], volumes["AC"], rtol=1e-4, atol=1e-3)
    assert taken.scatter_to_primary == 0


def test_attenuation_is_not_corrected_by_filtered_back_projection(anatomy):
    protocol, scan = replace(QUICKLY, ac=Reconstruction("FBP")), prepare(anatomy, QUICK, "cpu")
    taken = acquire(draw(650_124), anatomy, protocol, scan)
    with pytest.raises(ValueError, match="corrected by OSEM"):
        reconstruct(draw(650_124), anatomy, taken, protocol, scan)


def test_a_whole_study_is_imaged_on_the_pixels_of_its_camera():
    camera = replace(QUICK, pixel_mm=5.0, axial_mm=200.0, heart_centred=True)
    case = simulate(draw(650_124), replace(QUICKLY, camera=camera, counts=0.5), ideal=True)
    assert set(case.volumes) == {"NC", "AC", "TRUTH", "IDEAL"}
    assert case.grid.dx == 5.0
    assert case.grid.nz == pytest.approx(200 / 5.0, abs=1)
    assert len(case.radius_mm) == 8
    for kind, volume in case.volumes.items():
        assert volume.shape == (2, case.grid.nz, 64, 64), kind
        assert torch.isfinite(volume).all()
        assert float(volume.min()) >= 0
    # Counts in the heart are comparable: AC restores the activity, whatever voxels and counts.
    x, y, z = (
        int(np.argmin(np.abs(a - c)))
        for a, c in zip((case.grid.axis_x(), case.grid.axis_y(), case.grid.axis_z()), (45.0, -25.0, 0.0), strict=True)
    )
    box = (slice(None), slice(z - 8, z + 9), slice(y - 8, y + 9), slice(x - 8, x + 9))
    nc, ac, truth = (float(case.volumes[kind][box].mean()) for kind in ("NC", "AC", "TRUTH"))
    assert 100 < truth < 3000
    assert nc < 0.5 * truth
    assert ac == pytest.approx(truth, rel=0.25)
