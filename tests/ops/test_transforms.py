"""Every operator under forward-mode AD and torch.func: ssim_loss works there, all others say what they cannot."""

from __future__ import annotations

import inspect
from functools import partial

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

from spectac_fast import ops
from spectac_fast._op import Op
from spectac_fast.ops import slice_metrics, ssim_loss
from spectac_fast.ops.slice_metrics import ssim_of_windows

# torch's own: it compiles formulas of forward mode with a compiler of its own that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")

OTHERS = sorted(op.name for op in Op.all() if op.name != "ssim_loss")
# They return new tensors, so that torch may call them once for every member of a batch.
FUNCTIONAL = {"attenuation_gradient", "backproject", "photon_survival", "project"}


def call_of(name):
    """(function of its first argument, which is a float32 image; that argument)."""
    function = getattr(ops, name)
    kw = next(iter(Op._all[name].samples(torch.device("cpu"))))
    first = next(iter(inspect.signature(function).parameters))
    image = kw[first].float()
    if name == "slice_metrics":
        kw |= {"y": kw["y"].float()}

    def run(image):
        result = function(**kw | {first: image})
        return kw["x_next"] if result is None else result[0] if isinstance(result, tuple) else result

    return run, image


@pytest.mark.parametrize("name", OTHERS)
def test_a_derivative_is_never_lost_without_a_word(name):
    run, image = call_of(name)

    def total(x):
        return run(x).float().sum()

    with pytest.raises(RuntimeError, match=f"^{name} has no gradient"):
        grad(total)(image)
    with pytest.raises(RuntimeError, match=f"^{name} has no gradient"):
        jacrev(total)(image)
    with pytest.raises(RuntimeError, match=f"^{name} has no gradient"):
        grad(lambda pair: vmap(total)(pair).sum())(torch.stack([image] * 2))
    for derivative in (partial(jvp, total, (image,), (image,)), partial(jacfwd(total), image)):
        with pytest.raises(RuntimeError, match=f"^{name} has no forward-mode derivative"):
            derivative()
    with pytest.raises(RuntimeError, match=f"^{name} has no (gradient|forward-mode derivative)"):
        hessian(total)(image)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(image, image)
        with pytest.raises(RuntimeError, match=f"^{name} has no forward-mode derivative"):
            run(dual)
        # What has no tangent is served there as anywhere.
        assert run(image) is not None


@pytest.mark.parametrize("name", OTHERS)
def test_a_batch_of_torch_func_is_served_or_refused(name):
    run, image = call_of(name)
    pair = torch.stack([image, image + 0.01])
    if name in FUNCTIONAL:
        found = vmap(run)(pair)
        assert torch.equal(found, torch.stack([run(one) for one in pair]))
    else:
        with pytest.raises(RuntimeError, match=f"^{name} does not run under torch.func.vmap"):
            vmap(run)(pair)


@pytest.mark.parametrize("name", OTHERS)
def test_detached_tensors_are_served_within_a_derivative(name):
    run, image = call_of(name)
    expected = run(image).clone()

    def loss(x):
        assert torch.equal(run(x.detach()), expected)
        return (x * x).sum()

    assert torch.equal(grad(loss)(image), 2 * image)
    total = torch.zeros_like(image, requires_grad=True)
    loss(image + total).backward()
    assert torch.equal(total.grad, 2 * image)


def images():
    generator = torch.Generator().manual_seed(7)
    x, y = torch.rand(2, 1, 2, 11, 12, generator=generator, dtype=torch.float64)
    return x, y


def defined(x, y, data_range=0.7):
    return 1 - ssim_of_windows(x, y, data_range, 11, False).mean()


ours = partial(ssim_loss, data_range=0.7)


def test_second_derivatives_of_the_loss_are_those_of_its_definition():
    x, y = images()
    assert torch.autograd.gradgradcheck(ours, (x.requires_grad_(), y.requires_grad_()))
    loss = ours(x, y)
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    found = torch.autograd.grad(slope.square().sum(), (x, y))
    (slope,) = torch.autograd.grad(defined(x, y), x, create_graph=True)
    for one, wanted in zip(found, torch.autograd.grad(slope.square().sum(), (x, y))):
        torch.testing.assert_close(one, wanted, rtol=1e-9, atol=1e-15)


def test_one_image_in_both_places_has_its_second_derivative_once():
    x, y = images()
    x.requires_grad_()
    slopes = (torch.autograd.grad(f(x, 0.5 * x + y), x, create_graph=True)[0] for f in (ours, defined))
    first, second = (torch.autograd.grad(slope.sum(), x)[0] for slope in slopes)
    torch.testing.assert_close(first, second, rtol=1e-9, atol=1e-15)
    (slope,) = torch.autograd.grad(ours(x, x), x, create_graph=True)
    assert slope.abs().max() < 1e-15


@pytest.mark.parametrize("transform", [grad, jacrev, jacfwd, hessian], ids=lambda f: f.__name__)
@pytest.mark.parametrize("place", [0, 1])
def test_the_loss_passes_every_derivative_of_torch_func(transform, place):
    x, y = (v[:, :11, :11] for v in images())
    found, wanted = (transform(f, argnums=place)(x, y) for f in (ours, defined))
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-13)


def test_the_loss_has_tangents_and_batches():
    x, y = images()
    torch.testing.assert_close(jvp(ours, (x, y), (y, x)), jvp(defined, (x, y), (y, x)), rtol=1e-9, atol=1e-13)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(ours(forward_ad.make_dual(x, y), y)).tangent
    torch.testing.assert_close(found, jvp(lambda a: defined(a, y), (x,), (y,))[1], rtol=1e-9, atol=1e-13)
    pairs = torch.stack([x, y, x + 0.1])
    found = vmap(ours, (0, None))(pairs, y)
    torch.testing.assert_close(found, torch.stack([ours(a, y) for a in pairs]), rtol=0, atol=1e-12)
    found = vmap(grad(ours), (0, None))(pairs, y)
    torch.testing.assert_close(found, torch.stack([grad(defined)(a, y) for a in pairs]), rtol=1e-9, atol=1e-13)


def test_a_gradient_penalty_trains_in_float32():
    x, y = (v.float() for v in images())
    x.requires_grad_()
    (slope,) = torch.autograd.grad(ours(x, y), x, create_graph=True)
    (found,) = torch.autograd.grad(slope.square().sum(), x)
    wide = x.detach().double().requires_grad_()
    (slope,) = torch.autograd.grad(defined(wide, y.double()), wide, create_graph=True)
    (wanted,) = torch.autograd.grad(slope.square().sum(), wide)
    assert found.dtype == torch.float32
    # Both derivatives are made in float64; what is rounded are the images' and the slope's values.
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("scaled", [False, True])
def test_any_data_range_from_1e_minus_30_to_1e30(scaled):
    generator = torch.Generator().manual_seed(3)
    x, y = torch.rand(2, 1, 12, 13, generator=generator)
    for exponent in range(-30, 31, 3):
        data_range = 10.0**exponent
        # Divided here, because the definition's squares of such images would be all that float64 holds.
        a, b = (v * data_range if scaled else v for v in (x, y))
        wide = [v.double() / data_range for v in (a, b)]
        expected = ssim_of_windows(*wide, 1.0, 11, False).mean()
        assert abs(slice_metrics(a, b, data_range=data_range)[0, 0] - expected) <= 1e-6, exponent
        wide[0].requires_grad_()
        (slope,) = torch.autograd.grad(defined(*wide, 1.0), wide[0])
        a = a.detach().requires_grad_()
        loss = ssim_loss(a, b, data_range=data_range)
        assert loss.dtype == torch.float32
        assert abs(loss - (1 - expected)) <= 1e-6, exponent
        (found,) = torch.autograd.grad(loss, a)
        wanted = slope / data_range
        # Below float32's smallest number there is nothing to tell.
        assert (found - wanted).abs().max() <= max(1e-4 * wanted.abs().max(), 2e-45), exponent
