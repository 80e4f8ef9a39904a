"""An attenuation factor beside a free image: AC as NC times what the tissue took away.

After DiffCAS (github.com/AIoT-Lab-AI4LIFE/DiffCAS): a network gives, per pixel, an attenuation coefficient mu and
K path lengths s_k, and the mean survival of photons over the paths is inverted,

    factor = 1 / mean_k exp(-mu s_k),    AC = factor NC    (in counts)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# exp(-8): thicker bodies do not occur, and a gradient must not explode where a young network thinks so.
_LARGEST_EXPONENT = 8.0


def attenuation_factor(mu: Tensor, lengths: Tensor) -> Tensor:
    """The factor >= 1, [B, 1, H, W], of raw network outputs mu [B, 1, H, W] and lengths [B, K, H, W]."""
    exponent = (F.softplus(mu) * F.softplus(lengths)).clamp(max=_LARGEST_EXPONENT)
    return 1.0 / torch.exp(-exponent).mean(dim=1, keepdim=True)


def attenuated(nc: Tensor, factor: Tensor, gain: float) -> Tensor:
    """AC in model units (-1 is no counts) that a factor makes of NC; AC's unit of counts is `gain` times that of NC."""
    return factor * (nc + 1.0) / gain - 1.0


# What a method's networks are given (x, t, context) -> (NC [B, 1, H, W], a, b): a network that estimates AC as x0 would
# predict a x0 + b there. a, b: [B, 1, 1, 1], scalars, or of x's shape.
Line = Callable[[Tensor, Tensor | None, Tensor | None], tuple[Tensor, Tensor, Tensor]]


class Attenuation(NamedTuple):
    """What turns a factor into a method's prediction. gain: AC/NC gain of the training data. line: see `Line`."""

    gain: float
    line: Line


def of_image(x: Tensor, t: Tensor | None, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The `Line` of a network that gives AC itself, of NC with its neighbours as channels."""
    return x[:, :1], x.new_ones(()), x.new_zeros(())


def with_factor(raw: Tensor, gain: float, nc: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """A prediction float32 [B, 1, H, W] from raw outputs [B, 2 + K, H, W]: a direct one, mu, and K lengths.

    The mean of the direct one and of a x0 + b, where x0 is the attenuated NC. Where |a| > 1, which is where a predicted
    noise multiplies errors of x0, the latter's share falls from 1/2 to 1/(2|a|): there the state shows AC better.
    """
    direct, mu, lengths = raw.float().tensor_split([1, 2], dim=1)
    share = 0.5 / a.abs().clamp(min=1.0)
    return (1.0 - share) * direct + share * (a * attenuated(nc, attenuation_factor(mu, lengths), gain) + b)


class AttenuationHead(nn.Module):
    """A network of one image whose prediction is in part an attenuation factor's (`with_factor`).

    network: gives 2 + K channels. forward(x, t, context) -> [B, 1, H, W], float32, of what the network takes; a
    generator takes seeds in place of t, and no context.
    """

    out_channels = 1

    def __init__(self, network: nn.Module, attenuation: Attenuation) -> None:
        super().__init__()
        self.network, self.attenuation = network, attenuation
        self.in_channels, self.multiple = network.in_channels, network.multiple

    def forward(self, x: Tensor, t: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        raw = self.network(x, t) if context is None else self.network(x, t, context=context)
        return self.finish(raw, x, t, context)

    def finish(self, raw: Tensor, x: Tensor, t: Tensor | None, context: Tensor | None) -> Tensor:
        """The prediction, from what the network gives for the other arguments."""
        return with_factor(raw, self.attenuation.gain, *self.attenuation.line(x, t, context))


class FirstBounded(nn.Module):
    """tanh of the first channels, an image; those behind it, mu, lengths or changes, are not bounded."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, : self.channels].tanh(), x[:, self.channels :]], dim=1)
