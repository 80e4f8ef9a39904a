"""window_counts and unwindow_counts on every back end, against the numpy code of the data room and against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from spectac_fast._op import Op
from spectac_fast.data.geometry.resample import InPlane
from spectac_fast.data.scale import to_counts, to_model
from spectac_fast.ops import unwindow_counts, window_counts

ROUNDING = float(np.finfo(np.float32).eps) / 2
HALF_ROUNDING = {torch.float32: 0.0, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}  # of a value above 2^-14
COUNTS = (torch.uint16, torch.int16, torch.float32)
NETWORK = (torch.float32, torch.bfloat16, torch.float16)
MODEL_MM = 6.8
# Same, shrinking, growing, one of each, one within a percent; sizes not divisible by anything.
GRIDS = [
    ((37, 61), (6.8, 6.8)),
    ((19, 23), (9.3, 13.6)),
    ((41, 53), (3.4, 5.1)),
    ((17, 40), (12.1, 4.0)),
    ((33, 9), (6.85, 4.11)),
]


def draw_counts(device, dtype, *shape, top=900):
    counts = torch.randint(-top // 9 if dtype == torch.int16 else 0, top, shape, dtype=torch.int32)
    return counts.to(dtype).to(device)


def as_numpy(tensor):
    return tensor.cpu().float().numpy()


@pytest.mark.parametrize("dtype", COUNTS, ids=str)
def test_equal_pixels_give_the_bytes_of_the_data_room(backend, device, dtype):
    counts = draw_counts(device, dtype, 3, 37, 61, top=30000)
    for scale in (713.3, 29.0):
        ours = window_counts(counts, scale=scale, pixel_mm=4.4, model_mm=4.4, backend=backend)
        np.testing.assert_array_equal(ours.cpu().numpy(), to_model(as_numpy(counts), scale))


@pytest.mark.parametrize(("shape", "pixel_mm"), GRIDS)
@pytest.mark.parametrize("dtype", COUNTS, ids=str)
def test_it_agrees_with_the_data_room(backend, device, dtype, shape, pixel_mm):
    counts = draw_counts(device, dtype, 2, *shape)
    grid = InPlane(shape, pixel_mm, MODEL_MM)
    expected = to_model(grid.to_model(as_numpy(counts)), 700.0)
    ours = window_counts(counts, scale=700.0, pixel_mm=pixel_mm, model_mm=grid.pixel_mm, backend=backend)
    assert ours.shape == expected.shape
    # Per axis: at most four pixels added, and weights of three roundings; then the window.
    bound = (2 * (4 + 3) + 3) * ROUNDING * (900 * 2 / 700 + 1)
    np.testing.assert_allclose(ours.cpu().numpy(), expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", NETWORK, ids=str)
def test_the_result_is_rounded_to_the_networks_dtype(backend, device, dtype):
    counts = draw_counts(device, torch.uint16, 2, 16, 24)
    exact = window_counts(counts, scale=700.0, pixel_mm=5.1, model_mm=MODEL_MM, backend=backend)
    ours = window_counts(counts, scale=700.0, pixel_mm=5.1, model_mm=MODEL_MM, dtype=dtype, backend=backend)
    assert ours.dtype == dtype
    # The interpreter truncates to bfloat16 where hardware rounds.
    slack = 2 if backend == "triton" and device.type == "cpu" else 1
    np.testing.assert_allclose(as_numpy(ours), exact.cpu().numpy(), rtol=slack * HALF_ROUNDING[dtype], atol=2**-24)


@pytest.mark.parametrize("stored", [torch.uint16, torch.int16], ids=str)
@pytest.mark.parametrize("dtype", NETWORK, ids=str)
def test_back_again_rounds_half_to_even_and_tallies(backend, device, dtype, stored):
    largest = torch.iinfo(stored).max
    values = torch.tensor([-1.0, -1.0039, 0.0, 0.5, 1.5, 2.5, -0.5, 1e4, 1e30, -1e30, float("inf"), -float("inf")])
    x = torch.cat([values, torch.tensor([float("nan")]), torch.randn(50) * 3]).to(dtype).to(device)
    x = x.reshape(1, 7, 9).repeat(3, 1, 1)
    x[1] = 0.0
    for scale in (2.0, 60001.0):
        counts, saturated = unwindow_counts(x, scale=scale, dtype=stored, backend=backend)
        asked = np.rint((as_numpy(x) + np.float32(1)) * np.float32(scale / 2))
        assert counts.dtype == stored
        expected = np.nan_to_num(np.clip(asked, 0, largest), nan=0.0)
        np.testing.assert_array_equal(counts.cpu().to(torch.int32).numpy(), expected)
        tallies = [(asked < 0).sum((1, 2)), (asked > largest).sum((1, 2)), np.isnan(asked).sum((1, 2))]
        np.testing.assert_array_equal(saturated.cpu().numpy(), np.stack(tallies, 1))
        assert saturated[0, 2] == 1
        assert saturated[1].sum() == 0


@pytest.mark.parametrize(("shape", "pixel_mm"), GRIDS)
def test_back_again_agrees_with_the_data_room(backend, device, shape, pixel_mm):
    grid = InPlane(shape, pixel_mm, MODEL_MM)
    x = np.random.default_rng().uniform(-1, 2, (2, *grid.to_model(np.zeros((1, *shape), np.float32)).shape[1:]))
    x = x.astype(np.float32)
    expected = grid.to_source(to_counts(x, 5000.0))
    counts, saturated = unwindow_counts(
        torch.from_numpy(x).to(device),
        scale=5000.0,
        size=shape,
        pixel_mm=pixel_mm,
        model_mm=grid.pixel_mm,
        backend=backend,
    )
    bound = 0.5 + 2 * (2 * (4 + 3) + 3) * ROUNDING * 7500
    np.testing.assert_allclose(as_numpy(counts), expected, rtol=0, atol=bound)
    assert saturated.sum() == 0


def test_a_round_trip_at_equal_pixels_changes_nothing(backend, device):
    counts = draw_counts(device, torch.uint16, 2, 3, 33, 31, top=65536)
    x = window_counts(counts, scale=65535.0, backend=backend)
    again, saturated = unwindow_counts(x, scale=65535.0, backend=backend)
    assert torch.equal(again.cpu(), counts.cpu())
    assert saturated.shape == (2, 3, 3)
    assert not saturated.any()


@pytest.mark.parametrize("mm", [(6.8, 6.8), (5.1, 3.4), (9.3, 13.6)], ids=str)
def test_nan_reaches_what_it_has_weight_in_and_nothing_else(backend, device, mm):
    counts = torch.zeros(1, 12, 14, device=device)
    counts[0, 5, 6] = float("nan")
    marked = torch.zeros_like(counts)
    marked[0, 5, 6] = 1.0
    options = {"scale": 2.0, "pixel_mm": mm, "model_mm": MODEL_MM}
    touched = window_counts(marked, **options, backend="reference") > -1
    assert torch.equal(window_counts(counts, **options, backend=backend).isnan(), touched)


def test_back_ends_give_the_same_bytes(backend, device):
    counts = draw_counts(device, torch.uint16, 3, 40, 45)
    options = {"scale": 611.0, "pixel_mm": (4.9, 8.1), "model_mm": MODEL_MM}
    if backend == "reference":
        pytest.skip("float64 inside: held by the bound above")
    ours = window_counts(counts, **options, backend=backend)
    assert torch.equal(ours.cpu(), window_counts(counts.cpu(), **options))


def test_a_channel_slice_of_a_larger_input_is_written_and_nothing_beside_it(backend, device):
    counts = draw_counts(device, torch.uint16, 2, 1, 9, 11)
    for mm in (6.8, 4.0):
        alone = window_counts(counts, scale=500.0, pixel_mm=mm, model_mm=MODEL_MM, backend=backend)
        stacked = torch.randn(2, 3, *alone.shape[2:], device=device)
        before = stacked.clone()
        out = stacked[:, 1:2]
        assert (
            window_counts(counts, scale=500.0, pixel_mm=mm, model_mm=MODEL_MM, out=out, backend=backend).data_ptr()
            == out.data_ptr()
        )
        assert torch.equal(stacked[:, 1:2], alone)
        assert torch.equal(stacked[:, ::2], before[:, ::2])


@pytest.mark.parametrize("shape", [(0, 8, 8), (2, 0, 8, 8), (1, 0, 5), (1, 1, 1)], ids=str)
def test_any_size(backend, device, shape):
    counts = draw_counts(device, torch.int16, *shape)
    x = window_counts(counts, scale=3.0, pixel_mm=13.0, model_mm=MODEL_MM, backend=backend)
    options = {"size": shape[-2:], "pixel_mm": 13.0, "model_mm": MODEL_MM}
    again, saturated = unwindow_counts(x, scale=3.0, **options, backend=backend)
    assert again.shape == shape
    assert saturated.shape == (*shape[:-2], 3)
    if shape == (1, 1, 1):
        assert x.shape == (1, 2, 2)
        assert (x == to_model(as_numpy(counts), 3.0)[0, 0, 0]).all()


def test_layout_does_not_matter(backend, device):
    counts = draw_counts(device, torch.float32, 2, 3, 12, 10)
    options = {"scale": 500.0, "pixel_mm": (4.0, 9.0), "model_mm": MODEL_MM, "backend": backend}
    expected = window_counts(counts, **options)
    assert torch.equal(window_counts(counts.contiguous(memory_format=torch.channels_last), **options), expected)
    assert torch.equal(window_counts(counts.mT.clone().mT, **options), expected)


def test_a_slice_does_not_depend_on_its_batch_or_the_number_of_threads():
    counts = draw_counts(torch.device("cpu"), torch.uint16, 40, 64, 64)
    x = torch.randn(40, 64, 64) * 2
    options = {"pixel_mm": 5.0, "model_mm": MODEL_MM}
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            back = unwindow_counts(x, scale=9e4)
            results.append((window_counts(counts, scale=9.0, **options), *back))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
    assert torch.equal(window_counts(counts[7:8], scale=9.0, **options), results[0][0][7:8])
    assert torch.equal(unwindow_counts(x[7:8], scale=9e4)[1], results[0][2][7:8])


@pytest.mark.parametrize("name", ["window_counts", "unwindow_counts"])
def test_opcheck_on_every_sample(monkeypatch, device, name):
    op, function = Op._all[name], {"window_counts": window_counts, "unwindow_counts": unwindow_counts}[name]
    run_through, captured = op.default, []
    monkeypatch.setattr(op, "default", lambda *args: captured.append(args))
    for call in op.samples(device):
        function(**call)
    monkeypatch.undo()
    assert len(captured) >= 2
    for args in captured:
        opcheck(run_through, args)


def test_compiles_without_a_graph_break(device):
    counts = draw_counts(device, torch.uint16, 2, 12, 14)

    def there_and_back(counts):
        x = window_counts(counts, scale=300.0, pixel_mm=(4.0, 9.0), model_mm=MODEL_MM)
        return x, *unwindow_counts(x, scale=300.0, size=(12, 14), pixel_mm=(4.0, 9.0), model_mm=MODEL_MM)

    compiled = torch.compile(there_and_back, fullgraph=True, backend="aot_eager")(counts)
    for ours, expected in zip(compiled, there_and_back(counts)):
        assert torch.equal(ours, expected)


def test_shapes_propagate_without_data():
    with FakeTensorMode():
        counts = torch.empty(2, 64, 60, dtype=torch.uint16)
        x = window_counts(counts, scale=1.0, pixel_mm=4.0, model_mm=(6.0, 4.0), dtype=torch.bfloat16)
        back, saturated = unwindow_counts(x, scale=1.0, size=(64, 60), pixel_mm=4.0, model_mm=(6.0, 4.0))
    assert (x.shape, x.dtype, back.shape, saturated.shape) == ((2, 43, 60), torch.bfloat16, (2, 64, 60), (2, 3))


def test_it_refuses_to_lose_a_gradient():
    values = torch.zeros(1, 4, 4, requires_grad=True)
    for function in (window_counts, unwindow_counts):
        with pytest.raises(RuntimeError, match="has no gradient"):
            function(values, scale=1.0)
        with torch.no_grad():
            function(values, scale=1.0)


COUNTS_OF_ONE = torch.zeros(2, 4, 5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"counts": torch.zeros(4, 5)},
            ValueError,
            r"counts must be \[S, H, W\] or \[B, C, H, W\], found shape \[4, 5",
        ),
        ({"counts": COUNTS_OF_ONE.double()}, TypeError, "counts must be uint16 or int16 or float32, found float64"),
        ({"scale": 0.0}, ValueError, "scale must be positive and finite, found 0.0"),
        ({"scale": float("nan")}, ValueError, "scale must be positive and finite, found nan"),
        ({"pixel_mm": (1.0, -1.0)}, ValueError, r"pixel_mm must be one or two positive, finite sizes in mm, found \(1"),
        ({"model_mm": (1.0, 2.0, 3.0)}, ValueError, "model_mm must be one or two positive"),
        ({"model_mm": 4.1}, ValueError, "pixels must not grow more than 4 times, found 4.1"),
        ({"dtype": torch.int32}, TypeError, "dtype must be float32, bfloat16 or float16, found int32"),
        ({"out": torch.zeros(2, 5, 4)}, ValueError, r"out must have shape \[2, 4, 5\], found \[2, 5, 4\]"),
        ({"out": torch.zeros(2, 4, 5).half()}, TypeError, "out must be float32, found float16"),
        ({"out": torch.zeros(2, 4, 5, device="meta")}, ValueError, "out must be on cpu like counts, found meta"),
        ({"out": torch.zeros(2, 5, 4).mT}, ValueError, "out must hold each slice in one block, found strides"),
        ({"out": COUNTS_OF_ONE}, ValueError, "out must not share memory with counts"),
        ({"backend": "metal"}, ValueError, "backend must be one of"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    with pytest.raises(error, match=message):
        window_counts(**({"counts": COUNTS_OF_ONE, "scale": 1.0} | change))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": COUNTS_OF_ONE.double()}, TypeError, "x must be float32 or bfloat16 or float16, found float64"),
        ({"dtype": torch.uint8}, TypeError, "dtype must be uint16 or int16, found uint8"),
        ({"pixel_mm": 2.0}, ValueError, "size must be given where pixel_mm and model_mm differ, found None"),
        ({"size": (4,)}, ValueError, r"size must be \(rows, columns\) that x can fill, found \(4,\)"),
        ({"size": (4, -5)}, ValueError, r"size must be \(rows, columns\) that x can fill, found \(4, -5\)"),
        ({"pixel_mm": 5.0, "size": (1, 1)}, ValueError, "pixels must not grow more than 4 times, found 5"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_on_the_way_back_is_said(change, error, message):
    with pytest.raises(error, match=message):
        unwindow_counts(**({"x": COUNTS_OF_ONE, "scale": 1.0} | change))
