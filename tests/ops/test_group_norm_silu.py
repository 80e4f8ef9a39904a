"""group_norm_silu on every back end against float64 arithmetic, with bounds that follow from float32 rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.library import opcheck
from torch.nn import functional

from spectac_fast._op import Op
from spectac_fast.ops import ACTIVATIONS, group_norm_silu, instance_norm

ROUNDING = float(np.finfo(np.float32).eps) / 2
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# What rounding a float32 to the dtype may cost, as a share of the value and at the least. Triton's interpreter
# truncates to bfloat16 where hardware rounds.
OUTPUT = {torch.float32: (0, 0), torch.bfloat16: (2**-7, 1e-38), torch.float16: (2**-11, 2**-25)}

# (shape, groups): odd sizes; several groups that fill no vector; more than a chunk; positions in one dimension and in
# three; more channels than a tile and more rows than a segment of the CPU's loops with channels last.
SIZES = [((2, 6, 5, 7), 3), ((3, 32, 4, 4), 8), ((1, 4, 70, 70), 2), ((2, 4, 9), 1), ((1, 8, 3, 2, 5), 2)]
LAST_SIZES = [((2, 6, 5, 7), 3), ((2, 520, 3, 5), 4), ((1, 24, 60, 60), 2), ((2, 3, 40, 40), 1)]


def draw_call(device, shape=(2, 6, 5, 7), groups=3, *, dtype=torch.float32, offset=0.0, last=False, **more):
    """Fresh random arguments; FiLM as `chunk` leaves it, `out` full of NaN so that whatever is not written shows."""
    batch, channels = shape[:2]
    x = (torch.randn(shape, device=device) * 2 + offset).to(dtype)
    x = x.to(memory_format=torch.channels_last) if last else x
    weight, bias = torch.randn(2, channels, device=device).unbind()
    scale, shift = torch.randn(batch, 2 * channels, device=device).chunk(2, dim=1)
    film = {"scale": scale, "shift": shift, "out": torch.full_like(x, float("nan"))}
    return {"x": x, "groups": groups, "weight": weight, "bias": bias} | film | more


def expected(call):
    """(value, bound) in float64, from the formula of the operator's page."""
    x = call["x"].double().cpu()

    def per_channel(name, absent):
        values = call.get(name)
        values = torch.full(x.shape[1:2], absent) if values is None else values
        return values.double().cpu().reshape(-1, x.shape[1], *[1] * (x.dim() - 2))

    grouped = x.reshape(x.shape[0], call["groups"], -1)
    variance, mean = torch.var_mean(grouped, -1, correction=0, keepdim=True)
    z = ((grouped - mean) / (variance + call.get("eps", 1e-5)).sqrt()).reshape(x.shape)
    weight, bias = per_channel("weight", 1.0), per_channel("bias", 0.0)
    gain, shift = 1 + per_channel("scale", 0.0), per_channel("shift", 0.0)
    value = (z * weight + bias) * gain + shift
    # 64 roundings for each sum, 8 for what follows; each bound is of the terms' magnitudes.
    bound = 64 * ROUNDING * (1 + z.abs()) * (weight * gain).abs()
    bound = bound + 8 * ROUNDING * ((z * weight * gain).abs() + (bias * gain).abs() + shift.abs())
    activation = call.get("activation", "silu")
    if activation == "silu":
        # The slope of SiLU is at most 1.1.
        value, bound = functional.silu(value), 1.1 * bound + 8 * ROUNDING * functional.silu(value).abs()
    elif activation != "none":
        value = functional.leaky_relu(value, 0.2 if activation == "leaky_relu" else 0.0)
    share, least = OUTPUT[call["x"].dtype]
    return value, bound * (1 + share) + share * value.abs() + least


def assert_follows(call, found):
    value, bound = expected(call)
    excess = ((found.double().cpu() - value).abs() - bound).max()
    assert excess <= 0, f"{excess} above the bound"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_follows_the_formula(backend, device, dtype, activation, last):
    call = draw_call(device, dtype=dtype, activation=activation, last=last)
    out = group_norm_silu(**call, backend=backend)
    assert out is call["out"]
    assert_follows(call, out)


@pytest.mark.parametrize(
    ("shape", "groups", "last"),
    [(*size, False) for size in SIZES] + [(*size, True) for size in LAST_SIZES],
    ids=lambda v: "last" if v is True else ("first" if v is False else str(v)),
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_any_size(backend, device, shape, groups, last, dtype):
    call = draw_call(device, shape, groups, last=last, dtype=dtype)
    assert_follows(call, group_norm_silu(**call, backend=backend))


@pytest.mark.parametrize("absent", ["weight", "bias", "scale", "shift", "all"])
def test_parameters_may_be_absent(backend, device, absent):
    names = ("weight", "bias", "scale", "shift") if absent == "all" else (absent,)
    call = draw_call(device) | dict.fromkeys(names)
    assert_follows(call, group_norm_silu(**call, backend=backend))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_parameters_of_any_dtype(backend, device, dtype):
    call = draw_call(device)
    call |= {name: call[name].to(dtype) for name in ("weight", "bias", "scale", "shift")}
    assert_follows(call, group_norm_silu(**call, backend=backend))


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("offset", [1e3, -1e6])
def test_a_large_offset_costs_no_digits(backend, device, offset, last):
    """The form E[x^2] - E[x]^2 loses everything here, and so does a mean rounded to float32 for the larger offset."""
    call = draw_call(device, (1, 8, 50, 50), 2, offset=offset, last=last)
    assert_follows(call, group_norm_silu(**call, backend=backend))


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_constant_groups_become_their_level(backend, device, last):
    call = draw_call(device, last=last)
    call["x"].fill_(0.1)
    assert_follows(call, group_norm_silu(**call, backend=backend))


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_infinity_make_their_group_nan_and_no_other(backend, device, last, value, activation):
    call = draw_call(device, (2, 6, 5, 7), 3, last=last, activation=activation)
    call["x"][1, 2, 3, 4] = value
    out = group_norm_silu(**call, backend=backend)
    assert out[1, 2:4].isnan().all()
    assert out.isnan().sum() == out[1, 2:4].numel()


def test_saturated_silu_is_finite(backend, device):
    shift = torch.tensor([[-1e30, -200.0, -88.0, -80.0, 88.0, 200.0, 1e30, 0.0]], device=device)
    out = group_norm_silu(torch.zeros(1, 8, 2, 2, device=device), 1, shift=shift, backend=backend)[0, :, 0, 0]
    torch.testing.assert_close(out, functional.silu(shift[0]), rtol=1e-6, atol=1e-30)


def test_instance_norm_is_batch_norm_of_each_sample_alone(backend, device):
    call = draw_call(device, (3, 5, 6, 7))
    x, weight, bias = call["x"], call["weight"], call["bias"]
    found = instance_norm(x, weight, bias, activation="relu", backend=backend)
    alone = [functional.batch_norm(x[i : i + 1], None, None, weight, bias, training=True) for i in range(3)]
    torch.testing.assert_close(found, torch.cat(alone).relu(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 4, 3, 3), (2, 4, 0, 3), (2, 0, 3, 3)], ids=str)
def test_empty(backend, device, shape):
    assert group_norm_silu(torch.zeros(shape, device=device), 2, backend=backend).shape == shape


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_the_layout_is_kept(backend, device, last):
    call = draw_call(device, last=last) | {"out": None}
    out = group_norm_silu(**call, backend=backend)
    assert out.stride() == call["x"].stride()
    assert_follows(call, out)


def test_any_other_layout_is_served(backend, device):
    call = draw_call(device) | {"out": None}
    strided = call | {"x": call["x"].mT.contiguous().mT, "weight": torch.stack([call["weight"]] * 2, 1)[:, 0]}
    expected_out = group_norm_silu(**call, backend=backend)
    assert torch.equal(group_norm_silu(**strided, backend=backend), expected_out)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_a_sample_depends_neither_on_its_batch_nor_on_the_threads(last):
    call = draw_call(torch.device("cpu"), (5, 16, 50, 50), 4, last=last)
    names = ("x", "scale", "shift", "out")
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(group_norm_silu(**call).clone())
        alone = group_norm_silu(**call | {name: call[name][2:3].clone() for name in names})
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[0][2:3], alone)


def test_opcheck_on_every_sample(device):
    op = Op._all["group_norm_silu"]
    for call in op.samples(device):
        captured = []
        run_through = op.default
        op.default = lambda *args, captured=captured: captured.append(args)
        try:
            group_norm_silu(**call)
        finally:
            op.default = run_through
        opcheck(op.default, captured[0])


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels_last"])
def test_compiles_without_a_graph_break(device, last):
    call = draw_call(device, last=last) | {"out": None}
    compiled = torch.compile(lambda c: group_norm_silu(**c), fullgraph=True, backend="aot_eager")(call)
    eager = group_norm_silu(**call)
    assert torch.equal(eager, compiled)
    assert eager.stride() == compiled.stride()


@pytest.mark.parametrize("where", ["meta", "cpu"])
def test_shapes_propagate_without_data(where):
    with FakeTensorMode(allow_non_fake_inputs=True):
        out = group_norm_silu(**draw_call(torch.device(where), last=True) | {"out": None})
    assert out.shape == (2, 6, 5, 7)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.device.type == where


@pytest.mark.parametrize("name", ["x", "weight", "scale"])
def test_it_refuses_to_lose_a_gradient(device, name):
    call = draw_call(device)
    call[name] = call[name].clone().requires_grad_()
    with pytest.raises(RuntimeError, match="has no gradient"):
        group_norm_silu(**call)
    with torch.no_grad():
        assert torch.isfinite(group_norm_silu(**call)).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(2, 6)}, ValueError, r"x must be \[B, C, ...\] with positions, found shape \[2, 6\]"),
        ({"x": torch.zeros(2, 6, 5, 7, dtype=torch.float64)}, TypeError, "x must be float32 or .*, found float64"),
        ({"groups": 4}, ValueError, "groups must divide the 6 channels of x, found 4"),
        ({"groups": 0}, ValueError, "groups must divide the 6 channels of x, found 0"),
        ({"weight": torch.zeros(5)}, ValueError, r"weight must have shape \[6\], found \[5\]"),
        ({"bias": torch.zeros(6, dtype=torch.int64)}, TypeError, "bias must be float32 or .*, found int64"),
        ({"scale": torch.zeros(6)}, ValueError, r"scale must have shape \[2, 6\], found \[6\]"),
        ({"shift": torch.zeros(2, 6, device="meta")}, ValueError, "shift must be on cpu like x, found meta"),
        ({"eps": 0.0}, ValueError, "eps must be above 0, found 0.0"),
        ({"eps": float("nan")}, ValueError, "eps must be above 0, found nan"),
        ({"activation": "gelu"}, ValueError, "activation must be one of none, relu, leaky_relu, silu, found 'gelu'"),
        ({"out": torch.zeros(2, 6, 5, 6)}, ValueError, r"out must have shape \[2, 6, 5, 7\]"),
        ({"out": torch.zeros(2, 6, 5, 7, dtype=torch.float16)}, TypeError, "out must be float32, found float16"),
        ({"out": torch.zeros(2, 6, 7, 5).mT}, ValueError, "out must be laid out like x"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    with pytest.raises(error, match=message):
        group_norm_silu(**(draw_call(torch.device("cpu")) | change))


def test_shared_memory_is_refused():
    call = draw_call(torch.device("cpu"))
    with pytest.raises(ValueError, match="out must not share memory with x"):
        group_norm_silu(**call | {"out": call["x"]})
