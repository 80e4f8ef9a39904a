"""OSEM, with or without attenuation, collimator and scatter."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from spectac_fast.reconstruct.projector import Projector

# Counts in a bin and sensitivity of a voxel below which nothing is divided by them.
_LEAST_EXPECTED, _LEAST_SENSITIVITY = 1e-6, 1e-4


def osem(
    projector: Projector,
    views: Tensor,
    *,
    mu: Tensor | None = None,
    survival: Tensor | None = None,
    scatter: Tensor | None = None,
    iterations: int = 4,
    subsets: int = 8,
    start: Tensor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Ordered-subset expectation maximisation (Hudson and Larkin 1994); one subset is MLEM (Shepp and Vardi 1982).

        x <- x / (A_k' 1) * A_k' (y_k / (A_k x + s_k))

    for the subsets k of the views y, far apart from each other and successive ones too.

    projector:   models the collimator if it has one.
    views:       counts [B, V, n, nz].
    mu:          [B or 1, n, n, nz] in 1/cm; None = no attenuation correction (NC).
    survival:    [B or 1, V, n, n, nz] instead of mu, where the map is wider than the field (`Projector.survival`).
    scatter:     expected scatter counts of every bin, like views; None = none.
    iterations:  over all subsets, 0 or more.
    subsets:     a divisor of V.
    start:       what the first estimate is, of a shape that expands to [B, n, n, nz], above 0; None = uniform, of every
                 study's own counts.
    progress:    called with 1 after every subset.

    Returns the activity [B, n, n, nz] in counts per view. No gradient passes through it. Raises ValueError for other
    shapes or numbers.
    """
    count = projector.views
    if views.dim() != 4 or views.shape[1:3] != (count, projector.n):
        raise ValueError(f"views must be [B, {count}, {projector.n}, nz], found {list(views.shape)}")
    if subsets < 1 or count % subsets:
        raise ValueError(f"views must divide into {subsets} subsets, but there are {count}")
    if scatter is not None and scatter.shape != views.shape:
        raise ValueError(f"scatter must have the shape of the views, {list(views.shape)}, found {list(scatter.shape)}")
    batch, _, n, nz = views.shape
    with torch.no_grad():
        level = views.mean((1, 2, 3), keepdim=True) / n if start is None else start
        estimate = level.expand(batch, n, n, nz).clone()
        order = [slice(k, count, subsets) for k in bit_reversed(subsets)]
        parts = [_Subset(projector, views, mu, survival, scatter, of) for of in order] if iterations else []
        for _ in range(iterations):
            for part in parts:
                part.update(estimate)
                if progress is not None:
                    progress(1)
    return estimate


class _Subset:
    """Some views, and what does not change from one iteration to the next."""

    def __init__(
        self,
        projector: Projector,
        views: Tensor,
        mu: Tensor | None,
        survival: Tensor | None,
        scatter: Tensor | None,
        of: slice,
    ) -> None:
        self.projector = projector.part(range(projector.views)[of])
        self.counts = views[:, of].contiguous()
        self.scatter = None if scatter is None else scatter[:, of].contiguous()
        self.mu, self.survival = mu, None if survival is None else survival[:, of].contiguous()
        # Of a view the sensitivity is the same for all studies that share the map.
        shared = next((len(of) for of in (mu, survival) if of is not None), 1)
        ones = torch.ones_like(self.counts[:shared])
        self.sensitivity = self._backproject(ones).clamp_(min=_LEAST_SENSITIVITY)

    def _backproject(self, values: Tensor) -> Tensor:
        return self.projector.backproject(values, mu=self.mu, survival=self.survival)

    def update(self, estimate: Tensor) -> None:
        expected = self.projector.project(estimate, mu=self.mu, survival=self.survival)
        if self.scatter is not None:
            expected += self.scatter
        ratio = torch.div(self.counts, expected.clamp_(min=_LEAST_EXPECTED), out=expected)
        estimate *= self._backproject(ratio).div_(self.sensitivity)


def bit_reversed(n: int) -> list[int]:
    """0 .. n-1 with successive members far apart, so that successive subsets see the object from different sides."""
    bits = max(n - 1, 1).bit_length()
    return sorted(range(n), key=lambda k: int(f"{k:0{bits}b}"[::-1], 2))
