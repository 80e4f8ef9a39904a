"""A patient on the camera's table: grids, orbit and projectors of a protocol, and the counts that it collects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectac_fast.phantom.anatomy import Anatomy
from spectac_fast.phantom.people import Patient
from spectac_fast.phantom.protocol import Camera, Protocol
from spectac_fast.reconstruct.camera import Collimator, gaussian_matrix, rebinned, scatter_source, view_angles
from spectac_fast.reconstruct.filters import filtered_back_projection
from spectac_fast.reconstruct.grid import Grid
from spectac_fast.reconstruct.osem import osem
from spectac_fast.reconstruct.projector import Projector, to_columns, to_volume
from spectac_fast.reconstruct.regrid import halved, overlap, regridded
from spectac_fast.reconstruct.settings import Reconstruction
from spectac_fast.terms import PHASES

# Hole, length and intrinsic resolution in mm, and sensitivity over that of LEHR. FWHM at 10 cm: 6.9, 9.3 and 5.3 mm.
# LEHR: customary data-sheet values of one vendor; LEGP: a hole so wide that resolution and sensitivity are those
# customary for general purpose (about 9 mm, twice). CZT: a parallel-hole stand-in for dedicated cardiac cameras, whose
# resolution (6.7 and 8.6 mm in the image, against 15.3) and counts (460 and 850 s-1 MBq-1, against 130) were measured
# by Imbert et al., J Nucl Med 2012;53:1897; their pinholes and moving columns are not modelled.
COLLIMATORS = {
    "LEHR": (Collimator(), 1.0),
    "LEGP": (Collimator(hole=2.2, length=35.0, intrinsic=3.8), 2.0),
    "CZT": (Collimator(hole=1.2, length=35.0, intrinsic=2.5), 3.5),
}
_LEAST_EXPECTED = 1e-30  # counts
FINE_MM, TABLE_SLICES = 3.4, 96
AXIAL_BELOW = 0.48
# Dual energy window (Jaszczak et al., J Nucl Med 1984;25:893): k = 0.5 of a lower window, whose photons scattered more
# often and therefore spread farther, low-passed before use; both widths are chosen.
DEW_SHARE, DEW_SPREAD_MM, DEW_SMOOTH_MM = 0.5, 18.0, 10.0


@dataclass(frozen=True)
class Scan:
    """What a protocol's camera sees of one patient, and how its counts become slices. angles: degrees; radius: mm, of
    every view. map_n: matrix of attenuation maps in the slices' pixels: wider than the slices where these do not hold
    the body.

    Activities and slices are [phase, nz, n, n], maps [nz, n, n] in 1/cm, views [phase, views, bins, rows].
    """

    object: Grid
    detector: Grid
    image: Grid
    map_n: int
    angles: np.ndarray
    radius: np.ndarray
    device: str

    @property
    def rows(self) -> slice:
        """Rows of the detector that are reconstructed."""
        first = round(self.detector.nz * self.detector.below - self.image.nz * self.image.below)
        return slice(first, first + self.image.nz)

    def project(self, activity: Tensor, mu: Tensor, grid: Grid, camera: Camera) -> Tensor:
        """What the detector expects of an activity and a map on `grid`."""
        projector = self._projector(grid.n, grid.dx, COLLIMATORS[camera.collimator][0])
        return self._binned(projector.project(to_columns(activity), mu=to_columns(mu)), grid)

    def _binned(self, views: Tensor, grid: Grid) -> Tensor:
        """Views in pixels of a grid -> in the detector's bins, shared by area where these cut pixels."""
        bins, ratio = self.detector, self.detector.dx / grid.dx
        if (ratio * bins.n, ratio * bins.nz, grid.below) == (grid.n, grid.nz, bins.below) and ratio == round(ratio):
            return rebinned(views, round(ratio))
        edges = (
            ((grid.n, grid.n / 2), (bins.n, bins.n / 2)),
            ((grid.nz, grid.nz * grid.below), (bins.nz, bins.nz * bins.below)),
        )
        lateral, axial = (
            torch.tensor(ratio * overlap((np.arange(n + 1) - zero) * grid.dx, (np.arange(m + 1) - of) * bins.dx)).to(
                views
            )
            for (n, zero), (m, of) in edges
        )
        return lateral @ views @ axial.T

    def osem(
        self, camera: Camera, how: Reconstruction, counts: Tensor, scatter: Tensor | None, mu: Tensor | None
    ) -> Tensor:
        """counts and scatter: of the reconstructed rows; mu: [nz, map_n, map_n], None = not corrected."""
        collimator = COLLIMATORS[camera.collimator][0] if how.resolution_recovery else None
        projector = self._projector(self.image.n, self.image.dx, collimator)
        attenuation = {} if mu is None else projector.through(to_columns(mu))
        return to_volume(
            osem(projector, counts, scatter=scatter, **attenuation, iterations=how.iterations, subsets=how.subsets)
        )

    def back_project(self, counts: Tensor) -> Tensor:
        """Filtered back-projection of the reconstructed rows."""
        return to_volume(filtered_back_projection(self._projector(self.image.n, self.image.dx, None), counts))

    def _projector(self, n: int, mm: float, collimator: Collimator | None) -> Projector:
        radius = tuple(self.radius.tolist())
        return Projector(n, mm, self.angles.tolist(), radius_mm=radius, collimator=collimator, device=self.device)


@dataclass(frozen=True)
class Acquisition:
    """Projections of both phases [phase, views, bins, rows]: noisy and expected counts, expected scatter counts; counts
    per unit activity; scatter over primary.
    """

    counts: Tensor
    expected: Tensor
    scatter: Tensor
    gain: dict[str, float]
    scatter_to_primary: float


def object_grid(patient: Patient, camera: Camera) -> Grid:
    """Voxels of 3.4 mm that hold the body, or the part of it that the camera's settings keep."""
    centre = _axis(patient) if camera.heart_centred else (0.0, 0.0)
    half = camera.body_mm / 2 if camera.body_mm else _half_width(patient) + max(map(abs, centre))
    return Grid(16 * math.ceil(2 * half / FINE_MM / 16 - 1e-9), TABLE_SLICES, FINE_MM, AXIAL_BELOW, centre)


def _axis(patient: Patient) -> tuple[float, float]:
    """Where an operator centres a small field: most of the way from the middle of the chest to the heart."""
    x = -patient.heart_x if patient.findings.mirrored else patient.heart_x
    return (0.7 * x, 0.7 * patient.heart_y)


def _half_width(patient: Patient) -> float:
    """An upper bound on |x| and |y| of body and arms, mm: see `anatomy`."""
    scale = patient.height_cm / 165.0
    chest = (150 if patient.sex == "M" else 138) * scale
    depth = (97 if patient.sex == "M" else 88) * scale
    front = (
        depth + 8 + max(1.3 * patient.fat, 0.9 * patient.breast + 20, 70 if any(patient.findings.implants_ml) else 0)
    )
    side = chest + 16 + 1.4 * patient.fat + 2 * patient.findings.arms_down
    return max(side, front) + 8


def prepare(anatomy: Anatomy, camera: Camera, device: str) -> Scan:
    """Grids, orbit and angles for one patient."""
    grid, mm = anatomy.grid, camera.pixel_mm
    rows = min(int(grid.nz * grid.dx / mm + 1e-6), camera.matrix)
    detector = Grid(camera.matrix, rows, mm, grid.below, grid.centre)
    image = detector
    if camera.axial_mm is not None:
        middle = rows * grid.below
        low = max(0, math.floor(middle - camera.axial_mm / 2 / mm))
        high = min(rows, math.ceil(middle + camera.axial_mm / 2 / mm))
        image = Grid(camera.matrix, high - low, mm, (middle - low) / (high - low), grid.centre)
    angles = view_angles(camera.views, camera.arc, camera.mirrored)
    map_n = max(camera.matrix, 2 * math.ceil(grid.n * grid.dx / mm / 2 - 1e-9))
    return Scan(grid, detector, image, map_n, angles, orbit(anatomy, camera, angles), device)


def orbit(anatomy: Anatomy, camera: Camera, angles: np.ndarray) -> np.ndarray:
    """Distance of the collimator's face from the axis of rotation at every view, mm: see `Camera`."""
    if camera.radius_mm is not None:
        return np.full(len(angles), camera.radius_mm)
    grid = anatomy.grid
    # What is beside the detector: 100 mm above and below the heart.
    beside = np.abs(grid.axis_z()) < 100
    body = (anatomy.mu_emission[torch.from_numpy(beside)].amax(0) > 0.05).cpu().numpy()
    row, column = np.nonzero(body)
    x, y = (column - grid.n / 2 + 0.5) * grid.dx, (row - grid.n / 2 + 0.5) * grid.dx
    turn = np.radians(angles)[:, None]
    reach = (x * np.sin(turn) - y * np.cos(turn)).max(1) + camera.clearance_mm
    return reach if camera.contour else np.full(len(angles), reach.max())


def acquire(patient: Patient, anatomy: Anatomy, protocol: Protocol, scan: Scan) -> Acquisition:
    """Counts of all views. The primary is projected from 3.4 mm voxels to the detector's bins, so reconstruction never
    sees its own model of the object; scatter is smooth and is projected from 6.8 mm.
    """
    camera = protocol.camera
    activity = torch.stack([anatomy.activity[phase] for phase in PHASES])
    mu = anatomy.mu_emission if protocol.attenuation else torch.zeros_like(anatomy.mu_emission)
    primary = scan.project(activity, mu, scan.object, camera)
    coarse, coarse_mu = halved(activity), halved(mu)
    grid = Grid(scan.object.n // 2, scan.object.nz // 2, 2 * scan.object.dx, scan.object.below, scan.object.centre)
    source = scatter_source(coarse, coarse_mu, grid.dx) if protocol.scatter else torch.zeros_like(coarse)
    # A coarse voxel stands for 8 fine ones, all of which a bin sums.
    scatter = 8 * camera.scatter_share * scan.project(source, coarse_mu, grid, camera)
    expected = primary + scatter
    rng = np.random.default_rng((patient.seed, 3, protocol.acquisition))
    counts, gain = torch.empty_like(expected), {}
    for i, phase in enumerate(PHASES):
        gain[phase] = patient.counts[phase] * protocol.counts / float(expected[i].sum(dtype=torch.float64))
        # An expectation of exactly 0 would take no random number, and all that follow would be others: whether so
        # little is 0 depends on how far kernels reach.
        lam = (expected[i].clamp_min(0) * gain[phase]).clamp_min(_LEAST_EXPECTED).cpu().numpy()
        drawn = rng.poisson(lam) if protocol.noise else lam
        counts[i] = torch.from_numpy(drawn.astype(np.float32)).to(scan.device)
        scatter[i] *= gain[phase]
        primary[i] *= gain[phase]
    return Acquisition(counts, primary + scatter, scatter, gain, float(scatter.sum() / primary.sum()))


def scatter_estimate(kind: str, patient: Patient, taken: Acquisition, scan: Scan, acquisition: int) -> Tensor | None:
    """The scatter counts that a reconstruction believes in, as `Acquisition.scatter`; None for "none"."""
    if kind in ("none", "exact"):
        return None if kind == "none" else taken.scatter
    errors = torch.tensor([patient.scatter_error[phase] for phase in PHASES], device=scan.device)[:, None, None, None]
    if kind == "estimate":
        return taken.scatter * errors
    rng = np.random.default_rng((patient.seed, 5, acquisition))
    lower = _blurred(taken.scatter, DEW_SPREAD_MM / scan.detector.dx).clamp_min(0) / DEW_SHARE
    drawn = torch.from_numpy(rng.poisson(lower.cpu().numpy()).astype(np.float32)).to(scan.device)
    return DEW_SHARE * _blurred(drawn, DEW_SMOOTH_MM / scan.detector.dx) * errors


def _blurred(views: Tensor, sigma: float) -> Tensor:
    """[..., bins, rows] blurred by a Gaussian of sigma bins in both directions; beyond its edges a view goes on."""
    lateral, axial = (gaussian_matrix(size, sigma) for size in views.shape[-2:])
    lateral, axial = (torch.tensor(m / m.sum(1, keepdims=True)).to(views) for m in (lateral, axial))
    return lateral @ views @ axial.T


def map_for(volume: Tensor, scan: Scan) -> Tensor:
    """An attenuation map of the object in the reconstruction's voxels, [nz, map_n, map_n]."""
    image = scan.image
    return regridded(volume, scan.object, Grid(scan.map_n, image.nz, image.dx, image.below, image.centre))
