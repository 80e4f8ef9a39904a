"""sampler_step on every back end against float64 arithmetic, with bounds that follow from float32 rounding."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from spectac_fast._op import Op
from spectac_fast.ops import counter_normal, sampler_step

ROUNDING = float(np.finfo(np.float32).eps) / 2
NORMAL_TOLERANCE = 2e-6
SHAPE = (2, 1, 37, 61)  # two blocks of the CPU loop, and not a multiple of four elements


def draw_call(
    device, *, shape=SHAPE, dtype=torch.float32, noise="seeds", corrector=False, history=True, source=True, clip=None
):
    """Fresh random arguments; outputs hold NaN, so that whatever is not written shows."""

    def draw(*size):
        return torch.randn(*size, device=device)

    def poison(*size, dtype=torch.float32):
        return torch.full(size, float("nan"), device=device, dtype=dtype)

    batch, channels, height, width = shape
    return {
        "x": draw(*shape),
        "f": draw(*shape).to(dtype),
        "y": draw(*shape) if source else None,
        "row": draw(14),
        "h1": draw(*shape) if history else None,
        "h2": draw(*shape) if history else None,
        "seeds": torch.randint(-(2**62), 2**62, (batch,), device=device) if noise == "seeds" else None,
        "noise": draw(*shape) if noise == "buffer" else None,
        "step": 5,
        "sample": 2,
        "clip": clip,
        "anchor": draw(*shape) if corrector else None,
        "x_next": poison(*shape),
        "x0": poison(*shape),
        "net_input": poison(batch, 2 * channels, height, width, dtype=dtype)[:, :channels],
    }


def copied(call):
    """The same call with outputs of its own."""
    fresh = {k: call[k].clone() for k in ("x_next", "x0", "anchor") if call[k] is not None}
    b, c, h, w = call["x"].shape
    net = torch.full((b, 2 * c, h, w), float("nan"), dtype=call["net_input"].dtype, device=call["x"].device)
    return call | fresh | {"net_input": net[:, :c]}


def weighted(*terms):
    """Sum of coefficient * value in float64, and the bound of its float32 rounding error.

    Each term may carry its own error bound.
    """
    total, bound, magnitude = 0.0, 0.0, 0.0
    for coefficient, value, *error in terms:
        if value is None:
            continue
        total = total + coefficient * value
        bound = bound + abs(coefficient) * (error[0] if error else 0.0)
        magnitude = magnitude + np.abs(coefficient * value)
    return total, bound + (len(terms) + 1) * ROUNDING * magnitude


def expected(call):
    """{output: (value, bound)} in float64, from the formulas of the operator's page."""

    def wide(name):
        return None if call[name] is None else call[name].double().cpu().numpy()

    px, pf, py, ka, w0, w1, w2, cy, wn, kc, v0, v1, v2, vy = wide("row")
    x, f, y, h1, h2, anchor, noise = (wide(n) for n in ("x", "f", "y", "h1", "h2", "anchor", "noise"))
    noise_error = 0.0
    if call["seeds"] is not None:
        noise = counter_normal(call["seeds"].cpu(), x.shape[1:], step=call["step"], sample=call["sample"])
        noise, noise_error = noise.double().numpy(), NORMAL_TOLERANCE

    d, d_error = weighted((px, x), (pf, f), (py, y))
    if call["clip"] is not None:
        d = np.clip(d, *call["clip"])
    xa, xa_error = x, 0.0
    if anchor is not None:
        xa, xa_error = weighted((kc, anchor), (v0, d, d_error), (v1, h1), (v2, h2), (vy, y))
    terms = (ka, xa, xa_error), (w0, d, d_error), (w1, h1), (w2, h2), (cy, y), (wn, noise, noise_error)
    return {"x0": (d, d_error), "anchor": (xa, xa_error), "x_next": weighted(*terms)}


def assert_follows(call, outputs=("x0", "x_next")):
    for name in outputs:
        value, bound = call["expected"][name]
        error = np.abs(call[name].double().cpu().numpy() - value)
        assert (error <= bound).all(), f"{name}: {np.nanmax(error - bound)} above the bound"


def run(call, backend):
    """Run the call; the expectation is worked out first, because the anchor is replaced."""
    call = call | {"expected": expected(call)}
    sampler_step(**{k: v for k, v in call.items() if k != "expected"}, backend=backend)
    return call


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("clip", [None, (-0.5, 0.75)], ids=["free", "clipped"])
@pytest.mark.parametrize("corrector", [False, True], ids=["plain", "corrected"])
@pytest.mark.parametrize("noise", ["seeds", "buffer", "none"])
def test_follows_the_formulas(backend, device, dtype, clip, corrector, noise):
    call = run(draw_call(device, dtype=dtype, clip=clip, corrector=corrector, noise=noise), backend)
    assert_follows(call, ("x0", "x_next", *(["anchor"] if corrector else [])))


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler here")
def test_the_extension_is_there_where_a_compiler_is():
    assert Op._all["sampler_step"].why_not("native", "cpu") is None


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5, 7), (1, 1, 2, 3), (5, 1, 64, 64)], ids=str)
def test_any_size(backend, device, shape):
    assert_follows(run(draw_call(device, shape=shape, corrector=True), backend))


def test_without_source_and_history(backend, device):
    assert_follows(
        run(draw_call(device, source=False, history=False, corrector=True), backend), ("x0", "x_next", "anchor")
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_net_input_is_x_next_in_the_networks_dtype(backend, device, dtype):
    call = run(draw_call(device, dtype=dtype), backend)
    wanted = call["x_next"].to(dtype)
    if backend == "triton" and dtype == torch.bfloat16 and device.type == "cpu":
        # The interpreter truncates to bfloat16 where hardware rounds.
        assert ((call["net_input"].float() - wanted.float()).abs() <= wanted.float().abs() * 2**-7).all()
    else:
        assert torch.equal(call["net_input"], wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_net_input_leaves_the_other_channels_alone(backend, device, channels, dtype):
    call = draw_call(device, shape=(2, channels, 37, 61))
    stacked = torch.randn(2, channels + 2, 37, 61, device=device).to(dtype)
    before = stacked.clone()
    slot = stacked[:, 1 : 1 + channels]
    run(call | {"net_input": slot}, backend)
    assert torch.equal(stacked[:, 0], before[:, 0])
    assert torch.equal(stacked[:, -1], before[:, -1])
    step = 2**-7 if backend == "triton" and device.type == "cpu" and dtype == torch.bfloat16 else 0.0  # truncated there
    torch.testing.assert_close(slot, call["x_next"].to(dtype), rtol=step, atol=0)


# What each kind of network says of x0 when a = sqrt(alpha bar) and s = sqrt(1 - alpha bar): (px, pF).
PREDICTIONS = {
    "eps": lambda a, s: (1 / a, -s / a),
    "v": lambda a, s: (a, -s),
    "x0": lambda a, s: (0.0, 1.0),
}


def ddpm_weights(before, after, eta):
    """(of x, of x0, of the noise) of one DDIM step (Song et al. 2021, eq. 12 and 16); eta = 1 is DDPM's posterior."""
    sigma = eta * np.sqrt((1 - after) / (1 - before) * (1 - before / after))
    direction = np.sqrt(1 - after - sigma**2) / np.sqrt(1 - before)
    return direction, np.sqrt(after) - direction * np.sqrt(before), sigma


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_steps_of_models_without_a_condition(backend, device, kind, eta):
    """DDIM and DDPM steps, clipped, against the published formulas in float64; for DDPM in Ho et al.'s own form."""
    before, after = 0.3, 0.7
    call = draw_call(device, source=False, history=False, noise="buffer", clip=(-1.0, 1.0))
    px, pf = PREDICTIONS[kind](np.sqrt(before), np.sqrt(1 - before))
    row = torch.zeros(14, dtype=torch.float64)
    row[0], row[1] = px, pf
    row[3], row[4], row[8] = ddpm_weights(before, after, eta)
    call["row"] = row.float().to(device)
    sampler_step(**call, backend=backend)
    x, f, z = (call[name].double().cpu() for name in ("x", "f", "noise"))
    x0 = (px * x + pf * f).clamp(-1, 1)
    if eta:
        alpha = before / after
        mean = np.sqrt(after) * (1 - alpha) / (1 - before) * x0 + np.sqrt(alpha) * (1 - after) / (1 - before) * x
        expected = mean + np.sqrt((1 - after) / (1 - before) * (1 - alpha)) * z
    else:
        expected = np.sqrt(after) * x0 + np.sqrt(1 - after) * (x - np.sqrt(before) * x0) / np.sqrt(1 - before)
    torch.testing.assert_close(call["x0"].double().cpu(), x0, rtol=0, atol=4e-6)
    torch.testing.assert_close(call["x_next"].double().cpu(), expected, rtol=0, atol=4e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_captured_graph_follows_row_and_seeds():
    call = draw_call(torch.device("cuda"), corrector=False)
    sampler_step(**call)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        sampler_step(**call)
    call["seeds"].add_(1)
    call["row"].mul_(0.5)
    graph.replay()
    again = copied(call)
    sampler_step(**again)
    assert torch.equal(call["x_next"], again["x_next"])


def test_the_history_is_written_and_what_it_was_made_of_only_read(backend, device):
    call = draw_call(device, corrector=True, noise="none")
    before = {k: call[k].clone() for k in ("x", "f", "y", "h1", "h2", "row")}
    call = run(call, backend)
    assert_follows(call, ("x0", "anchor"))
    assert all(torch.equal(call[k], v) for k, v in before.items())


def test_back_ends_agree_on_special_values(backend, device):
    """Infinities, NaN, halves that are subnormal or overflow: as the reference has them, clipped or not."""
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 6e-8, 1e-5, 65519.0, 65520.0, 1e30, -0.0])
    for clip in (None, (-1.0, 1.0)):
        call = draw_call(device, shape=(1, 1, 9, 9), dtype=torch.float16, noise="none", clip=clip)
        row = torch.zeros(14, device=device)
        row[0], row[1], row[3] = 1, 1, 1
        special = {"x": values.repeat(9).reshape(1, 1, 9, 9).to(device), "row": row, "y": None, "h1": None, "h2": None}
        special["f"] = values.repeat_interleave(9).reshape(1, 1, 9, 9).to(device, torch.float16)
        ours, reference = copied(call | special), copied(call | special)
        sampler_step(**ours, backend=backend)
        sampler_step(**reference, backend="reference")
        for name in ("x0", "x_next", "net_input"):
            torch.testing.assert_close(ours[name], reference[name], rtol=1e-6, atol=0, equal_nan=True)


def test_nan_is_never_clipped_away(backend, device):
    call = draw_call(device, clip=(-1.0, 1.0), noise="none")
    call["f"][0, 0, 3, 4] = float("nan")
    run(call, backend)
    assert call["x0"][0, 0, 3, 4].isnan()
    assert call["x_next"][0, 0, 3, 4].isnan()
    assert call["x_next"].isnan().sum() == 1


def test_empty_batch(backend, device):
    call = draw_call(device, shape=(0, 1, 8, 8))
    sampler_step(**call, backend=backend)
    assert call["x_next"].shape == (0, 1, 8, 8)


def test_a_slice_does_not_depend_on_its_batch(backend, device):
    batch = draw_call(device, shape=(4, 1, 33, 35), corrector=True)
    alone = {k: v[2:3].clone() if torch.is_tensor(v) and k != "row" else v for k, v in batch.items()}
    sampler_step(**batch, backend=backend)
    sampler_step(**alone, backend=backend)
    assert torch.equal(batch["x_next"][2:3], alone["x_next"])


def test_a_slice_does_not_depend_on_the_number_of_threads(device):
    call = draw_call(torch.device("cpu"), shape=(8, 1, 64, 64))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            again = copied(call)
            sampler_step(**again)
            results.append(again["x_next"])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_layout_of_the_network_output_does_not_matter(backend, device):
    call = draw_call(device, shape=(2, 3, 6, 5))
    strided = copied(call) | {
        "f": call["f"].contiguous(memory_format=torch.channels_last),
        "y": call["y"].mT.clone().mT,
    }
    sampler_step(**call, backend=backend)
    sampler_step(**strided, backend=backend)
    assert torch.equal(call["x_next"], strided["x_next"])


def test_opcheck_on_every_sample(device):
    op = Op._all["sampler_step"]
    for call in op.samples(device):
        captured = []
        run_through = op.default
        op.default = lambda *args, captured=captured: captured.append(args)
        try:
            sampler_step(**call)
        finally:
            op.default = run_through
        opcheck(op.default, captured[0])


def test_compiles_without_a_graph_break(device):
    call = draw_call(device, corrector=True)
    eager, compiled = copied(call), copied(call)
    sampler_step(**eager)
    torch.compile(lambda c: sampler_step(**c), fullgraph=True, backend="aot_eager")(compiled)
    for name in ("x_next", "x0", "anchor", "net_input"):
        assert torch.equal(eager[name], compiled[name])


@pytest.mark.parametrize("where", ["meta", "cpu"])
def test_shapes_propagate_without_data(where):
    with FakeTensorMode(allow_non_fake_inputs=True):
        call = draw_call(torch.device(where), corrector=True)
        sampler_step(**call)
    assert call["x_next"].shape == SHAPE
    assert call["x_next"].device.type == where


def test_it_refuses_to_lose_a_gradient(device):
    call = draw_call(device)
    call["f"].requires_grad_()
    with pytest.raises(RuntimeError, match="has no gradient"):
        sampler_step(**call)
    with torch.no_grad():
        sampler_step(**call)
    assert torch.isfinite(call["x_next"]).all()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(2, 37, 61)}, ValueError, r"x must be \[B, C, H, W\], found shape \[2, 37, 61\]"),
        (
            {"f": torch.zeros(SHAPE, dtype=torch.float64)},
            TypeError,
            "f must be float32 or bfloat16 or float16, found float64",
        ),
        ({"y": torch.zeros(2, 1, 37, 60)}, ValueError, r"y must have shape \[2, 1, 37, 61\], found \[2, 1, 37, 60\]"),
        ({"row": torch.zeros(13)}, ValueError, r"row must have shape \[14\], found \[13\]"),
        ({"row": torch.zeros(14, dtype=torch.float64)}, TypeError, "row must be float32, found float64"),
        ({"h1": torch.zeros(SHAPE, device="meta")}, ValueError, "h1 must be on cpu like x, found meta"),
        ({"seeds": torch.zeros(3, dtype=torch.int64)}, ValueError, r"seeds must have shape \[2\], found \[3\]"),
        ({"seeds": torch.zeros(2)}, TypeError, "seeds must be int64, found float32"),
        ({"noise": torch.zeros(SHAPE)}, ValueError, "seeds or noise, not both"),
        ({"step": -1}, ValueError, "step must be in"),
        ({"sample": 2**32}, ValueError, "sample must be in"),
        ({"clip": (1.0, -1.0)}, ValueError, r"clip must be \(lo, hi\) with lo < hi"),
        ({"clip": (float("nan"), 1.0)}, ValueError, r"clip must be \(lo, hi\) with lo < hi"),
        ({"x_next": torch.zeros(2, 1, 61, 37).mT}, ValueError, "x_next must be contiguous"),
        ({"net_input": torch.zeros(2, 1, 61, 37).mT}, ValueError, "net_input must hold each slice in one block"),
        ({"backend": "metal"}, ValueError, "backend must be one of reference, native, triton or None, found 'metal'"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    with pytest.raises(error, match=message):
        sampler_step(**(draw_call(torch.device("cpu")) | change))


@pytest.mark.parametrize("pair", [("x", "x_next"), ("h1", "x0"), ("x_next", "x0"), ("f", "net_input")], ids="-".join)
def test_shared_memory_is_refused(pair):
    call = draw_call(torch.device("cpu"), shape=(1, 1, 8, 8))
    call[pair[1]] = call[pair[0]]
    with pytest.raises(ValueError, match=f"{pair[1]} must not share memory with {pair[0]}"):
        sampler_step(**call)
