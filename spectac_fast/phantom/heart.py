"""The left ventricle: pose, size through the cardiac cycle, and its perfusion defects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spectac_fast.phantom.people import Defect, Patient
from spectac_fast.reconstruct.grid import Axes, axes_at
from spectac_fast.terms import PHASES

CYCLE_PHASES = 5


@dataclass(frozen=True)
class Shell:
    """Ellipsoids of one cardiac phase: radii (mm) across and along the long axis, of cavity and outer wall."""

    endo_radius: float
    endo_length: float
    epi_radius: float
    epi_length: float


@dataclass(frozen=True)
class Ventricle:
    """Geometry that a test or a polar map needs: distances along the long axis are measured from the base plane in
    mm.
    """

    axes: Axes
    equator: float
    shells: tuple[Shell, ...]

    def summary(self) -> dict[str, float]:
        """Time-averaged mid-wall ellipsoid: where to sample the myocardium."""

        def mean(of: Callable[[Shell], float]) -> float:
            return float(np.mean([of(shell) for shell in self.shells]))

        return {
            "equator_mm": self.equator,
            "mid_radius_mm": mean(lambda s: 0.5 * (s.endo_radius + s.epi_radius)),
            "mid_length_mm": mean(lambda s: 0.5 * (s.endo_length + s.epi_length)),
            "wall_mm": mean(lambda s: s.epi_radius - s.endo_radius),
        }


def axes(patient: Patient) -> Axes:
    """Pose from azimuth (from the back-to-front direction towards the left) and elevation (apex below base)."""
    return axes_at(patient.azimuth, patient.elevation, np.array([patient.heart_x, patient.heart_y, 0.0]))


def mirror(axes: Axes) -> Axes:
    """The same pose in a patient whose right and left are exchanged; `lateral` then points to the septum."""
    flip = np.array([-1.0, 1.0, 1.0])
    return Axes(axes.long * flip, axes.up * flip, np.cross(axes.up * flip, axes.long * flip), axes.centre * flip)


def _truncated_volume(radius: float, length: float, equator: float) -> float:
    """Volume in ml of an ellipsoid cut `equator` mm above its largest section."""
    z = min(equator, length)
    return math.pi * radius**2 * (2 * length / 3 + z - z**3 / (3 * length**2)) / 1000


def _bisect(f: Callable[[float], float], low: float, high: float) -> float:
    for _ in range(40):
        mid = 0.5 * (low + high)
        low, high = (mid, high) if f(mid) < 0 else (low, mid)
    return 0.5 * (low + high)


def ventricle(patient: Patient) -> Ventricle:
    """Shells through the cycle: cavity volume EDV (1 - EF sin^2), myocardial volume constant, so the wall thickens in
    systole.
    """
    equator = 0.28 * patient.lv_length
    aspect, apical = patient.findings.sphericity, patient.apical_thinning
    # The first cohort's bytes depend on where the bisection starts.
    longest = 70.0 if patient.edv <= 220 else 110.0

    def wall_volume(radius: float, length: float, wall: float) -> float:
        outer = _truncated_volume(radius + wall, length + apical * wall, equator)
        return outer - _truncated_volume(radius, length, equator)

    def cavity(volume: float) -> float:
        return _bisect(lambda c: _truncated_volume(aspect * c, c, equator) - volume, 5.0, longest)

    def wall_of(radius: float, length: float) -> float:
        return _bisect(lambda wall: wall_volume(radius, length, wall) - muscle, 2.0, 40.0)

    diastolic = cavity(patient.edv)
    muscle = wall_volume(aspect * diastolic, diastolic, patient.wall)
    shells = []
    for time in (np.arange(CYCLE_PHASES) + 0.5) / CYCLE_PHASES:
        length = cavity(patient.edv * (1 - patient.ejection_fraction * math.sin(math.pi * min(time / 0.9, 1.0)) ** 2))
        radius = aspect * length
        wall = wall_of(radius, length)
        shells.append(Shell(radius, length, radius + wall, length + apical * wall))
    return Ventricle(axes(patient), equator, tuple(shells))


def occupancy(distance: Tensor, softness: float = 1.7) -> Tensor:
    """0..1 across a surface: `distance` in mm, positive inside; `softness` (mm) blends voxels that it cuts."""
    return torch.sigmoid(distance * (1.7 / softness))


class HeartFrame:
    """Coordinates of a grid along the heart's own axes, and the soft masks of the left ventricle on it."""

    def __init__(self, patient: Patient, lv: Ventricle, x: Tensor, y: Tensor, z: Tensor) -> None:
        base = lv.axes.centre - lv.axes.long * 0.42 * patient.lv_length
        offset = (x - base[0], y - base[1], z - base[2])

        def along(axis: np.ndarray) -> Tensor:
            return sum(o * float(a) for o, a in zip(offset, axis, strict=True))

        self.patient, self.lv = patient, lv
        self.s, self.u, self.v = along(lv.axes.long), along(lv.axes.up), along(lv.axes.lateral)
        self.rho = torch.sqrt(self.u**2 + self.v**2) + 1e-6
        self.angle = torch.rad2deg(torch.atan2(self.u, self.v))

    def depth(self, radius: float, length: float, rho: Tensor | None = None) -> Tensor:
        """Approximate distance in mm inside an ellipsoid about the long axis, positive inside; rho: distance from the
        axis, where it is not that of a round section.
        """
        rho = self.rho if rho is None else rho
        inside = 1 - torch.sqrt((rho / radius) ** 2 + ((self.s - self.lv.equator) / length) ** 2)
        return inside * min(radius, length)

    def _outside_septum(self) -> Tensor | None:
        """Distance from the axis in which an asymmetric septum's outer surface is round; None for a round wall."""
        thicker = self.patient.findings.septal_wall - 1
        if not thicker:
            return None
        shell = self.lv.shells[0]
        towards = (0.5 - 0.5 * torch.cos(torch.deg2rad(self.angle))) ** 2
        return self.rho / (1 + thicker * (shell.epi_radius - shell.endo_radius) / shell.epi_radius * towards)

    def cavity_and_wall(self, phase: str) -> tuple[Tensor, Tensor]:
        """Time-averaged occupancy of the whole ventricle (cavity and wall), and of its wall times the local uptake of
        a phase.
        """
        # The septum ends nearer to the apex than the free wall: the membranous septum takes up no tracer.
        base_cut = 6 - 9 * torch.cos(torch.deg2rad(self.angle - 180))
        open_base = occupancy(self.s - 0.9 * (12 - base_cut), 2.5)
        filled, muscle, round_rho = self.s.new_zeros(()), self.s.new_zeros(()), self._outside_septum()
        for shell in self.lv.shells:
            inner = self.depth(shell.endo_radius, shell.endo_length)
            outer = self.depth(shell.epi_radius, shell.epi_length, round_rho)
            filled = filled + occupancy(outer) * occupancy(self.s) / CYCLE_PHASES
            wall = occupancy(outer) * (1 - occupancy(inner)) * open_base
            muscle = muscle + wall * self._perfusion(phase, inner, outer) / CYCLE_PHASES
        return filled, muscle

    def _perfusion(self, phase: str, inner: Tensor, outer: Tensor) -> Tensor:
        mean_length = np.mean([s.epi_length for s in self.lv.shells])
        level = self.s / float(self.lv.equator + mean_length)
        remaining = torch.ones_like(outer)
        for defect in (*self.patient.defects, *_conduction(self.patient)):
            away = torch.abs(torch.remainder(self.angle - defect.angle + 180, 360) - 180)
            # At the apex the angle loses its meaning: let the defect close over it.
            away = torch.where(level > 0.88, away * torch.clamp((1.05 - level) / 0.17, 0, 1), away)
            across = occupancy(torch.deg2rad(defect.width / 2 - away) * self.rho.clamp_min(6), 3.0)
            extent = occupancy((level - defect.base) * 85, 3.0) * occupancy((defect.apex - level) * 85, 3.0)
            inside = across * extent
            if defect.subendocardial:
                transmural = -inner / torch.clamp(outer - inner, min=1e-3)
                inside = inside * occupancy((0.5 - transmural) * 9, 1.0)
            remaining = remaining * (1 - defect.loss[phase] * inside)
        return remaining


def _conduction(patient: Patient) -> tuple[Defect, ...]:
    """The septum of left bundle branch block, which takes up less tracer although its artery is open."""
    loss = patient.findings.septal_loss
    if not any(loss):
        return ()
    return (Defect("LAD", 180.0, 115.0, 0.02, 0.78, dict(zip(PHASES, loss, strict=True)), False),)
