"""1 - SSIM as a loss, differentiable in both images; value and gradients come from one pass.

In the symbols of `slice_metrics`, for a window with A = mx^2 + my^2 + C1, B = vx + vy + C2, l = 2 mx my + C1,
s = 2 c + C2, SSIM = (l / A) (s / B), and e = x - y with mean me and variance d, the chain rule gives for pixel j

    dSSIM/dx_j = k_j (a - P (e_j - me) + Q (x_j - mx)),    dSSIM/dy_j = k_j (b + P (e_j - me) + Q (y_j - my)),
    P = 2 l / (A B),    Q = P d / B,
    a = -2 me (s / B) (1 - mx me / A) / A,    b = 2 me (s / B) (1 + my me / A) / A.

The differences of nearly equal terms of the usual form are taken by hand here: the gradient vanishes exactly where the
images are equal. Sums over the windows of a pixel are two more passes of the same window over four maps. Pixels and
means are counted from the first pixel of their plane, because the gradient does not know the images' level.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from spectac_fast._op import Op
from spectac_fast.ops._check import is_transformed
from spectac_fast.ops.slice_metrics import (
    C1,
    C2,
    GAUSSIAN_TAPS,
    check_pair,
    compared,
    compared_in,
    is_ready,
    ssim_of_windows,
    window_moments,
    window_sums,
)

_READ = (torch.float32, torch.float64)

_SCHEMA = "ssim_loss(Tensor x, Tensor y, float data_range, bool need_x, bool need_y) -> (Tensor, Tensor, Tensor)"


def _spread(maps: Tensor) -> Tensor:
    """For every pixel of [..., H, W] the weighted sum over the windows that hold it; maps [..., H - 10, W - 10]."""
    return window_sums(maps, GAUSSIAN_TAPS, padding=GAUSSIAN_TAPS - 1)


def _reference(x: Tensor, y: Tensor, data_range: float, need_x: bool, need_y: bool) -> tuple[Tensor, Tensor, Tensor]:
    dtype = x.dtype
    x, y = x.double() / data_range, y.double() / data_range
    mx, my, d, c = window_moments(x, y, GAUSSIAN_TAPS)
    me = mx - my
    luminance, structure = C1 + 2 * mx * my, C2 + 2 * c
    a_sum, b_sum = luminance + me**2, structure + d
    ssim = luminance * structure / (a_sum * b_sum)
    share = -1 / (data_range * ssim.numel()) if ssim.numel() else 0.0
    p = 2 * luminance / (a_sum * b_sum)
    q = p * d / b_sum
    slope = 2 * me * structure / (b_sum * a_sum)
    first_x, first_y = x[..., :1, :1], y[..., :1, :1]
    p_sum, q_sum = _spread(p), _spread(q)
    e = x - y - (first_x - first_y)
    pull = p * (me - (first_x - first_y))

    def gradient(needed: bool, sign: float, image: Tensor, mean: Tensor, first: Tensor) -> Tensor:
        if not needed:
            return x.new_empty(0, dtype=dtype)
        from_means = slope * (mean * me / a_sum - sign) + sign * pull - q * (mean - first)
        return (share * (_spread(from_means) - sign * e * p_sum + (image - first) * q_sum)).to(dtype)

    grad_x = gradient(need_x, 1.0, x, mx, first_x)
    return (1 - ssim.mean()).to(dtype), grad_x, gradient(need_y, -1.0, y, my, first_y)


def _samples(device: torch.device) -> Iterator[dict[str, Any]]:
    """A gradient in both images, in one, and in a plane of more than one band of rows and strip of columns."""
    for shape, wanted in (((2, 1, 12, 13), "xy"), ((1, 1, 11, 11), "y"), ((1, 1, 75, 259), "xy")):
        images = {name: torch.rand(shape, device=device, requires_grad=name in wanted) for name in ("x", "y")}
        yield images | {"data_range": 1.0}


op = Op(_SCHEMA, reference=_reference, triton="spectac_fast.kernels.ssim_loss:ssim_loss", samples=_samples)


def _by_definition(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """The loss in torch's own operations: slow, but every derivative and every transform knows them."""
    ssim = ssim_of_windows(x.double() / data_range, y.double() / data_range, 1.0, GAUSSIAN_TAPS, False)
    return (1 - ssim.mean()).to(x.dtype)


class _SsimLoss(torch.autograd.Function):
    """Keeps the gradients that came with the value; where a derivative of them is wanted, they are made anew."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, data_range: float, backend: str | None) -> Tensor:
        need_x, need_y, _, _ = ctx.needs_input_grad
        call = op.default if backend is None else partial(op, backend=backend)
        loss, grad_x, grad_y = call(x, y, data_range, need_x, need_y)
        ctx.save_for_backward(x, y, grad_x, grad_y)
        ctx.data_range = data_range
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        need_x, need_y, _, _ = ctx.needs_input_grad
        x, y, grad_x, grad_y = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_differentiable(x, y, ctx.data_range, upstream, (need_x, need_y)), None, None
        return upstream * grad_x if need_x else None, upstream * grad_y if need_y else None, None, None


# What `apply` of Python's class ends in; the transforms that it looks for before have their own way here.
_apply = super(torch.autograd.Function, _SsimLoss).apply


def _differentiable(
    x: Tensor, y: Tensor, data_range: float, upstream: Tensor, needed: tuple[bool, bool]
) -> tuple[Tensor | None, ...]:
    """The gradients in x and y with a graph of their own."""
    # Views, because one image may stand for both.
    images = x.view_as(x), y.view_as(y)
    wanted = [image for image, one in zip(images, needed) if one]
    found = iter(torch.autograd.grad(_by_definition(*images, data_range), wanted, upstream, create_graph=True))
    return tuple(next(found) if one else None for one in needed)


def ssim_loss(x: Tensor, y: Tensor, *, data_range: float, backend: str | None = None) -> Tensor:
    """1 - SSIM, averaged over all windows of all slices; 0 where the images are equal, at most 2.

    x, y:        [B, H, W] or [B, C, H, W] of any real or integer dtype, of one or of two (a network's bfloat16 against
                 a float32 target); H and W at least 11. If one of them is float64 or an integer of 32 bits or more the
                 loss is computed in float64, otherwise in float32.
    data_range:  distance between the smallest and the largest possible value, for example 2 on [-1, 1]. Below 1e-6 and
                 above 1e9 the loss is computed in float64 whatever the dtype.
    backend:     "reference", "native" or "triton"; None lets the dispatcher choose.

    SSIM has a Gaussian window of 11 taps and sigma 1.5 and population covariance (Wang et al. 2004), as the default of
    `slice_metrics`. Returns a scalar, float64 if the dtypes ask for it, else float32. Differentiable in x and in y as
    often as one likes: the first derivative comes from the kernel, further ones, forward-mode derivatives and the
    transforms of torch.func (grad, vmap, jacrev, hessian, ...) from the definition in plain torch, whatever the back
    end. On a GPU float64 is computed by the reference. NaN in an image makes the loss NaN, and so does an empty batch,
    as any mean of nothing.

    Raises TypeError for a wrong dtype, ValueError for a wrong shape, device or range, RuntimeError where the back end
    cannot run.
    """
    if backend is None and is_ready(x, data_range, _READ) and op.reaches_compiled(x, y):
        try:
            if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
                return _apply(x, y, data_range, None)
            return op.default(x, y, data_range, False, False)[0]
        except (RuntimeError, TypeError):
            pass  # Either something is wrong, which is said below, or it has to be made ready.
    check_pair("ssim_loss", x, y, data_range, GAUSSIAN_TAPS)
    result = compared_in(x, y)
    if x.dim() == 3:
        x, y = x.unsqueeze(1), y.unsqueeze(1)
    x, y = compared(x, y, _READ, data_range, backend)
    if backend is None and x.dtype == torch.float64 and x.device.type != "cpu":
        backend = "reference"
    if is_transformed((x, y)):
        return _by_definition(x, y, data_range).to(result)
    return _SsimLoss.apply(x, y, float(data_range), backend).to(result)
