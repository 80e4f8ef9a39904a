"""Maps made from slices: shapes whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectac_fast.errors import InputError
from spectac_fast.reconstruct.maps import (
    attention_from_nc,
    attenuation_of_ct,
    contour_from_nc,
    convex_hull,
    mu_of_hu,
    path_transmission,
    read_map,
)


def disc(size, radius, row=0.0, column=0.0):
    at = torch.arange(size) - (size - 1) / 2
    return ((at[:, None] - row) ** 2 + (at[None] - column) ** 2 < radius**2).float()[None, None]


@pytest.mark.parametrize("shape", [(4, 6), (3, 4, 6), (3, 1, 4, 6)])
def test_maps_are_read_from_files(tmp_path, shape):
    values = np.random.default_rng(1).random(shape)
    np.save(tmp_path / "map.npy", values)
    found = read_map(tmp_path / "map.npy")
    assert found.dtype == torch.float32
    assert found.shape == (1 if len(shape) == 2 else 3, 1, 4, 6)
    assert np.array_equal(found.numpy().ravel(), values.astype(np.float32).ravel())


@pytest.mark.parametrize(
    "values",
    [np.zeros(5), np.zeros((2, 2, 4, 4)), np.full((4, 4), 2.0), np.full((4, 4), np.nan), np.zeros((0, 4)),
     np.array([["a"]]), np.array([[None]])],
)  # fmt: skip
def test_odd_maps_are_named(tmp_path, values):
    np.save(tmp_path / "odd.npy", values)
    with pytest.raises(InputError, match=r"odd\.npy"):
        read_map(tmp_path / "odd.npy")


def test_files_that_are_no_maps_are_named(tmp_path):
    (tmp_path / "text.npy").write_text("no numbers")
    np.savez(tmp_path / "two.npz", a=np.zeros(2))
    for name in ("text.npy", "two.npz", "missing.npy"):
        with pytest.raises(InputError, match=name):
            read_map(tmp_path / name)


def test_attention_is_the_largest_hot_part_grown():
    hot = disc(32, 5, row=-6)
    nc = -1 + 0.1 * disc(32, 14) + 0.9 * hot + 1.5 * disc(32, 1.5, row=8)
    assert torch.equal(attention_from_nc(nc, share=0.3, grow=0), hot)
    grown = attention_from_nc(nc, share=0.3)
    assert float(grown.sum()) > float(hot.sum())
    assert torch.equal(grown * hot, hot)


def test_attention_of_nothing_is_nothing():
    nc = torch.full((2, 1, 16, 16), -1.0)
    nc[1, 0, 4:7, 4:7] = 1.0
    found = attention_from_nc(nc, grow=0)
    assert float(found[0].sum()) == 0
    assert float(found[1].sum()) == 9


def test_parts_touch_by_their_corners_and_are_found_however_they_wind():
    nc = torch.full((1, 1, 24, 24), -1.0)
    nc[0, 0, ::4, 1:23] = 1.0  # a snake, longer than any of its straight pieces
    nc[0, 0, 1:4, 22] = nc[0, 0, 9:12, 22] = nc[0, 0, 17:20, 22] = 1.0
    nc[0, 0, 5:8, 1] = nc[0, 0, 13:16, 1] = 1.0
    snake = (nc > 0).float()
    nc[0, 0, 2, 2:20] = 1.0
    assert torch.equal(attention_from_nc(nc, grow=0), snake)


def test_slices_of_a_batch_do_not_meet():
    nc = 2 * torch.rand(3, 1, 20, 20) - 1
    together = attention_from_nc(nc), contour_from_nc(nc)
    for i in range(3):
        assert torch.equal(together[0][i], attention_from_nc(nc[i : i + 1])[0])
        assert torch.equal(together[1][i], contour_from_nc(nc[i : i + 1])[0])


def test_hull_fills_what_is_bent_in():
    ring = disc(40, 15) - disc(40, 10)
    assert torch.equal(convex_hull(ring), disc(40, 15))
    corner = torch.zeros(1, 1, 20, 20)
    corner[0, 0, 3, 3:15] = corner[0, 0, 3:15, 3] = 1.0
    hull = convex_hull(corner)
    assert float(hull[0, 0, 5, 5]) == 1
    assert float(hull[0, 0, 14, 14]) == 0
    assert float(convex_hull(torch.zeros(1, 1, 8, 8)).sum()) == 0


def test_contour_ignores_what_lies_apart():
    nc = -1 + disc(40, 12) + 0.5 * disc(40, 2, row=17, column=17)
    assert torch.equal(contour_from_nc(nc), disc(40, 12))


def test_published_attenuation_at_known_tissues():
    hu = torch.tensor([-1024.0, -1000.0, -500.0, 0.0, 500.0, 1000.0])
    expected = torch.tensor([0.0, 0.0, 0.0465, 0.093, 0.12095, 0.1489])
    assert torch.allclose(attenuation_of_ct((hu + 1024) / 2047), torch.exp(-expected), atol=1e-6)
    assert torch.allclose(mu_of_hu(torch.tensor([-2000.0, 0.0, 5000.0])), torch.tensor([0.0, 0.154, 0.294]))


@pytest.mark.parametrize("pixel_mm", [3.4, 6.8])
def test_transmission_in_a_disc(pixel_mm):
    """Every path out of a disc is a chord; the mean is over all directions, so only the distance r counts."""
    radius, mu = 12.0, 0.15
    found = path_transmission(mu * disc(48, radius), pixel_mm)
    angles = torch.arange(720) * (2 * math.pi / 720)
    for column, tolerance in ((23, 0.02), (18, 0.02), (13, 0.05)):
        r = math.hypot(0.5, 23.5 - column)
        chord = r * torch.cos(angles) + (radius**2 - (r * torch.sin(angles)) ** 2).sqrt()
        expected = torch.exp(-mu * 0.1 * pixel_mm * chord).mean().item()
        assert found[0, 0, 23:25, column].mean().item() == pytest.approx(expected, rel=tolerance), column
    assert float(found.max()) <= 1 + 1e-6


def test_transmission_of_a_field_that_is_not_square():
    field = torch.zeros(2, 1, 12, 20)
    field[1] = 0.15
    found = path_transmission(field, 6.8)
    assert found.shape == field.shape
    assert torch.allclose(found[0], torch.ones(1, 12, 20))
    assert float(found[1, 0, 6, 10]) < float(found[1, 0, 0, 0])
