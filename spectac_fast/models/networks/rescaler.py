"""What brings an image to the size of a latent, to stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class SpatialRescaler(nn.Module):
    """Shrink an image by `factor` and mix its channels (latent diffusion's conditioning stage of that name).

    forward(image [B, in_channels, H, W]) -> [B, out_channels, H / factor, W / factor]. The published class halves the
    image repeatedly with bilinear weights, which is the mean over factor x factor pixels.
    """

    def __init__(self, factor: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.factor = factor
        self.channel_mapper = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    @classmethod
    def of(cls, factor: int, config: Mapping[str, Any]) -> SpatialRescaler | None:
        """The conditioning stage of a latent model's configuration, None where it has none.

        config["rescaler"]: {"in_channels", "out_channels"}, or None; optional config["context_slices"] on either side
        come behind those channels. ValueError for neighbours without a stage that could take them.
        """
        rescaler, context = config["rescaler"], config.get("context_slices", 0)
        if rescaler is None:
            if context:
                raise ValueError(
                    "neighbouring slices reach a latent model through its rescaler, "
                    f"found context_slices {context} and rescaler null."
                )
            return None
        return cls(factor, rescaler["in_channels"] + 2 * context, rescaler["out_channels"])

    def context_slices(self, channels: int) -> int:
        """How many slices on either side it takes, one channel each, behind an image of so many channels.

        ValueError where its channels do not divide that way.
        """
        beside = self.channel_mapper.in_channels - channels
        if beside < 0 or beside % 2:
            raise ValueError(
                f"a conditioning stage must take {channels} channels and two for each neighbour, "
                f"found {self.channel_mapper.in_channels}."
            )
        return beside // 2

    def forward(self, image: Tensor) -> Tensor:
        return self.channel_mapper(F.avg_pool2d(image, self.factor))
