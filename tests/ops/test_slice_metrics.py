"""slice_metrics on every back end against scikit-image in float64, within 1e-6 wherever images come from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

import spectac_fast
from spectac_fast._op import Op
from spectac_fast.ops import slice_metrics
from spectac_fast.ops.slice_metrics import weights

TOLERANCE = 1e-6
ROUNDING = float(np.finfo(np.float32).eps) / 2
FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
COUNTS = [torch.uint8, torch.uint16]
FORMS = [("gaussian", False), ("gaussian", True), ("uniform", False), ("uniform", True)]
TAPS = {"gaussian": 11, "uniform": 7}


def plane(values):
    """float64 array of a slice, whatever tensor holds it."""
    return values.cpu().double().numpy()


def expected(x, y, data_range, window, sample_covariance):
    """[B, 3] of scikit-image in float64, slice by slice; channels by its own rule."""
    form = {"gaussian_weights": True, "sigma": 1.5} if window == "gaussian" else {}
    rows = []
    for a, b in zip(plane(x), plane(y)):
        ssim = structural_similarity(
            a, b, data_range=data_range, channel_axis=0, use_sample_covariance=sample_covariance, **form
        )
        with np.errstate(divide="ignore"):
            psnr = peak_signal_noise_ratio(a, b, data_range=data_range)
        rows.append([ssim, psnr, np.sqrt(mean_squared_error(a, b))])
    return np.array(rows)


def noisy(shape, dtype, data_range):
    """A phantom, smooth with flat regions and edges, and the same with noise, both in [0, data_range]."""
    rng = np.random.default_rng()
    rows, columns = (np.linspace(-1, 1, n) for n in shape[-2:])
    radius = np.hypot(rows[:, None] - rng.uniform(-0.3, 0.3), columns[None])
    clean = np.where(radius < 0.7, 0.4 + 0.5 * (radius > 0.4) * np.exp(-radius), 0.0) * np.ones(shape)
    pair = (clean, np.clip(clean + rng.normal(0, 0.03, shape), 0, 1))
    return [torch.from_numpy(data_range * values).to(dtype) for values in pair]


def cases():
    """name -> (x, y, data_range), float32 or counts: where E[x^2] - E[x]^2 in float32 fails, and where it does not."""
    rng = np.random.default_rng()
    shape = (2, 1, 40, 47)

    def images(x, y, data_range, dtype=torch.float32):
        return *(torch.from_numpy(np.broadcast_to(v, shape).copy()).to(dtype) for v in (x, y)), data_range

    a, b = rng.uniform(-1, 1, 2)
    checks = (np.indices(shape[-2:]).sum(0) % 2).astype(float)
    stripes = (np.indices(shape[-2:])[0] % 2).astype(float)
    return {
        "two constants": images(a, b, 2.0),
        "zeros": images(0.0, 0.0, 1.0),
        "tiny difference": images(0.6, 0.6 + 1e-7, 1.0),
        "tiny noise on a level": images(0.6, 0.6 + rng.normal(0, 1e-6, shape), 1.0),
        "weak patterns on a level": images(0.6 + 0.03 * checks, 0.65 + 0.03 * stripes, 1.0),
        "equal": images(*[rng.uniform(-1, 1, shape)] * 2, 2.0),
        "opposite": images(checks, -checks, 2.0),
        "noise in -1 ... 1": images(*rng.uniform(-1, 1, (2, *shape)), 2.0),
        "phantom in -1 ... 1": (*(2 * v - 1 for v in noisy(shape, torch.float32, 1.0)), 2.0),
        "noise in 0 ... 32767": images(*rng.uniform(0, 32767, (2, *shape)), 32767.0),
        "phantom in 0 ... 32767": (*noisy(shape, torch.float32, 32767.0), 32767.0),
        "phantom of uint16": (*noisy(shape, torch.uint16, 32767.0), 32767.0),
        "phantom of uint8": (*noisy(shape, torch.uint8, 255.0), 255.0),
        "noise of uint8": images(*rng.integers(0, 256, (2, *shape)), 255.0, torch.uint8),
        "values of 1e-12": images(*rng.uniform(0, 1e-12, (2, *shape)), 1e-12),
        "values of 1e12": images(*rng.uniform(0, 1e12, (2, *shape)), 1e12),
    }


@pytest.mark.parametrize(("window", "sample_covariance"), FORMS)
@pytest.mark.parametrize("name", list(cases()))
def test_equals_scikit_image(backend, device, in_cuda, name, window, sample_covariance):
    x, y, data_range = cases()[name]
    if in_cuda and backend == "native" and name.startswith("values of"):
        pytest.skip("CUDA does not compute in float64")
    options = {"data_range": data_range, "window": window, "sample_covariance": sample_covariance}
    ours = slice_metrics(x.to(device), y.to(device), **options, backend=backend).cpu().numpy()
    wanted = expected(x, y, **options)
    np.testing.assert_allclose(ours[:, :2], wanted[:, :2], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours[:, 2], wanted[:, 2], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", FLOATS + COUNTS, ids=str)
@pytest.mark.parametrize("window", list(TAPS))
def test_every_dtype(backend, device, in_cuda, dtype, window):
    if (backend == "triton" or (in_cuda and backend == "native")) and dtype == torch.float64:
        pytest.skip("Triton and CUDA do not compute in float64")
    x, y = noisy((3, 1, 33, 38), dtype, 200.0)
    taps = TAPS[window]
    map_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    ssim_map = torch.full((3, 1, 34 - taps, 39 - taps), float("nan"), dtype=map_dtype, device=device)
    options = {"data_range": 200.0, "window": window, "sample_covariance": False}
    ours = slice_metrics(x.to(device), y.to(device), **options, ssim_map=ssim_map, backend=backend)
    assert ours.dtype == torch.float64
    bound = 1e-12 if dtype == torch.float64 else TOLERANCE
    np.testing.assert_allclose(ours.cpu(), expected(x, y, **options), rtol=0, atol=bound)
    form = {"gaussian_weights": True, "sigma": 1.5} if window == "gaussian" else {}
    edge = taps // 2
    for a, b, values in zip(plane(x), plane(y), plane(ssim_map)):
        full = structural_similarity(a[0], b[0], data_range=200.0, use_sample_covariance=False, full=True, **form)[1]
        # A dozen roundings of numbers that SSIM's denominators bound, doubled where covariance cancels.
        np.testing.assert_allclose(values[0], full[edge:-edge, edge:-edge], rtol=0, atol=max(bound, 24 * ROUNDING))


MIXED = [
    (torch.bfloat16, torch.float32), (torch.float32, torch.float16), (torch.float16, torch.bfloat16),
    (torch.float64, torch.float32), (torch.int16, torch.int16), (torch.int8, torch.int8), (torch.int32, torch.int32),
    (torch.int64, torch.float32), (torch.uint8, torch.int16), (torch.float32, torch.uint16),
]  # fmt: skip


@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_two_dtypes_are_compared_in_the_one_that_holds_both(device, dtypes):
    images = [v.to(device, dtype) for v, dtype in zip(noisy((2, 1, 14, 15), torch.float64, 100.0), dtypes)]
    wide = any(d in (torch.float64, torch.int32, torch.int64) for d in dtypes)
    ssim_map = torch.empty(2, 1, 4, 5, dtype=torch.float64 if wide else torch.float32, device=device)
    found = slice_metrics(*images, data_range=100.0, ssim_map=ssim_map)
    wanted_map = torch.empty_like(ssim_map, dtype=torch.float64)
    wanted = slice_metrics(*(v.double() for v in images), data_range=100.0, ssim_map=wanted_map)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12 if wide else TOLERANCE)
    torch.testing.assert_close(ssim_map.double(), wanted_map, rtol=0, atol=1e-12 if wide else 24 * ROUNDING)


@pytest.mark.parametrize(
    "shape", [(1, 1, 11, 11), (2, 1, 11, 270), (1, 1, 78, 12), (2, 2, 21, 65), (1, 1, 43, 267)], ids=str
)
def test_any_size(backend, device, shape):
    x, y = noisy(shape, torch.float32, 2.0)
    options = {"data_range": 2.0, "window": "gaussian", "sample_covariance": False}
    ours = slice_metrics(x.to(device), y.to(device), **options, backend=backend)
    np.testing.assert_allclose(ours.cpu(), expected(x, y, **options), rtol=0, atol=TOLERANCE)


def test_equal_images_give_exactly_one(backend, device):
    x = torch.randn(2, 1, 30, 41, device=device)
    scores = slice_metrics(x, x.clone(), data_range=2.0, backend=backend).cpu()
    assert torch.equal(scores, torch.tensor([[1.0, float("inf"), 0.0]], dtype=torch.float64).expand(2, 3))


def test_weak_structure_on_a_high_level(backend, device):
    """All that float32 loses are the last bits of means, against a structure that they know nothing of."""
    structure = (torch.rand(2, 1, 1, 24, 24) * 64).round() * 2**-8
    level = 2.0**10
    ours = slice_metrics(*(structure + level).to(device), data_range=0.25, backend=backend).cpu()
    exact = slice_metrics(*(structure + level).double(), data_range=0.25, backend="reference")
    np.testing.assert_allclose(ours[:, 0], exact[:, 0], rtol=0, atol=level * ROUNDING / structure.std())


def test_three_dimensions_are_slices(backend, device):
    x, y = (v.to(device) for v in noisy((3, 1, 21, 22), torch.float32, 1.0))
    ssim_map = torch.empty(3, 11, 12, device=device)
    flat = slice_metrics(x[:, 0], y[:, 0], data_range=1.0, ssim_map=ssim_map, backend=backend)
    assert torch.equal(flat, slice_metrics(x, y, data_range=1.0, backend=backend))
    np.testing.assert_allclose(ssim_map.double().mean((1, 2)).cpu(), flat[:, 0].cpu(), rtol=0, atol=1e-7)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter, on infinity minus infinity
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_reaches_its_own_slice_and_no_other(backend, device, value):
    x, y = (v.to(device) for v in noisy((3, 1, 20, 25), torch.float32, 1.0))
    x[1, 0, 7, 9] = value
    scores = slice_metrics(x, y, data_range=1.0, backend=backend).cpu()
    assert scores[1, 0].isnan()
    assert torch.isfinite(scores[[0, 2]]).all()
    assert not torch.isfinite(scores[1, 1:]).any()


@pytest.mark.parametrize("shape", [(0, 1, 16, 16), (0, 16, 16)], ids=str)
def test_empty_batch(backend, device, shape):
    x = torch.zeros(shape, device=device)
    assert slice_metrics(x, x, data_range=1.0, backend=backend).shape == (0, 3)


def test_a_slice_does_not_depend_on_its_batch(backend, device):
    x, y = (v.to(device) for v in noisy((4, 1, 45, 37), torch.float32, 1.0))
    together = slice_metrics(x, y, data_range=1.0, backend=backend)
    alone = slice_metrics(x[2:3], y[2:3], data_range=1.0, backend=backend)
    if backend == "reference":
        torch.testing.assert_close(together[2:3], alone, rtol=1e-14, atol=0)
    else:
        assert torch.equal(together[2:3], alone)


def test_scores_do_not_depend_on_the_number_of_threads():
    x, y = noisy((5, 1, 97, 301), torch.float32, 1.0)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(slice_metrics(x, y, data_range=1.0))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_layout_does_not_matter(backend, device):
    x, y = (v.to(device) for v in noisy((2, 3, 20, 23), torch.float32, 1.0))
    dense = slice_metrics(x, y, data_range=1.0, backend=backend)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(slice_metrics(last, y.mT.clone().mT, data_range=1.0, backend=backend), dense)


def test_an_unaligned_image(backend, device):
    x, y = (v.to(device) for v in noisy((2, 1, 24, 32), torch.float32, 1.0))
    shifted = torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape)
    dense = slice_metrics(x, y, data_range=1.0, backend=backend)
    torch.testing.assert_close(slice_metrics(shifted, y, data_range=1.0, backend=backend), dense, rtol=0, atol=1e-12)


def test_opcheck_on_every_sample(device):
    op = Op._all["slice_metrics"]
    for call in op.samples(device):
        captured = []
        run_through = op.default
        op.default = lambda *args, captured=captured, run=run_through: captured.append(args) or run(*args)
        try:
            slice_metrics(**call)
        finally:
            op.default = run_through
        opcheck(op.default, captured[0])


def test_compiles_without_a_graph_break(device):
    x, y = (v.to(device) for v in noisy((2, 1, 20, 21), torch.float32, 1.0))
    ssim_map = torch.zeros(2, 1, 10, 11, device=device)

    def scored(x, y, ssim_map):
        return slice_metrics(x, y, data_range=1.0, ssim_map=ssim_map)

    eager = scored(x, y, eager_map := ssim_map.clone())
    assert torch.equal(torch.compile(scored, fullgraph=True, backend="aot_eager")(x, y, ssim_map), eager)
    assert torch.equal(ssim_map, eager_map)


@pytest.mark.parametrize("where", ["meta", "cpu"])
def test_shapes_propagate_without_data(where):
    with FakeTensorMode():
        x = torch.empty(5, 1, 16, 16, device=where)
        scores = slice_metrics(x, x, data_range=1.0)
    assert scores.shape == (5, 3)
    assert scores.dtype == torch.float64
    assert scores.device.type == where


def test_the_public_name_is_this_function():
    assert spectac_fast.slice_metrics is slice_metrics


def test_triton_holds_the_same_weights():
    kernels = pytest.importorskip("spectac_fast.kernels.moments")
    for taps, middle_outwards in kernels.WEIGHTS.items():
        assert middle_outwards == pytest.approx(weights(taps)[taps // 2 :], rel=1e-11)


def test_weights_are_those_of_scikit_image():
    gaussian = weights(11)
    assert gaussian[0] == pytest.approx(np.exp(-0.5 * (5 / 1.5) ** 2) * gaussian[5], rel=1e-14)
    assert gaussian == gaussian[::-1]
    assert sum(gaussian) == pytest.approx(1, rel=1e-15)
    assert weights(7) == [1 / 7] * 7


def test_it_refuses_to_lose_a_gradient():
    x = torch.rand(1, 1, 16, 16, requires_grad=True)
    with pytest.raises(RuntimeError, match="slice_metrics has no gradient"):
        slice_metrics(x, x.detach(), data_range=1.0)
    with torch.no_grad():
        assert slice_metrics(x, x, data_range=1.0)[0, 0] == 1


IMAGE = torch.zeros(1, 1, 16, 16)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": torch.zeros(16, 16)}, ValueError, r"x must be \[B, H, W\] or \[B, C, H, W\].*found shape \[16, 16\]"),
        ({"x": torch.zeros(1, 0, 16, 16)}, ValueError, r"with C >= 1, found shape \[1, 0, 16, 16\]"),
        ({"y": torch.zeros(1, 1, 16, 15)}, ValueError, r"y must have shape \[1, 1, 16, 16\], found \[1, 1, 16, 15\]"),
        ({"x": IMAGE.bool()}, TypeError, "x must be float32 or .* or uint16 or .*, found bool"),
        ({"y": IMAGE.cfloat()}, TypeError, "y must be float32 or .*, found complex64"),
        ({"y": IMAGE.to("meta")}, ValueError, "y must be on cpu like x, found meta"),
        ({"x": IMAGE[..., :10], "y": IMAGE[..., :10]}, ValueError, "sides of at least 11 pixels, found"),
        ({"data_range": 0.0}, ValueError, "data_range must be positive and finite, found 0.0"),
        ({"data_range": float("nan")}, ValueError, "data_range must be positive and finite, found nan"),
        ({"window": "hann"}, ValueError, "window must be 'gaussian' or 'uniform', found 'hann'"),
        ({"ssim_map": torch.zeros(1, 1, 6, 6).double()}, TypeError, "ssim_map must be float32, found float64"),
        (
            {"ssim_map": torch.zeros(1, 1, 16, 16)},
            ValueError,
            r"ssim_map must have shape \[1, 1, 6, 6\], found \[1, 1, 16, 16\]",
        ),
        ({"ssim_map": torch.zeros(1, 1, 6, 6).mT}, ValueError, "contiguous"),
        (
            {"ssim_map": torch.zeros(1, 1, 6, 6, device="meta")},
            ValueError,
            "ssim_map must be on cpu like x, found meta",
        ),
        ({"backend": "metal"}, ValueError, "backend must be one of reference, native, triton or None, found 'metal'"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    call = {"x": IMAGE, "y": IMAGE, "data_range": 1.0}
    with pytest.raises(error, match=message):
        slice_metrics(**(call | change))
