"""What brings an image to the size of a latent, to stand beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

METHODS = ("bilinear", "area", "nearest")


class SpatialRescaler(nn.Module):
    """Shrink an image by `factor` and mix its channels (latent diffusion's conditioning stage of that name).

    forward(image [B, in_channels, H, W]) -> [B, out_channels, H / factor, W / factor]. out_channels: None leaves the
    channels as they are, and the stage without parameters.
    method: the published class halves the image repeatedly, with "bilinear" weights or "area", which both are the mean
    over factor x factor pixels, or "nearest", which takes the upper left of them. ValueError for another.
    """

    def __init__(
        self, factor: int, in_channels: int, out_channels: int | None, bias: bool = False, method: str = "bilinear"
    ) -> None:
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"the rescaler's method must be one of {', '.join(METHODS)}, found {method!r}.")
        self.factor, self.method = factor, method
        self.in_channels = in_channels
        self.channel_mapper = (
            nn.Identity() if out_channels is None else nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        )

    @classmethod
    def of(cls, factor: int, config: Mapping[str, Any]) -> SpatialRescaler | None:
        """The conditioning stage of a latent model's configuration, None where it has none.

        config["rescaler"]: {"in_channels", "out_channels", optional "bias", "method"}, or None; optional
        config["context_slices"] on either side come behind those channels. ValueError for neighbours without a stage
        that could take them.
        """
        rescaler, context = config["rescaler"], config.get("context_slices", 0)
        if not isinstance(rescaler, Mapping):
            if context:
                raise ValueError(
                    "neighbouring slices reach a latent model through its rescaler, "
                    f"found context_slices {context} and rescaler null."
                )
            return None
        arguments = {**rescaler, "in_channels": rescaler["in_channels"] + 2 * context}
        return cls(factor, **arguments)

    @property
    def out_channels(self) -> int:
        """Of what `forward` returns."""
        return getattr(self.channel_mapper, "out_channels", self.in_channels)

    def context_slices(self, channels: int) -> int:
        """How many slices on either side it takes, one channel each, behind an image of so many channels.

        ValueError where its channels do not divide that way.
        """
        beside = self.in_channels - channels
        if beside < 0 or beside % 2:
            raise ValueError(
                f"a conditioning stage must take {channels} channels and two for each neighbour, "
                f"found {self.in_channels}."
            )
        return beside // 2

    def forward(self, image: Tensor) -> Tensor:
        if self.method == "nearest":
            return self.channel_mapper(image[..., :: self.factor, :: self.factor])
        return self.channel_mapper(F.avg_pool2d(image, self.factor))
