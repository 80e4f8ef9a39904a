"""Short-axis stacks of a ventricle that is known."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from spectac_fast.evaluate.regional.ventricle import Ventricle, interpolate

FWHM_MM = 13.0


def drawn(rng: np.random.Generator) -> Ventricle:
    """A ventricle within what hearts and operators leave."""
    radius = rng.uniform(23, 32)
    length = radius * rng.uniform(1.65, 1.85)
    return Ventricle(
        centre_mm=(rng.uniform(-15, 5), *rng.uniform(-10, 10, 2)),
        radius_mm=radius,
        length_mm=length,
        base_mm=-rng.uniform(0.2, 0.4) * length,
        tilt_deg=tuple(rng.uniform(-4, 4, 2)),
    )


def image(known: Ventricle, shape=(29, 64, 64), mm=(6.8, 6.8, 6.8), *, cold=None, hot=None, rng=None) -> np.ndarray:
    """SA counts of its wall as a camera sees it; cold: (angle, width) of a wall without uptake; hot: gut below it."""
    fine = 3.4
    counts = [round(n * d / fine) for n, d in zip(shape, mm)]
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * fine for n in counts), indexing="ij")
    along, up, lateral = (c - m for c, m in zip((-z, -y, x), known.centre_mm))
    s, u, v = (sum(d * a for d, a in zip((along, up, lateral), axis)) for axis in known.axes)
    depth = 1 - np.hypot(np.hypot(u, v) / known.radius_mm, s / known.length_mm)
    wall = (np.abs(depth) * known.radius_mm < known.wall_mm / 2) & (s > known.base_mm)
    activity = np.where(wall, 1.0, np.where((depth > 0) & (s > known.base_mm), 0.08, 0.1))
    if cold:
        angle = np.degrees(np.arctan2(u, v))
        activity[wall & (np.abs((angle - cold[0] + 180) % 360 - 180) < cold[1] / 2)] = 0.15
    if hot:
        outer = known.radius_mm + known.wall_mm / 2
        activity[np.hypot(np.hypot(along - 5, up + outer + 32), lateral - 8) < 24] = hot
    blurred = gaussian_filter(activity, FWHM_MM / 2.3548 / fine)
    grid = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * d for n, d in zip(shape, mm)), indexing="ij")
    stack = 400 * interpolate(blurred, (fine, fine, fine), np.stack([-grid[0], -grid[1], grid[2]]))
    return (stack if rng is None else rng.poisson(stack)).astype(np.float32)
