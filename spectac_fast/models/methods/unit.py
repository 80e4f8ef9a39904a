"""UNIT: two VAE-GANs that share a latent space (Liu, Breuel & Kautz, NeurIPS 2017, arXiv 1703.00848).

Written from the paper and from the names, shapes and numbers of its checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectac_fast.models.gan_losses import kl, l1, lsgan_scales
from spectac_fast.models.networks.unit import UNITGenerators
from spectac_fast.models.translators.generator import GeneratorTranslator


class Passage(NamedTuple):
    """All that a training step looks at: the latent means of both images, what is made of them, and of that."""

    nc_latent: Tensor
    ac_latent: Tensor
    nc_rebuilt: Tensor
    ac_rebuilt: Tensor
    fake_nc: Tensor
    fake_ac: Tensor
    fake_nc_latent: Tensor
    fake_ac_latent: Tensor
    nc_again: Tensor
    ac_again: Tensor


class UNIT(nn.Module):
    """Generators, discriminators and what they minimise.

    dis_a, dis_b: `MultiScaleDiscriminator` of NC and of AC. Images are [B, C, H, W] in [-1, 1]; nc and ac need not show
    the same slices. Every loss is a dict of weighted terms whose sum is minimised.
    """

    def __init__(
        self,
        generators: UNITGenerators,
        dis_a: nn.Module,
        dis_b: nn.Module,
        rebuild_weight: float = 10.0,
        kl_weight: float = 0.01,
        cycle_weight: float = 10.0,
        cycle_kl_weight: float = 0.01,
    ) -> None:
        super().__init__()
        self.gen, self.dis_a, self.dis_b = generators, dis_a, dis_b
        self.rebuild_weight, self.kl_weight = rebuild_weight, kl_weight
        self.cycle_weight, self.cycle_kl_weight = cycle_weight, cycle_kl_weight

    def forward(self, nc: Tensor, ac: Tensor, noise: Callable[[Tensor], Tensor] = torch.randn_like) -> Passage:
        """noise(latent) is added to every latent mean once: the variance of a latent is fixed at one."""
        a, b, to_nc, to_ac = self.gen.a, self.gen.b, self.gen.to_nc, self.gen.to_ac
        nc_latent, ac_latent = a.enc(nc), b.enc(ac)
        nc_code, ac_code = nc_latent + noise(nc_latent), ac_latent + noise(ac_latent)
        fake_nc, fake_ac = to_nc(ac_code, ac), to_ac(nc_code, nc)
        fake_nc_latent, fake_ac_latent = a.enc(fake_nc), b.enc(fake_ac)
        return Passage(
            nc_latent,
            ac_latent,
            to_nc(nc_code),
            to_ac(ac_code),
            fake_nc,
            fake_ac,
            fake_nc_latent,
            fake_ac_latent,
            to_nc(fake_ac_latent + noise(fake_ac_latent), fake_ac),
            to_ac(fake_nc_latent + noise(fake_nc_latent), fake_nc),
        )

    def fakes(
        self, nc: Tensor, ac: Tensor, noise: Callable[[Tensor], Tensor] = torch.randn_like
    ) -> tuple[Tensor, Tensor]:
        """(fake_nc, fake_ac) of `forward` and nothing else: what the discriminators learn from."""
        nc_latent, ac_latent = self.gen.a.enc(nc), self.gen.b.enc(ac)
        nc_code, ac_code = nc_latent + noise(nc_latent), ac_latent + noise(ac_latent)
        return self.gen.to_nc(ac_code, ac), self.gen.to_ac(nc_code, nc)

    def generator_loss(self, nc: Tensor, ac: Tensor, passage: Passage) -> dict[str, Tensor]:
        """passage: `forward` of the same images, with its graph."""
        return {
            "gan": lsgan_scales(self.dis_a(passage.fake_nc), True) + lsgan_scales(self.dis_b(passage.fake_ac), True),
            "rebuild": self.rebuild_weight * (l1(passage.nc_rebuilt, nc) + l1(passage.ac_rebuilt, ac)),
            "kl": self.kl_weight * (kl(passage.nc_latent) + kl(passage.ac_latent)),
            "cycle": self.cycle_weight * (l1(passage.nc_again, nc) + l1(passage.ac_again, ac)),
            "cycle_kl": self.cycle_kl_weight * (kl(passage.fake_nc_latent) + kl(passage.fake_ac_latent)),
        }

    def discriminator_loss(self, nc: Tensor, ac: Tensor, fake_nc: Tensor, fake_ac: Tensor) -> dict[str, Tensor]:
        """fakes: made of latents with fresh noise, as published; no gradient reaches them."""
        return {
            "fake_nc": lsgan_scales(self.dis_a(fake_nc.detach()), False),
            "real_nc": lsgan_scales(self.dis_a(nc), True),
            "fake_ac": lsgan_scales(self.dis_b(fake_ac.detach()), False),
            "real_ac": lsgan_scales(self.dis_b(ac), True),
        }


class UNITTranslator(GeneratorTranslator):
    """The encoder of NC and the decoder of AC of a trained UNIT as a `Translator`."""

    name = "unit"


build = UNITTranslator.build
