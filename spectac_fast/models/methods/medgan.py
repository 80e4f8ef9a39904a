"""MedGAN: a GAN with perceptual, style and content terms (Armanious et al. 2020, arXiv 1806.06397).

There is no published implementation. What the paper leaves open is an argument here, and belongs beside every result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spectac_fast.models.gan_losses import bce, content, l1, perceptual, style
from spectac_fast.models.translators.generator import GeneratorTranslator


class MedGAN(nn.Module):
    """Generator, discriminator, frozen features and what is minimised.

    generator: a `CasNet`. discriminator: a `PatchDiscriminator` of the condition followed by the image, in the paper
    of 16x16 patches (layers=1). features: image [B, 1, H, W] -> list of feature maps (`feature_extractor`), or None for
    the paper's ablation without style and content. Images are [B, C, H, W] in [-1, 1]. Every loss is a dict of weighted
    terms whose sum is minimised; the paper takes three generator steps for each one of the discriminator.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        features: nn.Module | None,
        perceptual_weight: float = 20.0,
        style_weight: float = 1e-4,
        content_weight: float = 1e-4,
    ) -> None:
        super().__init__()
        self.generator, self.discriminator, self.features = generator, discriminator, features
        self.perceptual_weight, self.style_weight = perceptual_weight, style_weight
        self.content_weight = content_weight

    def forward(self, nc: Tensor) -> Tensor:
        return self.generator(nc)

    def generator_loss(self, nc: Tensor, ac: Tensor, fake: Tensor, weight: Tensor | float = 1.0) -> dict[str, Tensor]:
        """fake: the generator's answer to nc, with its graph. weight: of each pixel where the image itself is compared,
        [B, 1, H, W].
        """
        fake_pair, real_pair = torch.cat([nc, fake], dim=1), torch.cat([nc, ac], dim=1)
        # The pixels are the discriminator's zeroth layer.
        distance = l1(fake, ac, weight) + perceptual(
            self.discriminator.features(fake_pair), self.discriminator.features(real_pair)
        )
        terms = {"gan": bce(self.discriminator(fake_pair), True), "perceptual": self.perceptual_weight * distance}
        if self.features is not None:
            found, wanted = self.features(fake), self.features(ac)
            terms["style"] = self.style_weight * style(found, wanted)
            terms["content"] = self.content_weight * content(found, wanted)
        return terms

    @torch.no_grad()
    def match(self, nc: Tensor, ac: Tensor, shares: Mapping[str, float]) -> None:
        """Choose the weights of "style" and "content" so that each is its share of the perceptual term of these images.

        Feature maps of other networks than the paper's differ from them by orders of magnitude, and so do these terms
        under the paper's weights. ValueError for another term, a share that is not positive, or a term that is nothing.
        """
        training = self.training
        terms = self.eval().generator_loss(nc, ac, self(nc))
        self.train(training)
        for name, share in shares.items():
            own = float(terms[name]) if name in ("style", "content") and name in terms else 0.0
            if not (isinstance(share, (int, float)) and 0.0 < share < math.inf and 0.0 < own < math.inf):
                raise ValueError(
                    f"match takes positive shares of style and content, where features show some, found {name} {share}."
                )
            weight = getattr(self, f"{name}_weight") * share * float(terms["perceptual"]) / own
            setattr(self, f"{name}_weight", weight)

    def discriminator_loss(self, nc: Tensor, ac: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """fake: of the last generator step; no gradient reaches it."""
        judged_fake = self.discriminator(torch.cat([nc, fake.detach()], dim=1))
        judged_real = self.discriminator(torch.cat([nc, ac], dim=1))
        return {"fake": bce(judged_fake, False), "real": bce(judged_real, True)}


class MedGANTranslator(GeneratorTranslator):
    """A trained CasNet as a `Translator`."""

    name = "medgan"


build = MedGANTranslator.build
