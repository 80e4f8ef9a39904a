"""Where the left ventricle lies in a short-axis stack: a half-ellipsoid fitted to the middle of its wall.

The search needs the counts alone. A coarse grid of ellipsoids finds the ring of wall about a darker cavity; then the
ellipsoid is drawn, in a few rounds, to the ridge of counts along its own normals (the idea of Germano et al., J. Nucl.
Med. 36:2107, 1995), under a prior on tilt and shape that bridges defects, and with little weight for ridges far off,
which are liver or gut. Distances are in mm from the centre of the stack, along (base to apex), up (anterior) and
lateral (to the right of the slice).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Spacing = tuple[float, float, float]

# The wall of a gated mean is 9 to 13 mm thick and imaged with 13 mm FWHM: its thickness cannot be seen.
WALL_MM = 10.0
_SMOOTH_MM = 3.0

# What is known of hearts before an image is seen (mean, SD); the tilt is what an operator leaves.
_RADIUS_MM, _LENGTH_OVER_RADIUS, _LOG_SD = 27.0, 1.75, (0.18, 0.10)
_TILT_SD = math.radians(4.0)
_RIDGE_SD_MM, _INDEPENDENT_RAYS = 4.0, 24
_LARGEST_STEP = np.array([8.0, 8.0, 8.0, 0.1, 0.1, 0.2, 0.2])
# A curved wall that is blurred is brightest inside its middle, most where it is most curved: measured on the synthetic
# validation patients, at the widest section and at the apex.
_RIDGE_INSIDE_MM = (1.7, 3.5)
# The base limit: there three angles in ten have less than this share of their own wall's counts.
_BASE_QUANTILE, _BASE_SHARE = 0.3, 0.75


@dataclass(frozen=True)
class Ventricle:
    """The middle of the left ventricle's wall.

    centre_mm: (along, up, lateral) of the widest section, from the stack's centre. tilt_deg: (up, lateral) angle of
    the long axis, towards the apex, off the stack's own. radius_mm: of the widest section. length_mm: from there to
    the apex. base_mm: from there to the base limit, negative towards the base. wall_mm: thickness.
    """

    centre_mm: tuple[float, float, float]
    radius_mm: float
    length_mm: float
    base_mm: float
    tilt_deg: tuple[float, float] = (0.0, 0.0)
    wall_mm: float = WALL_MM

    @classmethod
    def of_phantom(cls, lv: Mapping[str, float]) -> Ventricle:
        """The known geometry of a synthetic patient: the ``lv`` of a cohort's record."""
        return cls(
            centre_mm=(lv["base_long_mm"] + lv["equator_mm"], lv["base_up_mm"], lv["base_lateral_mm"]),
            radius_mm=lv["mid_radius_mm"],
            length_mm=lv["mid_length_mm"],
            # 12 mm from the base plane the wall is there all around; the septum ends below it.
            base_mm=12.0 - lv["equator_mm"],
            wall_mm=lv["wall_mm"],
        )

    @property
    def axes(self) -> NDArray[np.float64]:
        """Unit vectors (long, up, lateral), rows of [3, 3], in the stack's (along, up, lateral)."""
        long = np.array([1.0, *np.tan(np.radians(self.tilt_deg))])
        long /= np.linalg.norm(long)
        up = np.array([0.0, 1.0, 0.0]) - long[1] * long
        up /= np.linalg.norm(up)
        return np.stack([long, up, np.cross(long, up)])

    @property
    def apex_mm(self) -> float:
        """Where the wall's middle crosses the axis at the apex, mm along the stack from its centre."""
        return self.centre_mm[0] + self.length_mm * float(self.axes[0, 0])

    @property
    def base_limit_mm(self) -> float:
        """Where the axis crosses the base limit, mm along the stack from its centre."""
        return self.centre_mm[0] + self.base_mm * float(self.axes[0, 0])

    def normals(self, theta: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """(s, rho) of the surface at the ellipse's parameter, and the unit outward normal's (along, outward) parts."""
        s, rho = self.length_mm * np.sin(theta), self.radius_mm * np.cos(theta)
        along, outward = np.sin(theta) / self.length_mm, np.cos(theta) / self.radius_mm
        norm = np.hypot(along, outward)
        return s, rho, along / norm, outward / norm

    def rays(self, theta: NDArray, phi: NDArray, offsets: NDArray) -> NDArray[np.float64]:
        """Points [3, offsets, theta, phi] along the outward normals, offsets in mm from the surface."""
        s, rho, along, outward = (v[None, :, None] for v in self.normals(theta))
        off, angle = offsets[:, None, None], phi[None, None, :]
        distances = s + off * along, (rho + off * outward) * np.sin(angle), (rho + off * outward) * np.cos(angle)
        points = np.tensordot(self.axes.T, np.stack(np.broadcast_arrays(*distances)), axes=1)
        return points + np.array(self.centre_mm)[:, None, None, None]

    def levels(self, count: int) -> NDArray[np.float64]:
        """The ellipse's parameter at the middle of `count` equal steps from base limit to apex."""
        start = math.asin(min(max(self.base_mm / self.length_mm, -0.95), 0.95))
        return start + (np.arange(count) + 0.5) / count * (math.pi / 2 - start)


def interpolate(stack: NDArray, spacing_mm: Spacing, points: NDArray, order: int = 1) -> NDArray[np.float64]:
    """Counts at points [3, ...] (along, up, lateral), mm, of a stack [slices apex -> base, rows, columns].

    order: of the spline, 1 is linear. Beyond the outermost voxels the stack continues as it ends.
    """
    from scipy.ndimage import map_coordinates

    where = [(n - 1) / 2 + sign * p / abs(mm) for n, sign, p, mm in zip(stack.shape, (-1, -1, 1), points, spacing_mm)]
    return map_coordinates(np.asarray(stack, np.float64), where, order=order, mode="nearest")


def find(stack: NDArray[np.floating], spacing_mm: Spacing) -> Ventricle:
    """The left ventricle of a short-axis stack.

    stack: counts [slices apex -> base, rows, columns], of any kind (NC, corrected, AC); spacing_mm: (slice, row,
    column). Takes about 20 ms. On synthetic patients (bench/results/clinical) the centre is found to a few mm.

    Raises:
        ValueError: counts that are not finite, or none at all.
    """
    from scipy.ndimage import gaussian_filter

    stack = np.asarray(stack, np.float64)
    if not np.isfinite(stack).all() or stack.max(initial=0) <= 0:
        raise ValueError("the left ventricle is sought in a stack of finite counts, some of them above zero")
    smooth = gaussian_filter(stack, [_SMOOTH_MM / abs(mm) for mm in spacing_mm])
    found = _coarse(smooth, spacing_mm)
    for reach, rounds in ((16.0, 5), (12.0, 5)):
        for _ in range(rounds):
            found = _drawn_to_ridge(found, smooth, spacing_mm, reach)
        found = replace(found, base_mm=_base(found, smooth, spacing_mm))
    return replace(
        found, radius_mm=found.radius_mm + _RIDGE_INSIDE_MM[0], length_mm=found.length_mm + _RIDGE_INSIDE_MM[1]
    )


def _coarse(smooth: NDArray, spacing_mm: Spacing) -> Ventricle:
    """The best of a grid of upright ellipsoids: bright wall, dark cavity, less outside; each counted once a ray."""
    shifts = np.stack(np.meshgrid(np.arange(-28, 29, 7), np.arange(-35, 36, 7), np.arange(-35, 36, 7), indexing="ij"))
    shifts = shifts.reshape(3, -1).astype(float)
    centre = interpolate(smooth, spacing_mm, shifts)
    within = np.hypot(np.hypot(*shifts[:2]), shifts[2]) <= 50
    shifts, centre = shifts[:, within], centre[within]
    phi, theta = np.arange(0, 2 * np.pi, np.pi / 6), np.radians([-10.0, 15.0, 40.0, 70.0])
    best, chosen = -np.inf, None
    for radius in (20.0, 25.0, 30.0, 36.0):
        shape = Ventricle((0.0, 0.0, 0.0), radius, _LENGTH_OVER_RADIUS * radius, -0.25 * radius)
        rays = shape.rays(theta, phi, np.array([-0.55 * radius, 0.0, 15.0])).reshape(3, 3, -1)
        values = interpolate(smooth, spacing_mm, rays[:, :, None, :] + shifts[:, None, :, None], order=0)
        # No ray may count for more than a usual wall: gut and liver beside the heart are brighter.
        cap = 1.3 * np.median(values[1], axis=-1, keepdims=True)
        inside, wall, outside = (np.minimum(v, cap).mean(-1) for v in values)
        score = (wall - 0.6 * inside - 0.4 * outside) / (wall + 1e-9) * np.sqrt(np.maximum(wall, 0))
        # The operator has cut the stack about the heart.
        score = score * np.exp(-0.5 * (np.linalg.norm(shifts, axis=0) / 30) ** 2)
        k = int(np.argmax(score))
        if score[k] > best:
            best, chosen = score[k], replace(shape, centre_mm=tuple(shifts[:, k]))
    assert chosen is not None
    return chosen


def _drawn_to_ridge(found: Ventricle, smooth: NDArray, spacing_mm: Spacing, reach: float) -> Ventricle:
    """One weighted least-squares step of centre, tilt, radius and length towards the ridge of counts on every ray."""
    phi, theta = np.arange(0, 2 * np.pi, np.pi / 18), found.levels(14)
    off, weight = _ridge(found, smooth, spacing_mm, theta, phi, reach)
    jacobian = _slopes(found, theta, phi).reshape(-1, 7)
    normal = jacobian.T @ (weight.reshape(-1, 1) * jacobian)
    target = jacobian.T @ (weight * off).ravel()
    unit, tilt = np.eye(7), np.radians(found.tilt_deg)
    for direction, excess, sd in (
        (unit[3], tilt[0], _TILT_SD),
        (unit[4], tilt[1], _TILT_SD),
        (unit[5], math.log(found.radius_mm / _RADIUS_MM), _LOG_SD[0]),
        (unit[6] - unit[5], math.log(found.length_mm / found.radius_mm / _LENGTH_OVER_RADIUS), _LOG_SD[1]),
    ):
        normal += np.outer(direction, direction) / sd**2
        target -= direction * excess / sd**2
    step = np.clip(np.linalg.solve(normal + 1e-9 * unit, target), -_LARGEST_STEP, _LARGEST_STEP)
    stretch = math.exp(step[6])
    return replace(
        found,
        centre_mm=tuple((np.array(found.centre_mm) + step[:3] @ found.axes).tolist()),
        tilt_deg=tuple(np.degrees(tilt + step[3:5]).tolist()),
        radius_mm=found.radius_mm * math.exp(step[5]),
        length_mm=found.length_mm * stretch,
        base_mm=found.base_mm * stretch,
    )


def _ridge(
    found: Ventricle, smooth: NDArray, spacing_mm: Spacing, theta: NDArray, phi: NDArray, reach: float
) -> tuple[NDArray, NDArray]:
    """How far outward the ridge lies on every ray, mm, and what that is worth, 1 / variance; both [theta, phi]."""
    offsets = np.linspace(-reach, reach, 25)
    profile = interpolate(smooth, spacing_mm, found.rays(theta, phi, offsets))
    where = (profile * np.exp(-0.5 * (offsets / (0.8 * reach)) ** 2)[:, None, None]).argmax(0)
    height, off = np.take_along_axis(profile, where[None], 0)[0], offsets[where]
    # A ray says little where the wall is cold, where what is bright goes on to the end of the ray, and where it is
    # much brighter than the others: that is liver or gut.
    relative = height / max(float(np.median(height)), 1e-9)
    weight = np.clip(relative, 0, 1) ** 2 / (1 + 8 * np.maximum(relative - 1.15, 0))
    weight *= np.where((where == 0) | (where == len(offsets) - 1), 0.05, 1.0)
    weight /= 1 + ((off - np.median(off)) / (2 * _RIDGE_SD_MM)) ** 2
    # Rays crowd towards the apex.
    weight *= (found.normals(theta)[1] / found.radius_mm + 0.1)[:, None]
    # Neighbouring rays err together: all of them say as much as some two dozen.
    return off, weight * (_INDEPENDENT_RAYS / max(float(weight.sum()), 1e-9) / _RIDGE_SD_MM**2)


def _slopes(found: Ventricle, theta: NDArray, phi: NDArray) -> NDArray[np.float64]:
    """How far the surface moves along its normal, [theta, phi, 7], by centre (3), tilt (2), log radius, log length."""
    s, rho, along, outward = (v[:, None] for v in found.normals(theta))
    sin, cos = np.sin(phi)[None], np.cos(phi)[None]
    lever = s * outward - rho * along
    slopes = (along, outward * sin, outward * cos, lever * sin, lever * cos, rho * outward, s * along)
    return np.stack(np.broadcast_arrays(*slopes), -1)


def _base(found: Ventricle, smooth: NDArray, spacing_mm: Spacing) -> float:
    """Where, going from the widest section towards the base, most of the ring has lost its wall."""
    phi = np.arange(0, 2 * np.pi, np.pi / 18)
    s = np.arange(0.5 * found.length_mm, -0.75 * found.length_mm, -2.0)
    ring = interpolate(smooth, spacing_mm, found.rays(np.arcsin(s / found.length_mm), phi, np.linspace(-6, 6, 5))).max(
        0
    )
    wall = np.median(ring[s >= -0.1 * found.length_mm], axis=0)
    # An angle whose wall is cold all along is judged by the others' level.
    relative = np.asarray(ring / np.maximum(wall, 0.6 * np.median(wall)), np.float64)
    share = np.quantile(relative, _BASE_QUANTILE, axis=1)
    gone = np.flatnonzero((share < _BASE_SHARE) & (s < 0))
    return float(s[gone[0]]) if len(gone) else -0.6 * found.length_mm
