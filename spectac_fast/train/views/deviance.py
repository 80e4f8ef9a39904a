"""How far counts are from what was expected of them."""

from __future__ import annotations

import torch
from torch import Tensor


def deviance(expected: Tensor, counts: Tensor) -> Tensor:
    """Poisson's deviance of every bin, about 1 where counts are as expected and not very few; the expectation that
    minimises its mean is the true one. expected: above 0.
    """
    return 2.0 * (expected - counts + torch.xlogy(counts, counts) - torch.xlogy(counts, expected))
