"""How slices of the pipeline get to a network's working size and back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

NO_COUNTS = -1.0
MODES = ("pad", "resize")


@dataclass(frozen=True)
class Fit:
    """The way of a network that was trained at `size` (rows, columns).

    mode: "pad" centres slices in a field of at least `size`, filled with zero counts; larger slices keep theirs.
    "resize" interpolates bilinearly (pixel edges aligned) to exactly `size`. multiple: what the network's rows and
    columns must be divisible by. Raises ValueError for another mode or a size it cannot work at.
    """

    mode: str
    size: tuple[int, int]
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"fit must be one of {', '.join(MODES)}, found {self.mode!r}.")
        if min(self.size) < 1:
            raise ValueError(f"size must be positive, found {self.size}.")
        if self.mode == "resize" and any(length % self.multiple for length in self.size):
            raise ValueError(f"size must be divisible by {self.multiple} to resize to it, found {self.size}.")

    def to_network(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in model units -> [B, C, rows, columns]."""
        if self.mode == "resize":
            return F.interpolate(images, size=self.size, mode="bilinear", align_corners=False)
        (top, bottom), (left, right) = (
            self._margins(length, least) for length, least in zip(images.shape[-2:], self.size)
        )
        return F.pad(images, (left, right, top, bottom), value=NO_COUNTS)

    def from_network(self, images: Tensor, shape: tuple[int, int]) -> Tensor:
        """The way back: [B, C, rows, columns] -> [B, C, *shape], shape being that of the slices."""
        if self.mode == "resize":
            return F.interpolate(images, size=shape, mode="bilinear", align_corners=False)
        top, left = (self._margins(length, least)[0] for length, least in zip(shape, self.size))
        return images[..., top : top + shape[0], left : left + shape[1]]

    def _margins(self, length: int, least: int) -> tuple[int, int]:
        extra = -(-max(length, least) // self.multiple) * self.multiple - length
        return extra // 2, extra - extra // 2
