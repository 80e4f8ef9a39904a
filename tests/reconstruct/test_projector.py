"""The projector: what it adds to its operators, gradients first."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spectac_fast.reconstruct.camera import Collimator
from spectac_fast.reconstruct.projector import Projector, to_columns, to_volume

ANGLES = [-30.0, 10.0, 95.0, 200.0]
RADII = [90.0, 80.0, 100.0, 120.0]


def small(dtype: torch.dtype = torch.float64, n: int = 6, **more) -> Projector:
    return Projector(n, 20.0, ANGLES, radius_mm=RADII, collimator=Collimator(), dtype=dtype, **more)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(shape, dtype=dtype)


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("which", ["values", "mu", "both"])
@pytest.mark.parametrize("way", ["project", "backproject"])
def test_gradcheck(way: str, which: str, maps: int) -> None:
    projector = small()
    values = draw(2, 6, 6, 3) if way == "project" else draw(2, 4, 6, 3)
    mu = 0.1 * draw(maps, 6, 6, 3)
    values.requires_grad_(which != "mu")
    mu.requires_grad_(which != "values")
    assert torch.autograd.gradcheck(lambda v, m: getattr(projector, way)(v, mu=m), (values, mu))


@pytest.mark.parametrize("way", ["project", "backproject"])
def test_a_gradient_in_float32_is_that_in_float64(way: str) -> None:
    """Through compiled code where there is some."""
    gradients = []
    shape = (2, 24, 24, 17) if way == "project" else (2, 4, 24, 17)
    values, mu, weight = (
        draw(*shape),
        0.1 * draw(1, 24, 24, 17),
        draw(*((2, 4, 24, 17) if way == "project" else (2, 24, 24, 17))),
    )
    for dtype in (torch.float32, torch.float64):
        projector = small(dtype, 24)
        inputs = [t.to(dtype).requires_grad_() for t in (values, mu)]
        out = getattr(projector, way)(inputs[0], mu=inputs[1])
        gradients.append(torch.autograd.grad((out * weight.to(dtype)).sum(), inputs))
    for narrow, wide in zip(*gradients):
        assert (narrow - wide).abs().max() <= 1e-5 * wide.abs().max()


def test_gradients_pass_through_an_update_of_osem() -> None:
    """As a network is trained whose map ends in a reconstruction: against finite differences."""
    projector = small()
    truth, mu = 1 + draw(1, 6, 6, 3), (0.05 + 0.05 * draw(1, 6, 6, 3)).requires_grad_()
    views = projector.project(truth, mu=torch.full_like(mu, 0.1).detach())

    def updated(mu: torch.Tensor) -> torch.Tensor:
        estimate = torch.ones_like(truth)
        for _ in range(2):
            ratio = views / projector.project(estimate, mu=mu)
            sensitivity = projector.backproject(torch.ones_like(views), mu=mu)
            estimate = estimate * projector.backproject(ratio, mu=mu) / sensitivity
        return estimate

    assert torch.autograd.gradcheck(updated, (mu,), rtol=1e-4)


@pytest.mark.parametrize("way", ["project", "backproject"])
def test_a_second_derivative_is_refused(way: str) -> None:
    projector = small()
    values = (draw(1, 6, 6, 2) if way == "project" else draw(1, 4, 6, 2)).requires_grad_()
    mu = (0.1 * draw(1, 6, 6, 2)).requires_grad_()
    out = getattr(projector, way)(values, mu=mu)
    for gradient in torch.autograd.grad(out.sum(), (values, mu), create_graph=True):
        for of in (values, mu):
            with pytest.raises(RuntimeError, match="differentiable once: a gradient of its gradient was asked for"):
                torch.autograd.grad(gradient.sum() + of.sum(), of, retain_graph=True)


def test_a_survival_in_place_of_its_map_gives_the_same() -> None:
    projector, mu = small(torch.float32), 0.1 * draw(1, 6, 6, 3, dtype=torch.float32)
    activity, views = draw(1, 6, 6, 3, dtype=torch.float32), draw(1, 4, 6, 3, dtype=torch.float32)
    survival = projector.survival(mu)
    assert torch.equal(projector.project(activity, mu=mu), projector.project(activity, survival=survival))
    assert torch.equal(projector.backproject(views, mu=mu), projector.backproject(views, survival=survival))


def test_a_part_sees_what_the_whole_sees_in_these_views() -> None:
    projector, activity = small(), draw(1, 6, 6, 3)
    assert torch.equal(projector.part([3, 1]).project(activity), projector.project(activity)[:, [3, 1]])


def test_a_contour_orbit_blurs_each_view_by_its_own_radius() -> None:
    """A point on the axis, seen from the same side by collimators at different distances."""
    radii = [120.0, 180.0, 240.0]
    projector = Projector(32, 5.0, [0.0] * 3, radius_mm=radii, collimator=Collimator(), dtype=torch.float64)
    point = torch.zeros(1, 32, 32, 9, dtype=torch.float64)
    point[0, 16, 16, 4] = 1.0
    profile = projector.project(point)[0].sum(2)
    position = 5.0 * (torch.arange(32) - 15.5)
    mean = (profile * position).sum(1, keepdim=True)
    variance = (profile * (position - mean) ** 2).sum(1)
    # The voxel lies 2.5 mm behind the axis; a pixel's own width adds its twelfth.
    expected = Collimator().sigma(np.array(radii) + 2.5) ** 2 + 5.0**2 / 12
    assert variance.numpy() == pytest.approx(expected, rel=1e-3)


def test_columns_and_volumes_are_each_other_turned() -> None:
    volume = torch.rand(2, 3, 5, 5)
    columns = to_columns(volume)
    assert columns.shape == (2, 5, 5, 3)
    assert columns.is_contiguous()
    assert torch.equal(to_volume(columns), volume)
    assert torch.equal(to_columns(volume[0]), columns[:1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius_mm": 0.0}, "radius_mm must be a positive number or one for each of 4 views, found 0.0"),
        ({"radius_mm": [1.0, 2.0]}, "radius_mm must be a positive number or one for each of 4 views"),
        ({"radius_mm": math.inf}, "radius_mm must be a positive number"),
        ({"n": 1}, "n must be 2 to 32767, found 1"),
        ({"angles": [0.0, 1.0, 2.0, math.nan]}, "angles must be finite numbers of degrees"),
    ],
    ids=str,
)
def test_what_makes_no_camera_is_said(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Projector(**{"n": 8, "voxel_mm": 5.0, "angles": ANGLES, **change}).tables  # noqa: B018
