"""Where a stack ends, and whether the patient goes on there: grids, padding, and zeros that were put around."""

from dataclasses import replace

import numpy as np
import pytest

from spectac_fast.data.geometry.field import field_of
from spectac_fast.formats.series import Series

MM = 6.8


def body(rng, size=64, radius_mm=(175.0, 140.0)):
    """A stack of an elliptic body with a heart and noise; zeros in the air."""
    z, y, x = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * MM for n in (15, size, size)), indexing="ij")
    heart = np.exp(-0.5 * ((np.sqrt(x * x + y * y + z * z) - 35) / 9) ** 2)
    tissue = (x / radius_mm[0]) ** 2 + (y / radius_mm[1]) ** 2 < 1
    counts = tissue * rng.poisson(60 + 600 * heart)
    return Series(counts.astype(np.float32), "SA", "rest", (MM, MM), MM, (1, 0, 0, 0, 1, 0), (0, 0, 0), False, "SA.dcm")


def kept(size, across_px, round_, off=(0, 0)):
    """Pixels of a square or circle of so many pixels across, moved by `off`."""
    y, x = (np.arange(size)[:, None] - off[0] - (size - 1) / 2, np.arange(size) - off[1] - (size - 1) / 2)
    half = across_px / 2
    return y * y + x * x <= half * half if round_ else (abs(y) < half) & (abs(x) < half)


@pytest.mark.parametrize("plane", ["SA", "VLA"])
@pytest.mark.parametrize("round_", [False, True])
@pytest.mark.parametrize("across_px", [22, 32, 38])
def test_zeros_around_the_heart(rng, plane, round_, across_px):
    whole = replace(body(rng), plane=plane)
    inside = kept(64, across_px, round_)
    found = field_of(replace(whole, counts=whole.counts * inside))
    assert found.ends_within
    assert found.across_mm == pytest.approx(across_px * MM, abs=1.2 * MM)
    # A side to which no counts reach may lie anywhere.
    assert (found.inside | ~inside).all()
    assert (found.inside & ~inside).mean() < 0.02
    np.testing.assert_array_equal(found.bounded(whole.counts)[~found.inside], 0)


def test_zeros_around_something_else_than_the_middle(rng):
    whole = body(rng)
    found = field_of(replace(whole, counts=whole.counts * kept(64, 28, False, off=(2, -3))))
    assert found.across_mm == pytest.approx((28 - 2 * 3) * MM)


def test_cropped(rng):
    whole = body(rng)
    found = field_of(replace(whole, counts=whole.counts[:, 16:48, 18:46]))
    assert found.inside is None
    assert found.ends_within
    assert found.across_mm == pytest.approx(28 * MM)


@pytest.mark.parametrize("size", [64, 56])
def test_air_around_a_patient_is_air(rng, size):
    found = field_of(body(rng, size))
    assert (found.inside, found.ends_within) == (None, False)
    assert found.across_mm == pytest.approx(size * MM)


def test_an_oblique_end_of_a_volume_is_none_of_a_field(rng):
    whole = replace(body(rng), plane="VLA")
    y, x = np.mgrid[:64, :64]
    found = field_of(replace(whole, counts=whole.counts * (y + 0.35 * x < 55)))
    assert (found.inside, found.ends_within) == (None, False)


def test_padding_is_outside(rng):
    whole, inside = body(rng), kept(64, 40, True)
    padding = np.where(np.broadcast_to(inside, whole.counts.shape), np.nan, -1).astype(np.float32)
    padding[:2] = -1
    found = field_of(replace(whole, counts=np.where(np.isnan(padding), whole.counts, 0), padding=padding))
    np.testing.assert_array_equal(found.inside, np.isnan(padding))
    assert found.ends_within


def test_a_stack_without_counts_about_its_middle(rng):
    whole = body(rng)
    found = field_of(replace(whole, counts=np.zeros_like(whole.counts)))
    assert (found.inside, found.ends_within) == (None, False)
