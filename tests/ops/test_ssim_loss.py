"""ssim_loss on every back end: the value of slice_metrics, the gradients of autograd over its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

import spectac_fast
from spectac_fast._op import Op
from spectac_fast.ops import slice_metrics, ssim_loss
from spectac_fast.ops.slice_metrics import ssim_of_windows

ROUNDING = float(np.finfo(np.float32).eps) / 2


def pair(shape, dtype=torch.float32, device="cpu", noise=0.1):
    x = torch.rand(shape, dtype=torch.float64)
    y = x + noise * torch.randn(shape, dtype=torch.float64)
    return x.to(device, dtype), y.to(device, dtype)


def by_autograd(x, y, data_range):
    """Loss and both gradients in float64."""
    x, y = (v.detach().cpu().double().requires_grad_() for v in (x, y))
    loss = 1 - ssim_of_windows(x, y, data_range, 11, False).mean()
    return loss.detach(), *torch.autograd.grad(loss, (x, y))


def ours(x, y, data_range, backend=None):
    x, y = (v.detach().clone().requires_grad_() for v in (x, y))
    loss = ssim_loss(x, y, data_range=data_range, backend=backend)
    return loss.detach(), *torch.autograd.grad(loss, (x, y))


def assert_close(result, expected, bound):
    """Gradients relative to the largest: what a pixel gets from its windows may cancel, what it is made of does not."""
    assert abs(result[0].double().cpu() - expected[0]) <= bound
    for gradient, wanted in zip(result[1:], expected[1:]):
        assert (gradient.double().cpu() - wanted).abs().max() <= bound * wanted.abs().max()


@pytest.mark.parametrize("shape", [(1, 1, 11, 11), (2, 1, 27, 35), (1, 12, 72)], ids=str)
def test_equals_autograd_in_float32(backend, device, shape):
    x, y = pair(shape, device=device)
    # About twenty terms of either sign meet in a gradient; each carries a few roundings.
    assert_close(ours(x, y, 1.3, backend), by_autograd(x, y, 1.3), 40 * ROUNDING)


@pytest.mark.parametrize("shape", [(1, 1, 11, 11), (2, 1, 27, 35), (1, 2, 140, 14), (1, 1, 12, 530)], ids=str)
@pytest.mark.parametrize("double_backend", ["reference", "native"])
def test_equals_autograd_in_float64(double_backend, shape):
    if reason := Op._all["ssim_loss"].why_not(double_backend, "cpu"):
        pytest.skip(reason)
    x, y = pair(shape, torch.float64)
    assert_close(ours(x, y, 1.3, double_backend), by_autograd(x, y, 1.3), 1e-12)


@pytest.mark.parametrize("double_backend", ["reference", "native"])
@pytest.mark.parametrize("which", ["both", "x", "y"])
def test_gradcheck(double_backend, which):
    if reason := Op._all["ssim_loss"].why_not(double_backend, "cpu"):
        pytest.skip(reason)
    x, y = pair((1, 2, 11, 12), torch.float64)
    x.requires_grad_(which != "y")
    y.requires_grad_(which != "x")
    assert torch.autograd.gradcheck(lambda a, b: ssim_loss(a, b, data_range=0.7, backend=double_backend), (x, y))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision(backend, device, dtype):
    x, y = pair((2, 1, 20, 21), dtype, device)
    loss, *gradients = ours(x, y, 1.0, backend)
    assert loss.dtype == torch.float32
    assert [g.dtype for g in gradients] == [dtype, dtype]
    assert_close((loss, *gradients), by_autograd(x, y, 1.0), float(torch.finfo(dtype).eps))


def test_value_is_that_of_slice_metrics(backend, device):
    x, y = pair((3, 2, 22, 23), device=device)
    loss = ssim_loss(x, y, data_range=1.0, backend=backend)
    assert abs(loss.item() - (1 - slice_metrics(x, y, data_range=1.0)[:, 0].mean().item())) <= 1e-7


def test_equal_images_have_no_loss_and_no_gradient(backend, device):
    x = torch.randn(2, 1, 24, 25, device=device)
    loss, *gradients = ours(x, x, 2.0, backend)
    assert loss == 0
    assert not any(g.count_nonzero() for g in gradients)


def test_the_level_of_both_images_does_not_spoil_the_gradient(backend, device):
    """Structure of one thousandth on a level of one; the range fits the structure."""
    x, y = ((2**10 * v).round() * 2**-20 for v in pair((1, 1, 20, 20), device=device))
    expected = by_autograd(x + 1, y + 1, 1e-3)
    # What is left are the last bits of means.
    assert_close(ours(x + 1, y + 1, 1e-3, backend), expected, 30 * ROUNDING / 1e-3)


def test_upstream_gradient_scales(device):
    x, y = pair((1, 1, 16, 16), device=device)
    x.requires_grad_()
    (single,) = torch.autograd.grad(ssim_loss(x, y, data_range=1.0), x)
    (triple,) = torch.autograd.grad(3 * ssim_loss(x, y, data_range=1.0), x)
    torch.testing.assert_close(triple, 3 * single)


def test_one_image_may_go_without(device):
    x, y = pair((1, 1, 16, 16), device=device)
    expected = ours(x, y, 1.0)
    for at, image in enumerate((x, y)):
        image.requires_grad_()
        (gradient,) = torch.autograd.grad(ssim_loss(x, y, data_range=1.0), image)
        image.requires_grad_(False)
        assert torch.equal(gradient, expected[1 + at])
    assert not ssim_loss(x, y, data_range=1.0).requires_grad


MIXED = [(torch.bfloat16, torch.float32), (torch.float32, torch.float64), (torch.float16, torch.int16)]


@pytest.mark.parametrize("dtypes", MIXED, ids=str)
def test_two_dtypes_are_those_of_the_gradients(device, dtypes):
    x, y = (v.to(device, dtype) for v, dtype in zip(pair((2, 1, 14, 15), torch.float64), dtypes))
    x.requires_grad_()
    loss = ssim_loss(x, y, data_range=1.0)
    (gradient,) = torch.autograd.grad(loss, x)
    expected, wanted, _ = by_autograd(x, y, 1.0)
    assert loss.dtype == (torch.float64 if torch.float64 in dtypes else torch.float32)
    assert gradient.dtype == x.dtype
    assert abs(loss.double().cpu() - expected) <= 40 * ROUNDING
    assert (gradient.double().cpu() - wanted).abs().max() <= float(torch.finfo(x.dtype).eps) * 20 * wanted.abs().max()


def test_under_autocast_it_takes_what_a_network_gives():
    layer, x = torch.nn.Conv2d(1, 1, 3, padding=1), torch.rand(2, 1, 14, 15)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
        loss = ssim_loss(output, x, data_range=1.0)
    loss.backward()
    assert output.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    assert layer.weight.grad.abs().sum() > 0


def test_nan_in_nan_out(backend, device):
    x, y = pair((2, 1, 14, 15), device=device)
    x[1, 0, 6, 7] = float("nan")
    loss, grad_x, grad_y = ours(x, y, 1.0, backend)
    assert loss.isnan()
    assert grad_x[1, 0, 6, 7].isnan()
    assert grad_y[1, 0, 6, 7].isnan()
    assert grad_x[0].isfinite().all()


def test_empty_batch(backend, device):
    x = torch.zeros(0, 1, 16, 16, device=device, requires_grad=True)
    loss = ssim_loss(x, x.detach(), data_range=1.0, backend=backend)
    assert loss.isnan()
    assert torch.autograd.grad(loss, x)[0].shape == x.shape


def test_threads_and_layout_do_not_matter():
    x, y = pair((3, 2, 150, 40))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(ours(x, y, 1.0))
    finally:
        torch.set_num_threads(threads)
    results.append(ours(x.contiguous(memory_format=torch.channels_last), y.mT.clone().mT, 1.0))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0]))


def test_opcheck(device):
    op = Op._all["ssim_loss"]
    x, y = pair((2, 1, 12, 13), device=device)
    opcheck(op.default, (x, y, 1.0, True, False))


def test_compiles_without_a_graph_break(device):
    x, y = pair((2, 1, 16, 17), device=device)
    eager = ours(x, y, 1.0)
    x.requires_grad_()
    y.requires_grad_()
    loss = torch.compile(lambda a, b: ssim_loss(a, b, data_range=1.0), fullgraph=True, backend="aot_eager")(x, y)
    for result, wanted in zip((loss.detach(), *torch.autograd.grad(loss, (x, y))), eager):
        torch.testing.assert_close(result, wanted, rtol=0, atol=0)


def test_shapes_propagate_without_data():
    with FakeTensorMode():
        x = torch.empty(5, 1, 16, 16, requires_grad=True)
        loss = ssim_loss(x, x.detach(), data_range=1.0)
        (gradient,) = torch.autograd.grad(loss, x)
    assert loss.shape == ()
    assert gradient.shape == x.shape


def test_the_public_name_is_this_function():
    assert spectac_fast.ssim_loss is ssim_loss


IMAGE = torch.zeros(1, 1, 16, 16)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": IMAGE[0, 0]}, ValueError, r"ssim_loss: x must be \[B, H, W\] or \[B, C, H, W\]"),
        ({"x": IMAGE.bool()}, TypeError, "x must be float32 or float64 or .*, found bool"),
        ({"y": IMAGE.cfloat()}, TypeError, "y must be float32 or .*, found complex64"),
        ({"y": IMAGE[..., :12]}, ValueError, r"y must have shape \[1, 1, 16, 16\], found \[1, 1, 16, 12\]"),
        ({"y": IMAGE.to("meta")}, ValueError, "y must be on cpu like x, found meta"),
        ({"x": IMAGE[..., :9], "y": IMAGE[..., :9]}, ValueError, "sides of at least 11 pixels"),
        ({"data_range": -1.0}, ValueError, "data_range must be positive and finite, found -1.0"),
        ({"backend": "metal"}, ValueError, "backend must be one of"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_what_is_wrong_is_said(change, error, message):
    with pytest.raises(error, match=message):
        ssim_loss(**({"x": IMAGE, "y": IMAGE, "data_range": 1.0} | change))
