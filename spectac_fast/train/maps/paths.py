"""What an attenuation map does to photons: the share of them that a camera sees, differentiable in the map."""

from __future__ import annotations

import torch
from torch import Tensor

from spectac_fast.reconstruct.camera import view_angles
from spectac_fast.reconstruct.projector import Projector

_LEAST = 1e-3


class Paths:
    """Views of n x n slices of pixels of so many mm from RAO 45 to LPO 45. Photons stay within their slice."""

    def __init__(self, n: int, pixel_mm: float, views: int, device: torch.device | str = "cpu") -> None:
        self.projector = Projector(n, pixel_mm, view_angles(views).tolist(), device=device)
        # Of corners that leave the field in some views, all that is seen.
        self._free = self.projector.backproject(torch.ones((1, views, n, 1), device=device)).clamp_min(_LEAST * views)

    def survival(self, mu: Tensor) -> Tensor:
        """Slices [B, 1, n, n] in 1/cm -> the mean over the views of exp(-the integral of mu up to the detector)."""
        columns = mu.movedim(0, 3).contiguous()
        ones = torch.ones((1, self.projector.views, mu.shape[-1], len(mu)), dtype=mu.dtype, device=mu.device)
        seen = self.projector.backproject(ones, mu=columns) / self._free
        return seen.clamp_min(_LEAST).movedim(3, 0)

    def error(self, mu: Tensor, true: Tensor, heart: Tensor) -> Tensor:
        """Relative error, [B, 1, n, n], of the share of photons that leave the heart, a mask of that shape; 0
        elsewhere.
        """
        return (self.survival(mu) / self.survival(true)).log() * heart
