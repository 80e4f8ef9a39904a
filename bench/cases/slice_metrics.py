"""slice_metrics: SSIM, PSNR and RMSE of many slices, Gaussian window. The rivals give SSIM alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from bench.speed import peers
from bench.speed.case import Call, Case, Goal
from spectac_fast.ops import slice_metrics

SHAPES = ((256, 1, 64, 64), (256, 1, 256, 256))

BATCHED = ("torchmetrics", "pytorch-msssim", "MONAI", "kornia")
"""Packages that take a whole batch of tensors."""


def scikit_image(x: torch.Tensor, y: torch.Tensor) -> Call:
    from skimage.metrics import structural_similarity

    pairs = list(zip(x[:, 0].cpu().numpy(), y[:, 0].cpu().numpy()))
    form = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    return lambda: [structural_similarity(a, b, **form) for a, b in pairs]


def torchmetrics(x: torch.Tensor, y: torch.Tensor) -> Call:
    from torchmetrics.functional.image import structural_similarity_index_measure

    return lambda: structural_similarity_index_measure(x, y, sigma=1.5, reduction="none", data_range=1.0)


def pytorch_msssim(x: torch.Tensor, y: torch.Tensor) -> Call:
    from pytorch_msssim import ssim

    return lambda: ssim(x, y, data_range=1.0, size_average=False, win_size=11, win_sigma=1.5)


def monai(x: torch.Tensor, y: torch.Tensor) -> Call:
    from monai.metrics.regression import compute_ssim_and_cs

    form = {"spatial_dims": 2, "data_range": 1.0, "kernel_type": "gaussian", "kernel_size": (11, 11)}
    return lambda: compute_ssim_and_cs(x, y, kernel_sigma=(1.5, 1.5), **form)[0].mean((1, 2, 3))


def kornia(x: torch.Tensor, y: torch.Tensor) -> Call:
    from kornia.metrics import ssim

    return lambda: ssim(x, y, window_size=11, max_val=1.0, padding="valid").mean((1, 2, 3))


def fused_ssim(x: torch.Tensor, y: torch.Tensor) -> Call:
    from fused_ssim import fused_ssim as ssim

    if x.device.type == "cpu":
        raise RuntimeError("it has no code for the CPU")
    return lambda: ssim(x, y, padding="valid", train=False)


RIVALS: dict[str, Callable[[torch.Tensor, torch.Tensor], Call]] = {
    "scikit-image": scikit_image,
    "torchmetrics": torchmetrics,
    "pytorch-msssim": pytorch_msssim,
    "MONAI": monai,
    "kornia": kornia,
    "fused-ssim": fused_ssim,
}

GOALS = (
    Goal("scikit-image", 28),
    Goal("scikit-image", 14, threads=1),
    Goal("the fastest batched", 20),
    Goal("fused-ssim", 2, threads=None),
    Goal("torchmetrics", 20, threads=None),
)


def cases(device: torch.device) -> Iterator[Case]:
    for shape in SHAPES:
        x = torch.rand(shape, device=device)
        y = (x + 0.1 * torch.randn(shape, device=device)).clamp(0, 1)
        calls, missing = peers.gather({name: lambda make=make, a=x, b=y: make(a, b) for name, make in RIVALS.items()})
        yield Case(
            op="slice_metrics",
            size="x".join(map(str, shape)),
            ours=lambda a=x, b=y: slice_metrics(a, b, data_range=1.0),
            rivals=calls,
            moved=2 * x.numel() * x.element_size(),
            goals=GOALS if shape == SHAPES[-1] else (),
            missing=missing,
            groups={"the fastest batched": BATCHED},
        )
