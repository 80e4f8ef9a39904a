"""An attenuation factor in place of a free image: AC as NC times what the tissue took away.

After DiffCAS (github.com/AIoT-Lab-AI4LIFE/DiffCAS): a network gives, per pixel, an attenuation coefficient mu and
K path lengths s_k, and the mean survival of photons over the paths is inverted,

    factor = 1 / mean_k exp(-mu s_k),    AC = factor NC    (in counts)
"""

from __future__ import annotations

import torch
from torch import Tensor
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
