"""pix2pix: a conditional GAN with an L1 term (Isola et al., CVPR 2017, arXiv 1611.07004)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spectac_fast.models.gan_losses import bce, l1
from spectac_fast.models.translators.generator import GeneratorTranslator


class Pix2Pix(nn.Module):
    """Generator, discriminator and what each minimises.

    generator: usually a `UNetGenerator`. discriminator: a `PatchDiscriminator` of the condition followed by the image.
    Images are [B, C, H, W] in [-1, 1]. Every loss is a dict of weighted terms whose sum is minimised.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, l1_weight: float = 100.0) -> None:
        super().__init__()
        self.generator, self.discriminator, self.l1_weight = generator, discriminator, l1_weight

    def forward(self, nc: Tensor) -> Tensor:
        return self.generator(nc)

    def generator_loss(self, nc: Tensor, ac: Tensor, fake: Tensor, weight: Tensor | float = 1.0) -> dict[str, Tensor]:
        """fake: the generator's answer to nc, with its graph. weight: of each pixel in the L1 term, [B, 1, H, W]."""
        judged = self.discriminator(torch.cat([nc, fake], dim=1))
        return {"gan": bce(judged, True), "l1": self.l1_weight * l1(fake, ac, weight)}

    def discriminator_loss(self, nc: Tensor, ac: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """fake: of the same generator step; no gradient reaches it. The halves slow the discriminator, as published."""
        judged_fake = self.discriminator(torch.cat([nc, fake.detach()], dim=1))
        judged_real = self.discriminator(torch.cat([nc, ac], dim=1))
        return {"fake": 0.5 * bce(judged_fake, False), "real": 0.5 * bce(judged_real, True)}


class Pix2PixTranslator(GeneratorTranslator):
    """A trained pix2pix generator as a `Translator`."""

    name = "pix2pix"


build = Pix2PixTranslator.build
