"""CycleGAN: two generators that must undo each other (Zhu et al., ICCV 2017, arXiv 1703.10593)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from spectac_fast.models.gan_losses import l1, lsgan
from spectac_fast.models.translators.generator import GeneratorTranslator


class Cycle(NamedTuple):
    """Both ways round: NC -> AC -> NC and AC -> NC -> AC."""

    fake_ac: Tensor
    nc_again: Tensor
    fake_nc: Tensor
    ac_again: Tensor


class CycleGAN(nn.Module):
    """Generators, discriminators and what they minimise; A is NC and B is AC in the published names.

    G_A makes AC of NC and G_B the reverse; D_A judges AC and D_B NC, as the published code names them. Images are
    [B, C, H, W] in [-1, 1]; nc may have further channels, the neighbouring slices, which G_B then makes of AC too. nc
    and ac need not show the same slices. Every loss is a dict of weighted terms whose sum is minimised.
    """

    def __init__(
        self,
        G_A: nn.Module,
        G_B: nn.Module,
        D_A: nn.Module,
        D_B: nn.Module,
        cycle_weight: float = 10.0,
        identity_weight: float = 5.0,
    ) -> None:
        super().__init__()
        self.G_A, self.G_B, self.D_A, self.D_B = G_A, G_B, D_A, D_B
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight

    def forward(self, nc: Tensor, ac: Tensor) -> Cycle:
        fake_ac, fake_nc = self.G_A(nc), self.G_B(ac)
        return Cycle(fake_ac, self.G_B(fake_ac), fake_nc, self.G_A(fake_nc))

    def generator_loss(self, nc: Tensor, ac: Tensor, cycle: Cycle) -> dict[str, Tensor]:
        """cycle: `forward` of the same images, with its graph.

        A slice of the other domain is its own neighbour where an identity term asks for what a generator makes of it.
        """
        channels = ac.shape[1]
        alone = torch.cat([ac, ac[:, :1].expand(-1, nc.shape[1] - channels, -1, -1)], dim=1)
        return {
            "gan_ac": lsgan(self.D_A(cycle.fake_ac), True),
            "gan_nc": lsgan(self.D_B(cycle.fake_nc), True),
            "cycle_nc": self.cycle_weight * l1(cycle.nc_again, nc),
            "cycle_ac": self.cycle_weight * l1(cycle.ac_again, ac),
            "identity_ac": self.identity_weight * l1(self.G_A(alone), ac),
            "identity_nc": self.identity_weight * l1(self.G_B(nc[:, :channels]), nc),
        }

    def discriminator_loss(self, nc: Tensor, ac: Tensor, fake_nc: Tensor, fake_ac: Tensor) -> dict[str, Tensor]:
        """fakes: published training takes half of them from a history of 50; no gradient reaches them."""
        return {
            "fake_ac": 0.5 * lsgan(self.D_A(fake_ac.detach()), False),
            "real_ac": 0.5 * lsgan(self.D_A(ac), True),
            "fake_nc": 0.5 * lsgan(self.D_B(fake_nc.detach()), False),
            "real_nc": 0.5 * lsgan(self.D_B(nc), True),
        }


class CycleGANTranslator(GeneratorTranslator):
    """The NC -> AC generator of a trained CycleGAN as a `Translator`."""

    name = "cyclegan"


build = CycleGANTranslator.build
