"""ssim_loss: value and gradient of 1 - SSIM in the first image, as a training step takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from bench.speed import peers
from bench.speed.case import Call, Case
from spectac_fast.ops import ssim_loss
from spectac_fast.ops.slice_metrics import ssim_of_windows

SHAPES = ((64, 1, 64, 64), (16, 1, 256, 256))

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def autograd() -> Loss:
    return lambda x, y: 1 - ssim_of_windows(x, y, 1.0, 11, False).mean()


def pytorch_msssim() -> Loss:
    from pytorch_msssim import ssim

    return lambda x, y: 1 - ssim(x, y, data_range=1.0, win_size=11, win_sigma=1.5)


def kornia() -> Loss:
    from kornia.losses import ssim_loss as loss

    return lambda x, y: loss(x, y, window_size=11, max_val=1.0, padding="valid")


def fused_ssim() -> Loss:
    from fused_ssim import fused_ssim as ssim

    return lambda x, y: 1 - ssim(x, y, padding="valid")


RIVALS: dict[str, Callable[[], Loss]] = {
    "torch's autograd": autograd,
    "pytorch-msssim": pytorch_msssim,
    "kornia": kornia,
    "fused-ssim": fused_ssim,
}


def step(loss: Loss, x: torch.Tensor, y: torch.Tensor) -> Call:
    x = x.clone().requires_grad_()
    return lambda: torch.autograd.grad(loss(x, y), x)


def cases(device: torch.device) -> Iterator[Case]:
    for shape in SHAPES:
        x = torch.rand(shape, device=device)
        y = (x + 0.1 * torch.randn(shape, device=device)).clamp(0, 1)
        makers = {name: lambda make=make, a=x, b=y: step(make(), a, b) for name, make in RIVALS.items()}
        calls, missing = peers.gather(makers)
        yield Case(
            op="ssim_loss",
            size="x".join(map(str, shape)),
            ours=step(lambda a, b: ssim_loss(a, b, data_range=1.0), x, y),
            rivals=calls,
            moved=3 * x.numel() * x.element_size(),
            missing=missing,
        )
