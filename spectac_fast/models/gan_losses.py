"""The losses of the GAN translators, each a scalar tensor.

Every adversarial loss takes the logits of what a discriminator judged and the label it should have given: True for
real images. Which of them a method uses is part of the method.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def bce(logits: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy of logits of any shape, mean over patches and images (pix2pix, "vanilla")."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def lsgan(logits: Tensor, real: bool) -> Tensor:
    """Least squares (Mao et al., ICCV 2017) of logits of any shape, mean over patches and images (CycleGAN)."""
    return (logits - float(real)).square().mean()


def mean_logit(logits: Tensor) -> Tensor:
    """Patch logits [B, 1, h, w] -> one judgement [B, 1] per image (the published RegGAN discriminator)."""
    return logits.mean(dim=(2, 3))


def lsgan_scales(logits: Sequence[Tensor], real: bool) -> Tensor:
    """Least squares of each scale's logits, summed over the scales (UNIT)."""
    return torch.stack([lsgan(scale, real) for scale in logits]).sum()


def l1(found: Tensor, wanted: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Mean absolute difference: the pixel, cycle, identity, reconstruction and correction terms. weight: of each pixel,
    broadcast to them.
    """
    return ((found - wanted).abs() * weight).mean()


def kl(latent_mean: Tensor) -> Tensor:
    """Divergence of N(latent_mean, 1) from N(0, 1) up to its factor 1/2, mean over elements (UNIT)."""
    return latent_mean.square().mean()


def smoothness(displacement: Tensor) -> Tensor:
    """Mean squared forward differences of a displacement [B, 2, H, W], along rows plus along columns (RegGAN)."""
    rows = displacement[:, :, 1:] - displacement[:, :, :-1]
    columns = displacement[:, :, :, 1:] - displacement[:, :, :, :-1]
    return rows.square().mean() + columns.square().mean()


def perceptual(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of each feature map, summed over the maps (MedGAN)."""
    return torch.stack([l1(a, b) for a, b in zip(found, wanted, strict=True)]).sum()


def gram(features: Tensor) -> Tensor:
    """Correlations of the channels of features [B, C, H, W] over positions -> [B, C, C], divided by C H W."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


def style(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Squared difference of each map's Gram matrices over 4 C^2, summed over maps, mean over images (Gatys 2016)."""
    terms = [
        (gram(a) - gram(b)).square().sum(dim=(1, 2)).mean() / (4 * a.shape[1] ** 2)
        for a, b in zip(found, wanted, strict=True)
    ]
    return torch.stack(terms).sum()


def content(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean squared difference of each feature map, summed over the maps (Gatys 2016)."""
    return torch.stack([(a - b).square().mean() for a, b in zip(found, wanted, strict=True)]).sum()
