"""BBDM: a Brownian bridge with a network that predicts along it (Li et al., CVPR 2023)."""

from __future__ import annotations

from torch import Tensor, nn

from spectac_fast.diffusion.bridge import BrownianBridge


class BBDM(nn.Module):
    """A bridge and its denoiser under the published names: `denoise_fn.*` and the six schedule buffers.

    forward(x [B, C, H, W], t int64 [B], y [B, C, H, W]) -> network output of the same shape, in the units of the
    bridge's objective.
    """

    def __init__(self, bridge: BrownianBridge, network: nn.Module) -> None:
        super().__init__()
        self.bridge = bridge
        self.denoise_fn = network
        for name, buffer in bridge.buffers().items():
            self.register_buffer(name, buffer)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return self.denoise_fn(x, t, context=y)
