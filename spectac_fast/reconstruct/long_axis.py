"""Where the left ventricle lies in a transaxial volume, and which way its long axis points.

A blurred half-ellipsoidal wall, open at the base, is sought in some directions and sizes at once (correlation within a
ball, by the fast Fourier transform). Where it fits best it is fitted: centre, direction, size, and a base that may be
oblique, by Gauss-Newton steps under priors of what hearts are like. What then looks most like its fit is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spectac_fast.reconstruct.grid import Axes, Grid, axes_at

Array = NDArray[np.float64]

# Where the search begins: degrees, and radii of the wall's middle, mm.
_AZIMUTHS, _ELEVATIONS, _RADII_MM = (20.0, 45.0, 70.0), (5.0, 25.0, 45.0), (24.0, 31.0)
# Voxels of the fit and of the search, about.
_FIT_MM, _SEARCH_MM = 6.8, 13.0
# Blur of a wall of 10 mm that is imaged with some 13 mm; what is looked at about a candidate; candidates, and those of
# them that are fitted to the end; closer ones are one.
_WALL_SIGMA_MM, _BALL_MM, _CANDIDATES, _FINAL, _APART_MM = 7.0, 62.0, 4, 2, 25.0
# What is known of hearts before one is seen, as mean and SD of: azimuth and elevation (degrees; frontal angle 38 +- 8
# in CT, here wide), log of radius (mm), log of length over radius, and how far the base recedes per mm towards lateral
# and up. The membranous septum takes up no tracer, so that the base ends some 15 mm nearer to the apex there.
_MEAN = np.array([45.0, 27.0, np.log(27.0), np.log(1.75), -0.34, 0.0])
_SD = np.array([20.0, 20.0, 0.18, 0.12, 0.08, 0.08])
# Of the difference between an image and the model, in walls, for the sum over all voxels at hand.
_NOISE = 1.0
# Brighter than the wall by this factor is liver or gut. Beyond the wall, mm: what counts fully, little, not at all.
_CAP, _NEAR_MM, _FAR_MM, _FAR_WEIGHT, _BEHIND_MM = 1.2, 8.0, 22.0, 0.05, 25.0
_FIRST_ROUNDS, _ROUNDS, _STEPS, _FIELD_MM = 1, 3, 3, 85.0
# Azimuth, elevation, centre (3), log radius, log length over radius, base, its slopes (2): for numerical slopes, and
# the largest step.
_DELTA = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.01, 0.01, 0.5, 0.02, 0.02])
_LARGEST = np.array([10, 10, 6, 6, 6, 0.1, 0.1, 6, 0.2, 0.2])
_ALL = (0, 1, 2)
_KNOWN = np.array([0, 1, 5, 6, 8, 9])
# Measured on synthetic patients (bench/results/axis): what few right axes show.
LEAST_LIKENESS, _RIVAL, _UNUSUAL = 0.75, 0.04, 2.5


@dataclass(frozen=True)
class LongAxis:
    """axes: of the slices, through the middle of the ventricle. likeness: correlation of the image with the ventricle
    that was fitted, -1 ... 1. radius_mm, length_mm: of the wall's middle, across the widest section and from there to
    the apex. doubts: why it may be wrong, a clause each.
    """

    axes: Axes
    likeness: float
    radius_mm: float
    length_mm: float
    doubts: tuple[str, ...] = ()


def find_long_axis(volume: Tensor, grid: Grid) -> LongAxis:
    """The long axis of the left ventricle in a transaxial volume [nz, n, n] (NC or AC, of any unit) on `grid`.

    Raises ValueError for counts that are not finite, or none at all.
    """
    counts = volume.detach().cpu().double().numpy()
    if not np.isfinite(counts).all() or counts.max() <= 0:
        raise ValueError("the left ventricle is sought in a volume of finite counts, some of them above zero")
    fine, coarse = (_averaged(counts, grid, mm) for mm in (_FIT_MM, _SEARCH_MM))
    field, places, _ = fine
    fits = [_fitted(field, places, start, _FIRST_ROUNDS) for start in _candidates(*coarse)]
    fits.sort(key=lambda fit: -fit[1])
    fits[:_FINAL] = [_fitted(field, places, start, _ROUNDS) for start, _ in fits[:_FINAL]]
    fits.sort(key=lambda fit: -fit[1])
    parameters, likeness = fits[0]
    return _described(parameters, likeness, fits[1:])


def _described(parameters: Array, likeness: float, others: list[tuple[Array, float]]) -> LongAxis:
    radius = float(np.exp(parameters[5]))
    length = radius * float(np.exp(parameters[6]))
    axes = axes_at(parameters[0], parameters[1], np.zeros(3))
    # Slices are cut about the middle between apex and base.
    middle = parameters[2:5] + 0.5 * (length + parameters[7]) * axes.long
    axes = axes_at(parameters[0], parameters[1], middle)
    doubts = []
    if likeness < LEAST_LIKENESS:
        doubts.append(f"what was found looks little like a ventricle (correlation {likeness:.2f})")
    if any(
        np.linalg.norm(each[2:5] - parameters[2:5]) > _APART_MM and found > likeness - _RIVAL for each, found in others
    ):
        doubts.append("another place looks as much like one")
    off = np.abs(parameters[_KNOWN] - _MEAN)[:4] / _SD[:4]
    if off.max() > _UNUSUAL or not -60 < axes.elevation < 75:
        doubts.append(
            f"its direction or size is unusual (azimuth {axes.azimuth:.0f}, elevation {axes.elevation:.0f} degrees, "
            f"radius {radius:.0f}, length {length:.0f} mm)"
        )
    return LongAxis(axes, likeness, radius, length, tuple(doubts))


def _averaged(counts: Array, grid: Grid, about_mm: float) -> tuple[Array, Array, float]:
    """Square roots of the counts on voxels of about this size, the voxels' centres [3 (x, y, z), z, y, x], and their
    size, mm.
    """
    group = max(round(about_mm / grid.dx), 1)
    sizes = [n // group for n in counts.shape]
    kept = counts[tuple(slice(0, n * group) for n in sizes)]
    mean = kept.reshape(sizes[0], group, sizes[1], group, sizes[2], group).mean((1, 3, 5))
    axes = (grid.axis_z(), grid.axis_y(), grid.axis_x())
    centres = [axis[: n * group].reshape(n, group).mean(1) for axis, n in zip(axes, sizes)]
    # Square roots: gut and liver that outshine the heart must not hide it.
    places = np.stack(np.meshgrid(*centres, indexing="ij")[::-1])
    return np.sqrt(np.maximum(mean, 0)), places, group * grid.dx


def _candidates(field: Array, places: Array, mm: float) -> Iterator[Array]:
    """Parameters of ventricles at the places, and in the directions, in which one fits best; best first."""
    half = int(np.ceil(_BALL_MM / mm))
    size = [n + 2 * half for n in field.shape]
    offsets = np.stack(np.meshgrid(*[np.arange(-half, half + 1) * mm] * 3, indexing="ij")[::-1])
    ball = ((offsets**2).sum(0) <= _BALL_MM**2).astype(float)
    spectra = {power: np.fft.rfftn(field**power, size, _ALL) for power in (1, 2)}

    def correlated(kernel: Array, power: int) -> Array:
        full = np.fft.irfftn(spectra[power] * np.conj(np.fft.rfftn(kernel, size, _ALL)), size, _ALL)
        # The kernel's middle is its voxel `half`, so the sum about voxel k is found at k - half.
        return np.roll(full, half, _ALL)[tuple(map(slice, field.shape))]

    mean = correlated(ball, 1) / ball.sum()
    spread = np.sqrt(np.maximum(correlated(ball, 2) - ball.sum() * mean**2, 1e-6 * field.max() ** 2))
    score, chosen = np.full(field.shape, -np.inf), np.zeros(field.shape, int)
    starts = [_start(*each) for each in product(_AZIMUTHS, _ELEVATIONS, _RADII_MM)]
    for k, start in enumerate(starts):
        kernel = _model(start, offsets.reshape(3, -1))[0].reshape(ball.shape)
        kernel = ball * (kernel - (kernel * ball).sum() / ball.sum())
        # What looks like a ventricle in the noise of a pale place is none: counts have a say.
        value = correlated(kernel / np.linalg.norm(kernel), 1) / spread * np.sqrt(np.clip(mean / mean.max(), 0, 0.3))
        chosen, score = np.where(value > score, k, chosen), np.maximum(value, score)
    for _ in range(_CANDIDATES):
        at = np.unravel_index(int(score.argmax()), field.shape)
        where = places[:, at[0], at[1], at[2]]
        start = starts[chosen[at]].copy()
        start[2:5] = where
        yield start
        score[((places - where[:, None, None, None]) ** 2).sum(0) < _APART_MM**2] = -np.inf


def _start(azimuth: float, elevation: float, radius: float) -> Array:
    return np.array([azimuth, elevation, 0, 0, 0, np.log(radius), _MEAN[3], -0.7 * radius, *_MEAN[4:]])


def _model(parameters: Array, points: Array) -> tuple[Array, Array, Array]:
    """A ventricle's blurred wall, 0 ... 1, at points [3, n] (LPS, mm); their distance outward from the wall's middle,
    and how far they lie beyond the base, towards the apex, mm.
    """
    azimuth, elevation, *centre, log_radius, log_ratio, base, lateral, up = parameters
    axes = axes_at(azimuth, elevation, np.zeros(3))
    along, upward, sideward = np.stack([axes.long, axes.up, axes.lateral]) @ (points - np.array(centre)[:, None])
    radius, across = np.exp(log_radius), np.hypot(upward, sideward)
    length = radius * np.exp(log_ratio)
    level = np.hypot(across / radius, along / length)
    # To first order the distance from an ellipsoid is its excess over the length of its gradient.
    slope = np.hypot(across / radius**2, along / length**2) / np.maximum(level, 1e-6)
    distance = (level - 1) / np.maximum(slope, 1 / length)
    beyond = along - (base + lateral * sideward + up * upward)
    end = 1 / (1 + np.exp(np.clip(-beyond / (0.5 * _WALL_SIGMA_MM), -50, 50)))
    return np.exp(-0.5 * (distance / _WALL_SIGMA_MM) ** 2) * end, distance, beyond


def _fitted(field: Array, places: Array, parameters: Array, rounds: int) -> tuple[Array, float]:
    """The parameters of the ventricle near these, and its correlation with the image."""
    likeness = -1.0
    for _ in range(rounds):
        near = ((places - parameters[2:5, None, None, None]) ** 2).sum(0) < _FIELD_MM**2
        points, seen = places[:, near], field[near]
        drawn, distance, beyond = _model(parameters, points)
        if not (drawn > 0.75).any() or not (level := float(np.median(seen[drawn > 0.75]))) > 0:
            return parameters, -1.0
        seen = np.minimum(seen / level, _CAP)
        weight = np.where(distance < _NEAR_MM, 1.0, np.where(distance < _FAR_MM, _FAR_WEIGHT, 0.0))
        weight *= beyond > -_BEHIND_MM
        for _ in range(_STEPS):
            parameters = parameters + _step(parameters, points, seen, weight)
        drawn = _model(parameters, points)[0][weight > 0]
        likeness = float(np.corrcoef(drawn, seen[weight > 0])[0, 1])
    return parameters, likeness


def _step(parameters: Array, points: Array, seen: Array, weight: Array) -> Array:
    """One Gauss-Newton step of the parameters, of the wall's counts and of the background's."""
    drawn = _model(parameters, points)[0]
    linear = np.stack([drawn, np.ones_like(drawn)], 1)
    root = np.sqrt(weight)[:, None]
    scale, *_ = np.linalg.lstsq(linear * root, seen * root[:, 0], rcond=None)
    moved = (_model(parameters + delta, points)[0] for delta in np.diag(_DELTA))
    slopes = np.stack([(each - drawn) / delta for each, delta in zip(moved, _DELTA)], 1)
    jacobian = np.concatenate([scale[0] * slopes, linear], 1)
    normal = jacobian.T @ (jacobian * weight[:, None]) / _NOISE
    target = jacobian.T @ (weight * (seen - linear @ scale)) / _NOISE
    normal[_KNOWN, _KNOWN] += 1 / _SD**2
    target[_KNOWN] -= (parameters[_KNOWN] - _MEAN) / _SD**2
    step = np.linalg.solve(normal + 1e-9 * np.eye(len(normal)), target)[: len(parameters)]
    return np.clip(step, -_LARGEST, _LARGEST)
