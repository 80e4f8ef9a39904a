"""The patch discriminator of pix2pix and CycleGAN (Isola et al. 2017, Zhu et al. 2017) under its published names."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from spectac_fast.models.networks.norms import norm_layer


class PatchDiscriminator(nn.Module):
    """4x4 convolutions that judge overlapping patches: 70x70 pixels with 3 layers, 16x16 with one.

    in_channels: of the image, or of the condition followed by the image. width: channels of the first layer. layers:
    how many convolutions halve the image. norm: see `norm_layer`; while training, batch1 and eval are the same.

    forward(x [B, in_channels, H, W]) -> logits [B, 1, h, w], one per patch (64x64 -> 6x6, 256x256 -> 30x30 with 3).
    """

    def __init__(self, in_channels: int, width: int = 64, layers: int = 3, norm: str = "batch1") -> None:
        super().__init__()
        normalise = norm_layer(norm)
        widths = [width * min(2**level, 8) for level in range(layers + 1)]
        parts = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for level, (cin, cout) in enumerate(pairwise(widths), 1):
            stride = 2 if level < layers else 1
            parts += [nn.Conv2d(cin, cout, 4, stride=stride, padding=1, bias=norm == "instance")]
            parts += [normalise(cout), nn.LeakyReLU(0.2)]
        self.model = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def features(self, x: Tensor) -> list[Tensor]:
        """What every hidden layer answers, after its activation, first to last."""
        found = []
        for layer in self.model[:-1]:
            x = layer(x)
            if isinstance(layer, nn.LeakyReLU):
                found.append(x)
        return found
