"""project and photon_survival on every back end against their definition in float64, and that against scipy and erf."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from scipy.special import erf
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from spectac_fast._op import Op
from spectac_fast.ops import photon_survival, project, view_tables
from spectac_fast.ops.project import sample_tables

ROUNDING = float(np.finfo(np.float32).eps) / 2
OPS = {"project": project, "photon_survival": photon_survival}


def widened(call):
    """The same call in float64."""
    device = torch.device("cpu")
    return {k: v.to(device, torch.float64) if k != "backend" else v for k, v in call.items()}


def bound_of(call, operator):
    """What rounding may do to a sum of products: a part of the sum of their sizes, for every rounding on their way."""
    sizes = {k: v.abs() if isinstance(v, torch.Tensor) else v for k, v in call.items()}
    tables = call["tables"]
    # A tap or weight is rounded, multiplied and added; sums of n planes, of both sides, and of four neighbours; the
    # path of a survival is rounded by a part of itself.
    path = 4 + (0 if call.get("mu") is None else 0.2 * tables.n * tables.voxel_cm * (tables.n + 8))
    roundings = 12 + path + tables.n + 2 * (0 if tables.taps is None else tables.taps.shape[-1])
    return roundings * ROUNDING * operator(**sizes)


def random_calls(device):
    """Calls with values of both signs, which cancel, so that nothing but the sizes bounds the error."""
    for tables, nz in sample_tables(device):
        activity = torch.randn(2, tables.n, tables.n, nz, device=device)
        survival = torch.rand(1, tables.views, tables.n, tables.n, nz, device=device)
        mu = 0.2 * torch.rand(2, tables.n, tables.n, nz, device=device)
        attenuations = (
            {"survival": survival},
            {"survival": survival.expand(2, -1, -1, -1, -1)},
            {"mu": mu},
            {"mu": mu[:1]},
        )
        for more in ({}, *attenuations):
            yield {"activity": activity, "tables": tables, **more}


def test_project_is_its_definition(backend, device):
    for call in random_calls(device):
        exact = project(**widened(call))
        assert ((project(**call, backend=backend).cpu() - exact).abs() <= bound_of(widened(call), project)).all()


@pytest.mark.parametrize(
    ("n", "nz", "reach"), [(64, 64, 7), (64, 130, 7), (128, 40, 16), (33, 1, 20), (2, 9, 1), (3, 65, 2)]
)
def test_any_size_and_reach(backend, device, n, nz, reach):
    sigma = np.linspace(reach / 5.5, 0.2, n)
    tables = view_tables(n, 1.0, [12.0, -100.0], sigma).to(device)
    call = {"activity": torch.rand(1, n, n, nz, device=device), "tables": tables}
    exact = project(**widened(call))
    assert ((project(**call, backend=backend).cpu() - exact).abs() <= bound_of(widened(call), project)).all()


def test_survival_is_its_definition(backend, device):
    for tables, nz in sample_tables(device):
        call = {"mu": 0.4 * torch.rand(2, tables.n, tables.n, nz, device=device), "tables": tables}
        exact = photon_survival(**widened(call))
        found = photon_survival(**call, backend=backend).double().cpu()
        # The path's rounding is a part of it; the exponential's, 2^-22.
        path = -exact.log()
        assert ((found / exact - 1).abs() <= (tables.n + 8) * ROUNDING * path + 2.0**-22).all()


def test_nothing_attenuates_in_air_and_no_photon_leaves_lead(backend, device):
    tables = view_tables(16, 10.0, [30.0]).to(device)
    mu = torch.zeros(1, 16, 16, 4, device=device)
    assert (photon_survival(mu, tables, backend=backend) == 1).all()
    mu[:, 5:11, 5:11] = 1e4
    survival = photon_survival(mu, tables, backend=backend)
    assert survival.isfinite().all()
    assert survival[0, 0, 0, 8].max() < 1e-37


def test_a_rotated_voxel_is_a_bilinear_mean():
    """scipy's own interpolation at the positions that the page of the tables names."""
    n, angle = 12, 34.0
    tables = view_tables(n, 5.0, [angle])
    image = torch.rand(n, n, dtype=torch.float64)
    middle, phi = n / 2 - 0.5, math.radians(angle)
    depth, lateral = np.meshgrid(np.arange(n) - middle, np.arange(n) - middle, indexing="ij")
    x = lateral * math.cos(phi) + depth * math.sin(phi) + middle
    y = lateral * math.sin(phi) - depth * math.cos(phi) + middle
    # scipy has no neighbours beyond the field to fade into.
    padded = np.pad(image.numpy(), 1)
    expected = map_coordinates(padded, [y + 1, x + 1], order=1, mode="constant").sum(0)
    assert np.allclose(project(image[None, :, :, None], tables)[0, 0, :, 0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("angle", "axis", "flipped"), [(0.0, 0, False), (90.0, 1, False), (180.0, 0, True), (270.0, 1, True)]
)
def test_the_detector_stands_where_the_angle_says(angle, axis, flipped):
    """Front, left, back and right: the sum over the depth, lateral from the right hand of who looks at the patient."""
    image = torch.rand(1, 7, 7, 1, dtype=torch.float64)
    seen = project(image, view_tables(7, 5.0, [angle]))[0, 0, :, 0]
    summed = image[0, :, :, 0].sum(axis)
    assert torch.allclose(seen, summed.flip(0) if flipped else summed, atol=1e-12)


def test_what_is_near_the_detector_is_dimmed_least():
    tables = view_tables(8, 10.0, [0.0])
    survival = photon_survival(torch.full((1, 8, 8, 1), 0.1, dtype=torch.float64), tables)[0, 0, :, 3, 0]
    assert torch.allclose(survival, torch.exp(-0.1 * (8 - torch.arange(8) - 0.5).double()), atol=1e-12)


def test_a_point_is_blurred_by_the_gaussian_of_its_depth():
    n, sigma = 33, np.linspace(3.0, 0.5, 33)
    tables = view_tables(n, 2.0, [0.0], 2.0 * sigma)
    for depth in (3, 16, 30):
        volume = torch.zeros(1, n, n, n, dtype=torch.float64)
        volume[0, n - 1 - depth, 16, 16] = 1.0
        edge = (np.arange(n + 1) - 16.5) / (sigma[depth] * math.sqrt(2))
        profile = np.diff(erf(edge)) / 2
        assert np.allclose(project(volume, tables)[0, 0], np.outer(profile, profile), atol=2.0**-24)


def test_counts_are_kept():
    """What is emitted well within the field arrives, all of it, blurred or not."""
    for sigma in (None, np.linspace(4.0, 1.0, 24)):
        volume = torch.zeros(1, 24, 24, 24, dtype=torch.float64)
        volume[0, 9:15, 9:15, 9:15] = torch.rand(6, 6, 6, dtype=torch.float64)
        seen = project(volume, view_tables(24, 3.0, [0.0, 90.0], sigma)).sum((2, 3))
        assert torch.allclose(seen, volume.sum().expand(1, 2), rtol=1e-5)


def test_a_nan_reaches_what_sees_it_and_no_other_study(backend, device):
    tables = view_tables(16, 5.0, [20.0], np.full(16, 4.0)).to(device)
    activity = torch.rand(2, 16, 16, 16, device=device)
    activity[1, 8, 8, 8] = math.nan
    seen = project(activity, tables, backend=backend).cpu()
    assert seen[0].isfinite().all()
    assert seen[1, 0, 7:10, 8].isnan().any()


@pytest.mark.parametrize(("views", "batch", "nz"), [(0, 1, 4), (2, 0, 4), (2, 1, 0)])
def test_empty(backend, device, views, batch, nz):
    tables = view_tables(6, 5.0, [0.0, 10.0][:views], np.full(6, 3.0)).to(device)
    volume = torch.zeros(batch, 6, 6, nz, device=device)
    assert project(volume, tables, backend=backend).shape == (batch, views, 6, nz)
    assert photon_survival(volume, tables, backend=backend).shape == (batch, views, 6, 6, nz)


@pytest.mark.parametrize("name", OPS)
def test_a_study_depends_neither_on_its_batch_nor_on_the_threads_nor_on_the_layout(name):
    tables = view_tables(24, 5.0, [5.0, 50.0, 95.0], np.linspace(9.0, 2.0, 24)).to("cpu")
    volumes = torch.rand(3, 24, 24, 20)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(OPS[name](volumes, tables))
    finally:
        torch.set_num_threads(threads)
    results.append(OPS[name](volumes.movedim(3, 1).contiguous().movedim(1, 3), tables))
    assert all(torch.equal(result, results[0]) for result in results[1:])
    assert torch.equal(OPS[name](volumes[1:2], tables), results[0][1:2])


@pytest.mark.parametrize("name", OPS)
def test_opcheck_on_every_sample(device, name):
    op = Op._all[name]
    for call in op.samples(device):
        captured = []
        run_through = op.default
        op.default = lambda *args, captured=captured: captured.append(args)
        try:
            OPS[name](**call)
        finally:
            op.default = run_through
        opcheck(op.default, captured[0])


def test_compiles_without_a_graph_break(device):
    tables = view_tables(8, 5.0, [5.0, 50.0], np.full(8, 5.0)).to(device)
    activity, mu = torch.rand(1, 8, 8, 4, device=device), torch.rand(1, 8, 8, 4, device=device)

    def seen(activity, mu):
        return project(activity, tables, survival=photon_survival(mu, tables))

    compiled = torch.compile(seen, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(activity, mu), seen(activity, mu))


def test_shapes_propagate_without_data():
    tables = view_tables(8, 5.0, [5.0, 50.0], np.full(8, 5.0)).to("cpu")
    with FakeTensorMode(allow_non_fake_inputs=True):
        activity = torch.empty(2, 8, 8, 4)
        survival = photon_survival(activity[:1], tables)
        assert survival.shape == (1, 2, 8, 8, 4)
        assert project(activity, tables, survival=survival).shape == (2, 2, 8, 4)


def test_they_refuse_to_lose_a_gradient():
    tables = view_tables(8, 5.0, [5.0]).to("cpu")
    volume = torch.rand(1, 8, 8, 4, requires_grad=True)
    for name, operator in OPS.items():
        with pytest.raises(RuntimeError, match=f"{name} has no gradient"):
            operator(volume, tables)
        with torch.no_grad():
            operator(volume, tables)


TABLES = view_tables(8, 5.0, [5.0, 50.0]).to("cpu")
VOLUME = torch.zeros(1, 8, 8, 4)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"activity": VOLUME[0]}, ValueError, r"activity must have shape \[B, 8, 8, nz\], found \[8, 8, 4\]"),
        ({"activity": VOLUME[:, :7]}, ValueError, r"activity must have shape \[B, 8, 8, nz\], found \[1, 7, 8, 4\]"),
        ({"activity": VOLUME.half()}, TypeError, "activity must be float32 or float64, found float16"),
        ({"activity": VOLUME.double()}, ValueError, "tables must be on cpu in torch.float64 like activity"),
        ({"activity": VOLUME.to("meta")}, ValueError, "tables must be on meta in torch.float32 like activity"),
        ({"survival": VOLUME}, ValueError, r"survival must have shape \[1, 2, 8, 8, 4\], found \[1, 8, 8, 4\]"),
        (
            {"survival": torch.zeros(3, 2, 8, 8, 4)},
            ValueError,
            r"survival must have shape \[1, 2, 8, 8, 4\], found \[3",
        ),
        (
            {"mu": VOLUME, "survival": torch.zeros(1, 2, 8, 8, 4)},
            ValueError,
            "mu or survival may be given, found both",
        ),
        ({"mu": VOLUME[..., :3]}, ValueError, r"mu must have shape \[1, 8, 8, 4\], found \[1, 8, 8, 3\]"),
        ({"survival": torch.zeros(1, 2, 8, 8, 4).double()}, TypeError, "survival must be float32, found float64"),
        ({"backend": "triton"}, RuntimeError, "there is no Triton kernel for it"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    with pytest.raises(error, match=message):
        project(**{"activity": VOLUME, "tables": TABLES, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 1}, "n must be 2 to 32767, found 1"),
        ({"voxel_mm": 0.0}, "voxel_mm must be positive and finite, found 0.0"),
        ({"angles": [0.0, math.nan]}, "angles must be finite numbers of degrees"),
        ({"sigma_mm": np.ones(7)}, r"sigma_mm must be finite and 0 or more, \[8\] or \[2, 8\], found shape \[7\]"),
        ({"sigma_mm": -np.ones(8)}, "sigma_mm must be finite and 0 or more"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_wrong_tables_are_said(change, message):
    with pytest.raises(ValueError, match=message):
        view_tables(**{"n": 8, "voxel_mm": 5.0, "angles": [0.0, 1.0], **change})
