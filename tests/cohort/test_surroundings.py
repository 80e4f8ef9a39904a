"""What a population has around a small field: found again where it is a combination of what is known."""

import numpy as np
import pytest

from spectac_fast.cohort.surroundings import (
    gathered,
    read_surroundings,
    surroundings_of,
    write_surroundings,
)
from spectac_fast.data.geometry.around import Expected, Stack
from spectac_fast.errors import InputError

MM = 13.6
# Slices, rows and columns along (long axis to the base, up, lateral).
AXES = {
    "SA": np.diag([-1.0, -1.0, 1.0]),
    "VLA": np.array([[0, 0, 1.0], [0, -1, 0], [1, 0, 0]]),
    "HLA": np.array([[0, 1.0, 0], [-1, 0, 0], [0, 0, 1]]),
}


def shown(volume, plane="SA", known=None):
    """A plane of a volume, which is a function of places [..., 3], mm."""
    steps = MM * AXES[plane]
    shape = np.array([15, 32, 32])
    first = -(shape - 1) / 2 @ steps
    counts = volume(first + np.moveaxis(np.indices(shape), 0, -1) @ steps).astype(np.float32)
    known = np.ones(counts.shape, bool) if known is None else np.broadcast_to(known, counts.shape)
    return Stack(np.where(known, counts, np.float32(0)), known, first, steps), counts


def person(rng):
    """A smooth volume whose slopes are drawn, everywhere more than air and less than a hot organ."""
    a, b, c = rng.uniform(-1, 1, 3)

    def volume(at):
        long, up, lateral = np.moveaxis(at / 220, -1, 0)
        return 0.3 + 0.05 * a * lateral + 0.05 * b * up * lateral + 0.04 * c * (long**2 - up)

    return volume


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(3)
    return surroundings_of([[shown(person(rng))[0]] for _ in range(8)], "eight volumes", components=3)


def square(px):
    inside = np.zeros((32, 32), bool)
    inside[16 - px // 2 : 16 + px // 2, 16 - px // 2 : 16 + px // 2] = True
    return inside


@pytest.mark.parametrize(("px", "most"), [(12, 0.9), (20, 0.4)])
def test_what_is_outside_is_found_again(known, fresh, px, most):
    """Better than the mean of a population, over ten people: from a small field little follows, from a wider more."""
    people = [shown(person(fresh), known=square(px)) for _ in range(10)]
    usual = np.mean([shown(person(fresh))[1] for _ in range(100)], axis=0)
    off, typical = 0.0, 0.0
    for stack, truth in people:
        (found,) = known.filled([stack])
        np.testing.assert_array_equal(found[stack.known], truth[stack.known])
        off += np.mean((found - truth)[~stack.known] ** 2)
        typical += np.mean((usual - truth)[~stack.known] ** 2)
    assert off < most**2 * typical


def test_planes_are_filled_in_together(fresh):
    rng = np.random.default_rng(4)
    volumes = [person(rng) for _ in range(8)]
    known = surroundings_of([[shown(v, plane)[0] for plane in AXES] for v in volumes], "eight", components=3)
    volume = person(fresh)
    # One plane knows nothing but a corner, the others a good deal.
    corner = np.zeros((32, 32), bool)
    corner[:4, :4] = True
    stacks = [shown(volume, plane, mask)[0] for plane, mask in zip(AXES, (corner, square(20), square(20)))]
    together, alone = known.filled(stacks)[0], known.filled(stacks[:1])[0]
    truth = shown(volume)[1]
    assert np.abs(together - truth).mean() < np.abs(alone - truth).mean()
    assert np.abs(together - truth).mean() < 0.03


def test_each_node_averages_the_voxels_about_it(rng):
    slope = rng.uniform(-1, 1, 3) / 200
    values, held = gathered([shown(lambda at: 2 + at @ slope)[0]])
    nodes = np.moveaxis((np.indices(held.shape) - 15.5) * 13.6, 0, -1)
    inner = held & (np.abs(nodes[..., 1:]).max(axis=-1) < 190) & (np.abs(nodes[..., 0]) < 80)
    assert inner.sum() > 3000
    np.testing.assert_allclose(values[inner], 2 + nodes[inner] @ slope, rtol=1e-4)


def test_nothing_known_changes_nothing(known, fresh):
    stack, _ = shown(person(fresh), known=np.zeros((32, 32), bool))
    np.testing.assert_array_equal(known.filled([stack])[0], stack.counts)


def test_what_is_filled_in_is_never_below_zero(known, fresh):
    stack, _ = shown(lambda at: fresh.uniform(0, 3, at.shape[:-1]), known=square(12))
    (found,) = known.filled([stack])
    assert np.isfinite(found).all()
    assert found.min() >= 0


def test_a_file_holds_them(tmp_path, known, fresh):
    cost = Expected((150.0, 218.0, 435.0), (0.1, 0.02, 0.0), (0.2, 0.05, 0.0), (0.05, 0.01, 0.0))
    measured = type(known)(**{**vars(known), "weights": "abc", "together": cost})
    write_surroundings(tmp_path / "x.npz", measured)
    again = read_surroundings(tmp_path / "x.npz", "abc")
    assert (again.about, again.together, again.alone) == ("eight volumes", cost, None)
    stack, _ = shown(person(fresh), known=square(14))
    np.testing.assert_allclose(again.filled([stack])[0], known.filled([stack])[0], atol=0.01)
    assert read_surroundings(tmp_path / "x.npz", "of other weights") is None
    assert read_surroundings(tmp_path / "none.npz", "abc") is None


@pytest.mark.parametrize("damage", [b"", b"PK", b"no archive"])
def test_a_damaged_file_is_named(tmp_path, damage):
    (tmp_path / "x.npz").write_bytes(damage)
    with pytest.raises(InputError, match=r"x\.npz: expected surroundings"):
        read_surroundings(tmp_path / "x.npz", "abc")


def test_too_few_volumes(fresh):
    with pytest.raises(ValueError, match="3 components need more than 3 volumes, found 2"):
        surroundings_of([[shown(person(fresh))[0]]] * 2, "two", components=3)


def test_expected_errors():
    fields = (150.0, 200.0, 300.0, 400.0)
    cost = Expected(fields, (0.09, 0.02, 0.04, 0.0), (0.1, 0.1, 0.1, 0.0), (0.04, 0.02, 0.01, 0.0))
    assert cost.at(175.0) == pytest.approx((0.055, 0.1))
    # Nothing below the last field that costs too much.
    assert cost.least(0.03, 1.0) == 400.0
    assert [cost.at(mm) for mm in (10.0, 500.0)] == [(0.09, 0.1), (0.0, 0.0)]
    assert [cost.least(error, 1.0) for error in (0.0, 0.05, 0.2)] == [400.0, 200.0, 150.0]
    # Nor below one that costs too much after a factor.
    assert [cost.least(0.2, shape) for shape in (0.0, 0.015, 0.03, 0.05)] == [400.0, 300.0, 200.0, 150.0]
