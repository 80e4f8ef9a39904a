"""A UNet that works on 2x2 pixel blocks: a quarter of the positions, the same field of view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.facts import split_facts
from spectac_fast.models.networks.unet import UNetModel, zero, zero_last_layers


class FoldedUNet(nn.Module):
    """UNetModel at half resolution between a space-to-depth stem and a depth-to-space head (Shi et al. 2016).

    forward(x [B, 1, H, W], t int64 [B], context [B, 1 + 2 context_slices, H, W]) -> [B, out_channels, H, W]; H and W
    divisible by `multiple`. context: the condition, then as many neighbouring slices before it and after it, and then
    an even image for each of `facts`, names of `data.facts.FACTS` that a cohort or a header is asked for, whose middle
    pixel is read; without these images nothing is known.
    """

    def __init__(
        self,
        model_channels: int,
        channel_mult: Sequence[int],
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        num_head_channels: int,
        head_channels: int,
        norm_groups: int,
        context_slices: int = 0,
        out_channels: int = 1,
        facts: Sequence[str] = (),
    ) -> None:
        super().__init__()
        images = 2 + 2 * context_slices
        self.facts = tuple(facts)
        self.in_channels, self.out_channels = images + len(self.facts), out_channels
        self.body = UNetModel(
            in_channels=4 * images,
            model_channels=model_channels,
            out_channels=4 * head_channels,
            num_res_blocks=num_res_blocks,
            attention_resolutions=attention_resolutions,
            channel_mult=channel_mult,
            conv_resample=False,
            num_head_channels=num_head_channels,
            use_scale_shift_norm=True,
            resblock_updown=False,
            norm_groups=norm_groups,
            facts=len(self.facts),
        )
        self.multiple = 2 * self.body.multiple
        # The last convolution runs on single pixels and sees the images again, so that neighbouring pixels of
        # different blocks are mixed: without it the 2x2 grid stays visible as a checkerboard.
        self.head = nn.Conv2d(head_channels + 2, out_channels, 3, padding=1)
        self._initialise()

    def _initialise(self) -> None:
        zero_last_layers(self.body)
        last = self.body.out[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        # One kernel repeated for the four pixels of a block: no grid at the start (ICNR, Aitken et al. 2017).
        with torch.no_grad():
            last.weight.copy_(last.weight[::4].repeat_interleave(4, dim=0))
            last.bias.zero_()
        zero(self.head)

    def forward(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        seen, facts = split_facts(context, len(self.facts), self.in_channels - len(self.facts) - 1)
        images = torch.cat([x, seen], dim=1)
        features = F.pixel_shuffle(self.body(F.pixel_unshuffle(images, 2), t, facts=facts), 2)
        return self.head(torch.cat([features, images[:, :2].to(features.dtype)], dim=1))
