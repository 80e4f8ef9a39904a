"""backproject and attenuation_gradient on every back end: exact transpose and derivative of the camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from spectac_fast._op import Op
from spectac_fast.ops import attenuation_gradient, backproject, project, view_tables
from spectac_fast.ops.project import sample_tables

ROUNDING = float(np.finfo(np.float32).eps) / 2
OPS = {"backproject": backproject, "attenuation_gradient": attenuation_gradient}


def widened(call):
    """The same call in float64."""
    return {k: v.to(torch.device("cpu"), torch.float64) for k, v in call.items()}


def bound_of(call, operator):
    """What rounding may do: a part of the sum of the sizes of what is added, for every rounding on the way there."""
    sizes = {k: v.abs() if isinstance(v, torch.Tensor) else v for k, v in call.items()}
    tables = call["tables"]
    # Taps, weights and survival, whose path sums over depth; both sides of the blur, and six shares of every view; the
    # gradient sums over depth once more.
    path = 4 + (0 if call.get("mu") is None else 0.2 * tables.n * tables.voxel_cm * (tables.n + 8))
    roundings = 14 + path + 6 * tables.views + 2 * (0 if tables.taps is None else tables.taps.shape[-1]) + tables.n
    return roundings * ROUNDING * operator(**sizes).abs()


def random_calls(device, name):
    for tables, nz in sample_tables(device):
        views = torch.randn(2, tables.views, tables.n, nz, device=device)
        survival = torch.rand(2, tables.views, tables.n, tables.n, nz, device=device)
        call = {"views": views, "tables": tables}
        if name == "attenuation_gradient":
            call["activity"] = torch.randn(2, tables.n, tables.n, nz, device=device)
        mu = 0.2 * torch.rand(2, tables.n, tables.n, nz, device=device)
        for more in ({}, {"survival": survival}, {"survival": survival[:1]}, {"mu": mu}, {"mu": mu[:1]}):
            if more or name == "backproject":
                yield call | more


@pytest.mark.parametrize("name", OPS)
def test_it_is_its_definition(backend, device, name):
    for call in random_calls(device, name):
        exact = OPS[name](**widened(call))
        found = OPS[name](**call, backend=backend).cpu()
        assert ((found - exact).abs() <= bound_of(widened(call), OPS[name])).all()


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize(
    ("n", "nz", "reach"), [(64, 64, 7), (64, 130, 7), (128, 40, 16), (33, 1, 20), (2, 9, 1), (3, 65, 2)]
)
def test_any_size_and_reach(backend, device, name, n, nz, reach):
    tables = view_tables(n, 1.0, [12.0, -100.0], np.linspace(reach / 5.5, 0.2, n)).to(device)
    call = {"views": torch.rand(1, 2, n, nz, device=device), "tables": tables}
    call["survival"] = torch.rand(1, 2, n, n, nz, device=device)
    if name == "attenuation_gradient":
        call["activity"] = torch.rand(1, n, n, nz, device=device)
    exact = OPS[name](**widened(call))
    found = OPS[name](**call, backend=backend).cpu()
    assert ((found - exact).abs() <= bound_of(widened(call), OPS[name])).all()


@pytest.mark.parametrize("blur", [False, True])
@pytest.mark.parametrize("attenuated", [False, True])
def test_it_is_the_transpose_of_the_camera(backend, device, blur, attenuated):
    """Views of any angles, with a radius of their own each."""
    n, nz, views = 64, 20, 5
    angles = 360 * torch.rand(views, dtype=torch.float64).numpy()
    sigma = np.linspace(8.0, 2.0, n) * np.linspace(0.6, 1.4, views)[:, None] if blur else None
    tables = view_tables(n, 6.8, angles, sigma).to(device)
    x, w = torch.rand(2, n, n, nz, device=device), torch.rand(2, views, n, nz, device=device)
    mu = 0.2 * torch.rand(2, n, n, nz, device=device) if attenuated else None
    seen = project(x, tables, mu=mu, backend=backend)
    given = backproject(w, tables, mu=mu, backend=backend)
    forward, backward = (seen.double() * w).sum(), (x.double() * given).sum()
    assert abs(float(forward / backward) - 1) < 1e-6


def test_in_float64_it_is_the_transpose_to_the_last_digits():
    tables = view_tables(12, 5.0, [3.0, 100.0], np.linspace(9.0, 1.0, 12))
    x, w = torch.rand(1, 12, 12, 7, dtype=torch.float64), torch.rand(1, 2, 12, 7, dtype=torch.float64)
    assert torch.allclose((project(x, tables) * w).sum(), (x * backproject(w, tables)).sum(), rtol=1e-13)


def test_the_gradient_in_mu_is_that_of_autograd():
    """Through the definition of project, operation by operation."""
    tables = view_tables(7, 8.0, [20.0, 130.0], np.linspace(9.0, 2.0, 7))
    x, w = torch.rand(1, 7, 7, 5, dtype=torch.float64), torch.rand(1, 2, 7, 5, dtype=torch.float64)
    mu = (0.2 * torch.rand(1, 7, 7, 5, dtype=torch.float64)).requires_grad_()
    stencils = (tables.index, tables.weight, tables.span)
    seen = Op._all["project"].reference(x, *stencils, mu, None, tables.taps, tables.voxel_cm)
    (expected,) = torch.autograd.grad((seen * w).sum(), mu)
    found = attenuation_gradient(x, w, tables, mu=mu.detach())
    assert torch.allclose(found, expected, rtol=1e-11)
    assert (found < 0).any()
    assert (found <= 0).all()


def test_a_nan_stays_in_its_study(backend, device):
    tables = view_tables(16, 5.0, [20.0, 80.0], np.full(16, 4.0)).to(device)
    views = torch.rand(2, 2, 16, 16, device=device)
    views[1, 0, 8, 8] = math.nan
    given = backproject(views, tables, backend=backend).cpu()
    assert given[0].isfinite().all()
    assert given[1, 8, 8, 8].isnan()


@pytest.mark.parametrize(("views", "batch", "nz"), [(0, 1, 4), (2, 0, 4), (2, 1, 0)])
@pytest.mark.parametrize("attenuated", [False, True])
def test_empty(backend, device, views, batch, nz, attenuated):
    tables = view_tables(6, 5.0, [0.0, 10.0][:views], np.full(6, 3.0)).to(device)
    volume, bins = torch.ones(batch, 6, 6, nz, device=device), torch.ones(batch, views, 6, nz, device=device)
    survival = torch.ones(batch, views, 6, 6, nz, device=device)
    given = backproject(bins, tables, survival=survival if attenuated else None, backend=backend)
    gradient = attenuation_gradient(volume, bins, tables, survival=survival, backend=backend)
    assert given.shape == gradient.shape == (batch, 6, 6, nz)
    assert views > 0 or not given.any()


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("n", [24, 64])
def test_a_study_depends_neither_on_its_batch_nor_on_the_threads_nor_on_the_layout(name, n):
    """64 x 64 x 70 voxels are more than are worked on at a time."""
    tables = view_tables(n, 5.0, np.linspace(0.0, 90.0, 7), np.linspace(9.0, 2.0, n)).to("cpu")
    call = {"views": torch.rand(2, 7, n, 70), "mu": 0.2 * torch.rand(2, n, n, 70), "tables": tables}
    if name == "attenuation_gradient":
        call["activity"] = torch.rand(2, n, n, 70)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(OPS[name](**call))
    finally:
        torch.set_num_threads(threads)
    results.append(OPS[name](**call | {"views": call["views"].mT.contiguous().mT}))
    assert all(torch.equal(result, results[0]) for result in results[1:])
    alone = {k: v[1:2] if isinstance(v, torch.Tensor) else v for k, v in call.items()}
    assert torch.equal(OPS[name](**alone), results[0][1:2])


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
    views, activity = torch.rand(1, 2, 8, 4, device=device), torch.rand(1, 8, 8, 4, device=device)
    survival = torch.rand(1, 2, 8, 8, 4, device=device)

    def both(views, activity, survival):
        given = backproject(views, tables, survival=survival)
        return given + attenuation_gradient(activity, views, tables, survival=survival)

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(views, activity, survival), both(views, activity, survival))


def test_shapes_propagate_without_data():
    tables = view_tables(8, 5.0, [5.0, 50.0], np.full(8, 5.0)).to("cpu")
    with FakeTensorMode(allow_non_fake_inputs=True):
        views, survival = torch.empty(3, 2, 8, 4), torch.empty(1, 2, 8, 8, 4)
        given = backproject(views, tables, survival=survival)
        assert given.shape == (3, 8, 8, 4)
        assert attenuation_gradient(given, views, tables, survival=survival).shape == (3, 8, 8, 4)


def test_they_refuse_to_lose_a_gradient():
    tables = view_tables(8, 5.0, [5.0]).to("cpu")
    views, survival = torch.rand(1, 1, 8, 4, requires_grad=True), torch.rand(1, 1, 8, 8, 4)
    with pytest.raises(RuntimeError, match="backproject has no gradient"):
        backproject(views, tables)
    with pytest.raises(RuntimeError, match="attenuation_gradient has no gradient"):
        attenuation_gradient(torch.rand(1, 8, 8, 4), views, tables, survival=survival)


TABLES = view_tables(8, 5.0, [5.0, 50.0]).to("cpu")
VIEWS = torch.zeros(1, 2, 8, 4)
CALL = {
    "activity": torch.zeros(1, 8, 8, 4),
    "views": VIEWS,
    "tables": TABLES,
    "survival": torch.zeros(1, 2, 8, 8, 4),
}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"views": VIEWS[0]}, ValueError, r"views must have shape \[B, 2, 8, nz\], found \[2, 8, 4\]"),
        ({"views": VIEWS[:, :1]}, ValueError, r"views must have shape \[B, 2, 8, nz\], found \[1, 1, 8, 4\]"),
        ({"views": VIEWS.half()}, TypeError, "views must be float32"),
        ({"survival": VIEWS}, ValueError, r"survival must have shape \[1, 2, 8, 8, 4\], found \[1, 2, 8, 4\]"),
        ({"mu": torch.zeros(1, 8, 8, 4)}, ValueError, "mu or survival may be given, found both"),
        ({"backend": "triton"}, RuntimeError, "there is no Triton kernel for it"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
@pytest.mark.parametrize("name", OPS)
def test_what_is_wrong_is_said(name, change, error, message):
    call = CALL if name == "attenuation_gradient" else {k: v for k, v in CALL.items() if k != "activity"}
    with pytest.raises(error, match=message):
        OPS[name](**call | change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activity": torch.zeros(1, 7, 8, 4)}, r"activity must have shape \[B, 8, 8, nz\], found \[1, 7, 8, 4\]"),
        ({"activity": torch.zeros(2, 8, 8, 4)}, r"views must have shape \[2, 2, 8, 4\], found \[1, 2, 8, 4\]"),
        ({"survival": None}, "mu or survival must be given, found neither"),
    ],
)
def test_a_gradient_needs_what_was_projected(change, message):
    with pytest.raises(ValueError, match=message):
        attenuation_gradient(**CALL | change)
