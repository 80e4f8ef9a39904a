"""bridge_add_noise on every back end against float64 arithmetic, with bounds that follow from float32 rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from spectac_fast._op import Op
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.ops import TRAINING, bridge_add_noise, counter_normal
from spectac_fast.ops.bridge_add_noise import OBJECTIVES

ROUNDING = float(np.finfo(np.float32).eps) / 2
NORMAL_TOLERANCE = 2e-6
TIMESTEPS = 50
SHAPE = (3, 1, 37, 61)  # many blocks of the CPU loop, and not a multiple of four elements
STEP, SAMPLE = 2**32 - 2, 2**31 + 1
# What rounding a float32 to the dtype may cost, as a share of the value and at the least.
NARROWING = {torch.float32: (0.0, 0.0), torch.bfloat16: (2.0**-8, 0.0), torch.float16: (2.0**-11, 2.0**-25)}


def draw_call(device, *, shape=SHAPE, objective="grad", noise="seeds", dtype=torch.float32):
    """Fresh random arguments; outputs hold NaN, so that whatever is not written shows."""

    def poison(dtype):
        return torch.full(shape, float("nan"), device=device, dtype=dtype)

    x0, y, eps = torch.randn(3, *shape, device=device)
    return {
        "x0": x0,
        "y": y,
        "t": torch.randint(TIMESTEPS, shape[:1], device=device),
        "schedule": torch.rand(TIMESTEPS, 2, device=device),
        "objective": objective,
        "seeds": torch.randint(-(2**62), 2**62, shape[:1], device=device) if noise == "seeds" else None,
        "noise": eps if noise == "buffer" else None,
        "step": STEP,
        "sample": SAMPLE,
        "x_t": poison(dtype),
        "target": poison(torch.float32),
    }


def copied(call):
    return call | {name: call[name].clone() for name in ("x_t", "target")}


def assert_follows(call):
    """Each rounded operation of x0 + (m (y - x0) + s eps) adds half a unit of its own result, at most."""
    x0, y, schedule = (call[name].double().cpu().numpy() for name in ("x0", "y", "schedule"))
    eps, eps_error = call["noise"], 0.0
    if eps is None:
        eps = counter_normal(call["seeds"].cpu(), x0.shape[1:], step=STEP, sample=SAMPLE, purpose=TRAINING)
        eps_error = NORMAL_TOLERANCE
    eps = eps.double().cpu().numpy()
    m, s = (schedule[call["t"].cpu().numpy(), i].reshape(-1, *[1] * (x0.ndim - 1)) for i in (0, 1))
    gap = y - x0
    moved = m * gap + s * eps
    error = s * eps_error + 4 * ROUNDING * (np.abs(m * gap) + np.abs(s * eps))
    expected = {"grad": (moved, error), "noise": (eps, eps_error), "ysubx": (gap, ROUNDING * np.abs(gap))}
    share, least = NARROWING[call["x_t"].dtype]
    x_t = x0 + moved
    x_t_error = error + (ROUNDING + share) * (np.abs(x_t) + error) + least
    for name, value, bound in (("x_t", x_t, x_t_error), ("target", *expected[call["objective"]])):
        found = np.abs(call[name].double().cpu().numpy() - value)
        assert (found <= bound).all(), f"{name}: {np.nanmax(found - bound)} above the bound"


@pytest.mark.parametrize("dtype", NARROWING, ids=str)
@pytest.mark.parametrize("noise", ["seeds", "buffer"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_follows_the_formulas(backend, device, objective, noise, dtype):
    if backend == "triton" and dtype == torch.bfloat16 and device.type == "cpu":
        pytest.skip("the interpreter truncates to bfloat16 where hardware rounds")
    call = draw_call(device, objective=objective, noise=noise, dtype=dtype)
    bridge_add_noise(**call, backend=backend)
    assert_follows(call)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 7, 5), (3, 2, 5, 7), (5, 1, 64, 64)], ids=str)
def test_any_size(backend, device, shape):
    call = draw_call(device, shape=shape)
    bridge_add_noise(**call, backend=backend)
    assert_follows(call)


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (2, 0)], ids=str)
def test_nothing_to_do(backend, device, shape):
    x_t, target = bridge_add_noise(**draw_call(device, shape=shape), backend=backend)
    assert x_t.shape == target.shape == shape


def test_outputs_are_allocated_or_the_ones_given(backend, device):
    call = draw_call(device)
    given = bridge_add_noise(**call, backend=backend)
    assert given[0] is call["x_t"]
    assert given[1] is call["target"]
    fresh = bridge_add_noise(**call | {"x_t": None, "target": None}, backend=backend)
    assert all(torch.equal(a, b) for a, b in zip(given, fresh))


def test_it_gathers_the_schedule_of_the_published_process(backend, device):
    """x_t of the process as it is defined, at every timestep, both ends among them."""
    bridge = BrownianBridge(TIMESTEPS)
    schedule = torch.tensor(np.stack([bridge.m, np.sqrt(bridge.variance)], 1), dtype=torch.float32, device=device)
    call = draw_call(device, shape=(TIMESTEPS, 1, 4, 4), noise="buffer") | {"schedule": schedule}
    call["t"] = torch.arange(TIMESTEPS, device=device)
    x_t, _ = bridge_add_noise(**call, backend=backend)
    m, variance = (torch.from_numpy(v).view(-1, 1, 1, 1) for v in (bridge.m, bridge.variance))
    x0, y, noise = (call[name].double().cpu() for name in ("x0", "y", "noise"))
    expected = (1 - m) * x0 + m * y + variance.sqrt() * noise
    assert float((x_t.cpu() - expected).abs().max()) < 2e-6


@pytest.mark.parametrize("t", [-1, TIMESTEPS, 2**62, -(2**63)])
def test_outside_the_schedule_is_nan_and_reads_nothing_there(backend, device, t):
    """The operator itself, since on the CPU the function refuses such a timestep."""
    call = draw_call(device, noise="buffer")
    call["t"][1] = t
    arguments = [call[name] for name in ("x0", "y", "t", "schedule", "seeds", "noise")]
    Op._all["bridge_add_noise"](*arguments, 0, 0, 0, call["x_t"], call["target"], backend=backend)
    assert call["x_t"][1].isnan().all()
    assert torch.isfinite(call["x_t"][[0, 2]]).all()


@pytest.mark.parametrize("name", ["x0", "y", "noise"])
def test_nan_in_nan_out(backend, device, name):
    call = draw_call(device, noise="buffer")
    call[name][0, 0, 3, 4] = float("nan")
    for result in bridge_add_noise(**call, backend=backend):
        assert result[0, 0, 3, 4].isnan()
        assert result.isnan().sum() == 1


def test_a_slice_does_not_depend_on_its_batch(backend, device):
    batch = draw_call(device, shape=(4, 1, 33, 35))
    alone = {k: v[2:3].clone() if torch.is_tensor(v) and k != "schedule" else v for k, v in batch.items()}
    bridge_add_noise(**batch, backend=backend)
    bridge_add_noise(**alone, backend=backend)
    assert torch.equal(batch["x_t"][2:3], alone["x_t"])


def test_a_slice_does_not_depend_on_the_number_of_threads():
    call = draw_call(torch.device("cpu"), shape=(8, 1, 64, 64))
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(bridge_add_noise(**copied(call))[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_layout_of_the_inputs_does_not_matter(backend, device):
    call = draw_call(device, shape=(2, 3, 6, 5))
    strided = copied(call) | {
        "x0": call["x0"].contiguous(memory_format=torch.channels_last),
        "y": call["y"].mT.clone().mT,
    }
    bridge_add_noise(**call, backend=backend)
    bridge_add_noise(**strided, backend=backend)
    assert torch.equal(call["x_t"], strided["x_t"])


def test_training_noise_is_not_sampling_noise(backend, device):
    call = draw_call(device, objective="noise")
    bridge_add_noise(**call, backend=backend)
    sampling = counter_normal(call["seeds"].cpu(), SHAPE[1:], step=STEP, sample=SAMPLE)
    assert ((call["target"].cpu() - sampling).abs() > 1e-3).double().mean() > 0.95


def test_opcheck_on_every_sample(device):
    op = Op._all["bridge_add_noise"]
    for call in op.samples(device):
        captured = []
        run_through = op.default
        op.default = lambda *args, captured=captured: captured.append(args)
        try:
            bridge_add_noise(**call)
        finally:
            op.default = run_through
        opcheck(op.default, captured[0])


def test_compiles_without_a_graph_break(device):
    call = draw_call(device)
    eager, compiled = copied(call), copied(call)
    bridge_add_noise(**eager)
    torch.compile(lambda c: bridge_add_noise(**c), fullgraph=True, backend="aot_eager")(compiled)
    for name in ("x_t", "target"):
        assert torch.equal(eager[name], compiled[name])


@pytest.mark.parametrize("where", ["meta", "cpu"])
def test_shapes_propagate_without_data(where):
    with FakeTensorMode(allow_non_fake_inputs=True):
        x_t, target = bridge_add_noise(**draw_call(torch.device(where)) | {"x_t": None})
    assert x_t.shape == target.shape == SHAPE
    assert x_t.device.type == where


@pytest.mark.parametrize("name", ["x0", "y", "noise"])
def test_it_refuses_to_lose_a_gradient(device, name):
    call = draw_call(device, noise="buffer")
    call[name].requires_grad_()
    with pytest.raises(RuntimeError, match="bridge_add_noise has no gradient"):
        bridge_add_noise(**call)
    with torch.no_grad():
        bridge_add_noise(**call)
    assert torch.isfinite(call["x_t"]).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x0": torch.tensor(1.0)}, ValueError, r"x0 must be \[B, ...\], found shape \[\]"),
        ({"x0": torch.zeros(SHAPE, dtype=torch.float64)}, TypeError, "x0 must be float32, found float64"),
        ({"y": torch.zeros(3, 1, 37, 60)}, ValueError, r"y must have shape \[3, 1, 37, 61\], found \[3, 1, 37, 60\]"),
        ({"y": torch.zeros(SHAPE, device="meta")}, ValueError, "y must be on cpu like x0, found meta"),
        ({"t": torch.zeros(3)}, TypeError, "t must be int64, found float32"),
        ({"t": torch.zeros(2, dtype=torch.int64)}, ValueError, r"t must have shape \[3\], found \[2\]"),
        ({"t": torch.tensor([0, 50, 3])}, ValueError, r"t must be in 0 ... 49, found 0 ... 50"),
        ({"t": torch.tensor([0, -1, 3])}, ValueError, r"t must be in 0 ... 49, found -1 ... 3"),
        ({"schedule": torch.zeros(50)}, ValueError, r"schedule must be \[T, 2\], found shape \[50\]"),
        ({"schedule": torch.zeros(0, 2)}, ValueError, r"schedule must be \[T, 2\], found shape \[0, 2\]"),
        ({"schedule": torch.zeros(50, 3)}, ValueError, r"schedule must have shape \[50, 2\], found \[50, 3\]"),
        ({"objective": "x0"}, ValueError, "objective must be one of grad, noise, ysubx, found 'x0'"),
        ({"seeds": torch.zeros(2, dtype=torch.int64)}, ValueError, r"seeds must have shape \[3\], found \[2\]"),
        ({"seeds": None}, ValueError, "give either seeds or noise, found neither"),
        ({"noise": torch.zeros(SHAPE)}, ValueError, "give either seeds or noise, found both"),
        ({"step": -1}, ValueError, "step must be in 0 ... 2"),
        ({"sample": 2**32}, ValueError, "sample must be in 0 ... 2"),
        ({"x_t": torch.zeros(3, 1, 61, 37).mT}, ValueError, "x_t must be contiguous, found strides"),
        (
            {"x_t": torch.zeros(SHAPE, dtype=torch.float64)},
            TypeError,
            "x_t must be float32 or bfloat16 or float16, found float64",
        ),
        ({"target": torch.zeros(SHAPE, dtype=torch.float16)}, TypeError, "target must be float32, found float16"),
        ({"backend": "metal"}, ValueError, "backend must be one of reference, native, triton or None, found 'metal'"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    with pytest.raises(error, match=message):
        bridge_add_noise(**(draw_call(torch.device("cpu")) | change))


@pytest.mark.parametrize("pair", [("x0", "x_t"), ("y", "target"), ("x_t", "target")], ids="-".join)
def test_shared_memory_is_refused(pair):
    call = draw_call(torch.device("cpu"))
    call[pair[1]] = call[pair[0]]
    with pytest.raises(ValueError, match=f"{pair[1]} must not share memory with {pair[0]}"):
        bridge_add_noise(**call)
