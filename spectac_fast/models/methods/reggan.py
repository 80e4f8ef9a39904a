"""RegGAN: a GAN whose L1 term forgives misalignment (Kong et al., NeurIPS 2021, arXiv 2110.06465), mode NC+R.

Written from the paper and from the names, shapes and numbers of its checkpoints. Two generators go by this name: the
published code's is a `ResnetGenerator`; the NC -> AC comparison of Nguyen (JMST 106, 2025) describes an encoder-decoder
of eight levels without skip connections, which is `UNetGenerator(skips=False)`. That one is held back by its structure,
not by its training: all of a slice passes through one pixel of 512 channels (of 64x64 slices in five levels of width 20
through 2x2 of 160), and what does not fit there is lost.
"""

from __future__ import annotations

from torch import Tensor, nn

from spectac_fast.models.gan_losses import l1, lsgan, mean_logit, smoothness
from spectac_fast.models.networks.patchgan import PatchDiscriminator
from spectac_fast.models.networks.registration import warp
from spectac_fast.models.translators.generator import GeneratorTranslator


class ImageDiscriminator(PatchDiscriminator):
    """A patch discriminator that gives one judgement per image, the mean of its patches, as RegGAN's published code.

    forward(x [B, in_channels, H, W]) -> [B, 1]. With a plain `PatchDiscriminator` in its place every patch counts.
    """

    def forward(self, x: Tensor) -> Tensor:
        return mean_logit(super().forward(x))


class RegGAN(nn.Module):
    """Generator, discriminator, registration and what they minimise.

    registration: a `Registration` that fits the images; the published one needs 256x256, so for smaller images give it
    fewer levels. Generator and registration share one loss and one backward pass. Images are [B, C, H, W] in [-1, 1].
    Every loss is a dict of weighted terms whose sum is minimised.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        registration: nn.Module,
        correction_weight: float = 20.0,
        smoothness_weight: float = 10.0,
    ) -> None:
        super().__init__()
        self.generator, self.discriminator, self.registration = generator, discriminator, registration
        self.correction_weight, self.smoothness_weight = correction_weight, smoothness_weight

    def forward(self, nc: Tensor) -> Tensor:
        return self.generator(nc)

    def generator_loss(self, nc: Tensor, ac: Tensor, fake: Tensor, weight: Tensor | float = 1.0) -> dict[str, Tensor]:
        """fake: the generator's answer to nc, with its graph; nc itself is not looked at again. weight: of each pixel
        in the L1 term, [B, 1, H, W].
        """
        displacement = self.registration(fake, ac)
        return {
            "gan": lsgan(self.discriminator(fake), True),
            "correction": self.correction_weight * l1(warp(fake, displacement), ac, weight),
            "smoothness": self.smoothness_weight * smoothness(displacement),
        }

    def discriminator_loss(self, nc: Tensor, ac: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """fake: made anew after the generator's step, as published; no gradient reaches it."""
        return {
            "fake": lsgan(self.discriminator(fake.detach()), False),
            "real": lsgan(self.discriminator(ac), True),
        }


class RegGANTranslator(GeneratorTranslator):
    """A trained RegGAN generator as a `Translator`; the registration serves training only."""

    name = "reggan"


build = RegGANTranslator.build
