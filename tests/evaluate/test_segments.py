"""Seventeen segments of a ventricle whose geometry is known."""

from __future__ import annotations

import numpy as np
import pytest

from spectac_fast.evaluate.regional.segments import SEGMENT_NAMES, polar_map, segment_map, segment_means
from spectac_fast.evaluate.regional.ventricle import Ventricle

LV = {
    "base_long_mm": -35.0, "base_up_mm": 3.0, "base_lateral_mm": -4.0,
    "equator_mm": 24.0, "mid_radius_mm": 26.0, "mid_length_mm": 46.0, "wall_mm": 12.0,
}  # fmt: skip
KNOWN = Ventricle.of_phantom(LV)
MM = (3.4, 3.4, 3.4)


def ventricle(uptake_of_angle=None) -> np.ndarray:
    """SA stack [58, 64, 64] at 3.4 mm of an ellipsoidal wall; uptake may depend on the angle in degrees."""
    z, y, x = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (58, 64, 64)), indexing="ij")
    s = -z * MM[0] - LV["base_long_mm"]
    u, v = -y * MM[1] - LV["base_up_mm"], x * MM[2] - LV["base_lateral_mm"]
    radius = np.sqrt((np.hypot(u, v) / LV["mid_radius_mm"]) ** 2 + ((s - LV["equator_mm"]) / LV["mid_length_mm"]) ** 2)
    wall = (np.abs(radius - 1) * LV["mid_radius_mm"] < LV["wall_mm"] / 2) & (s > 0)
    uptake = 1.0 if uptake_of_angle is None else uptake_of_angle(np.degrees(np.arctan2(u, v)) % 360)
    return (100 * wall * uptake).astype(np.float32)


def test_the_seventeen_segments_tile_the_map() -> None:
    segments = segment_map()
    assert sorted(np.unique(segments)) == list(range(1, 18))
    assert len(SEGMENT_NAMES) == 17
    # Cerqueira 2002: anterior at 90 degrees, inferior at 270, septum opposite the lateral wall.
    column = {angle: segments[:, angle // 5] for angle in (0, 90, 180, 270)}
    assert column[90][0] == 1
    assert column[270][0] == 4
    assert {SEGMENT_NAMES[k - 1].split()[-1] for k in column[90][:-1]} >= {"anterior"}
    assert (segments[-1] == 17).all()


def test_uniform_uptake_is_uniform_in_all_segments() -> None:
    assert segment_means(ventricle(), KNOWN, MM) == pytest.approx(100, abs=3)


@pytest.mark.parametrize(
    ("angle", "low"), [(90, {1, 7, 13}), (270, {4, 10, 15}), (0, {5, 6, 11, 12, 16}), (180, {2, 3, 8, 9, 14})]
)
def test_a_cold_wall_lowers_its_own_segments(angle: float, low: set[int]) -> None:
    half = 30 if angle in (90, 270) else 60
    cold = ventricle(lambda a: np.where(np.abs((a - angle + 180) % 360 - 180) < half, 0.4, 1.0))
    means = segment_means(cold, KNOWN, MM)
    for number in range(1, 17):
        if number in low:
            assert means[number - 1] < 75
        else:
            assert means[number - 1] > 75


def test_a_hot_liver_beside_the_wall_is_not_taken_for_it() -> None:
    stack = ventricle()
    stack[:, 46:, :] = 1000.0
    assert segment_means(stack, KNOWN, MM) == pytest.approx(segment_means(ventricle(), KNOWN, MM), abs=3)


def test_nan_counts_stay_nan() -> None:
    stack = ventricle()
    stack[20:40, 20:40, 20:44] = np.nan
    assert np.isnan(polar_map(stack, KNOWN, MM)).any()
