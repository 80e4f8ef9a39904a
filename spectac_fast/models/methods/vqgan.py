"""VQGAN: images to a grid of codes and back (Esser et al., CVPR 2021, arXiv 2012.09841) under its published names.

The first stage of latent BBDM, CPDM and latent diffusion: `encode` gives the latent those models work in, before
quantisation; `decode` quantises and paints. A state dict of any of them loads here without renaming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.checkpoints.weights import fill
from spectac_fast.models.description import Description, describe, reading
from spectac_fast.models.engine.first_stage import run_stage
from spectac_fast.models.networks.vqgan import Decoder, Encoder
from spectac_fast.models.translators.network import NetworkTranslator
from spectac_fast.ops import vq_nearest


class Codebook(nn.Module):
    """The codes, float32 [n_embed, embed_dim], under the key `embedding.weight`.

    forward(h [B, D, h, w]) -> (codes [B, D, h, w], indices int64 [B h w]): the nearest code of every position, and
    which, in the order batch, row, column. A gradient of the codes reaches the codebook, none reaches h.
    """

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / n_embed, 1.0 / n_embed)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        weight = self.embedding.weight
        index, codes = vq_nearest(h.detach(), weight.detach())
        # The operator's codes are copies; only looked up does the codebook get its gradient.
        if weight.requires_grad:
            codes = self.embedding(index).movedim(-1, 1)
        return codes, index.flatten()


def straight_through(h: Tensor, codes: Tensor) -> Tensor:
    """The codes as the decoder gets them; the gradient passes to h unchanged.

    The published expression is evaluated as it stands, and so is 1 ulp away from the codes.
    """
    return h + (codes - h).detach()


def codebook_loss(h: Tensor, codes: Tensor, beta: float = 0.25) -> Tensor:
    """mean (sg[code] - h)^2 + beta mean (code - sg[h])^2, scalar.

    The published default ("legacy") weighs the term that moves the codebook by beta, where the paper (its equation 4)
    weighs the one that commits the encoder.
    """
    return F.mse_loss(h, codes.detach()) + beta * F.mse_loss(codes, h.detach())


class VQGAN(nn.Module):
    """Encoder, codebook and decoder.

    in_channels, out_channels: of the image. ch, ch_mult: width of the first level, and each level's multiple of it;
    neighbouring levels differ by 2 in resolution. attn_levels: the levels with attention; middle_attention: whether
    the middle has (latent diffusion's attn_type "none" leaves out both).
    z_channels: of the encoder's output; embed_dim: of the codes. norm_groups is 32 in every published network.

    forward(image [B, C, H, W]) -> (reconstruction, indices int64 [B h w], codebook loss); H and W divisible by
    `multiple`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        ch: int,
        ch_mult: Sequence[int],
        num_res_blocks: int,
        attn_levels: Sequence[int],
        z_channels: int,
        embed_dim: int,
        n_embed: int,
        norm_groups: int = 32,
        middle_attention: bool = True,
    ) -> None:
        super().__init__()
        shape = (ch, ch_mult, num_res_blocks, attn_levels, norm_groups, middle_attention)
        self.in_channels = in_channels
        self.multiple = 2 ** (len(ch_mult) - 1)
        self.encoder = Encoder(in_channels, z_channels, *shape)
        self.decoder = Decoder(out_channels, z_channels, *shape)
        self.quantize = Codebook(n_embed, embed_dim)
        self.quant_conv = nn.Conv2d(z_channels, embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(embed_dim, z_channels, 1)

    def encode(self, image: Tensor) -> Tensor:
        """The latent before quantisation, [B, embed_dim, H / multiple, W / multiple]."""
        return self.quant_conv(run_stage(self.encoder, image))

    def decode(self, h: Tensor) -> Tensor:
        """Image of a latent [B, embed_dim, h, w], which is quantised first."""
        return self.decode_codes(straight_through(h, self.quantize(h)[0]))

    def decode_codes(self, codes: Tensor) -> Tensor:
        """Image of quantised latents [B, embed_dim, h, w]."""
        return run_stage(self.decoder, self.post_quant_conv(codes))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = self.encode(image)
        codes, indices = self.quantize(h)
        return self.decode_codes(straight_through(h, codes)), indices, codebook_loss(h, codes)


class VQGANTranslator(NetworkTranslator):
    """A first stage on its own as a `Translator`: what encoding, quantising and decoding leave of a slice.

    Given AC instead of NC it is the floor below which no model between its latents can get.
    """

    name = "vqgan"
    corrects = False

    def __init__(self, model: VQGAN, description: Description, device: torch.device) -> None:
        super().__init__(model, description, device, multiple=model.multiple)

    def translate(
        self, nc: Tensor, seeds: Tensor | None = None, *, neighbours: Tensor | None = None, **options: Any
    ) -> Tensor:
        """Slices -> their reconstruction (see `Translator.translate`); nothing is drawn, every option is ignored."""

        def compute(images: Tensor, _: Tensor) -> Tensor:
            image = images.expand(-1, self.model.in_channels, -1, -1).contiguous()
            return self.model.decode(self.model.encode(image)).mean(dim=1, keepdim=True)

        return self.run(compute, nc, seeds, None)


def model_of(config: Mapping[str, Any]) -> VQGAN:
    """The model of a weight file's configuration; KeyError, TypeError or ValueError where it makes none."""
    return VQGAN(**config["network"])


def build(tensors: dict[str, Tensor], header: dict[str, Any], path: Path, device: torch.device) -> VQGANTranslator:
    """The translator of a weight file; InputError if its description and tensors do not make one."""
    with reading(path):
        model = model_of(header["config"])
        description = describe(header, path)
    fill(model, {name: value.float() for name, value in tensors.items()}, str(path))
    return VQGANTranslator(model, description, device)
