"""Products of changing rows with matrices that stay: packed once, where torch's own product packs at every call."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from spectac_fast.ops.parts.strips import LANES, strip_products, strips_of
from spectac_fast.ops.parts.winograd import COMPILED


class Products:
    """Some matrices [n, K, N], float32 on the CPU. Called with rows [n, M, K] it writes products into out [n, M, N].

    With few rows a product spends its time on bringing the matrix into the order that its inner loop reads; here it is
    kept in that order. Where compiled code has no vectors of 256 bits, torch's batched product does the work.
    """

    def __init__(self, matrices: Tensor) -> None:
        self._strips = strips_of(matrices) if serves(*matrices.shape[1:]) else None
        self._matrices = matrices if self._strips is None else None

    def __call__(self, rows: Tensor, bias: Tensor | None, out: Tensor) -> None:
        """bias: [N], which every row of every product gets, or None."""
        if self._strips is not None:
            strip_products(rows, self._strips, bias, out)
        elif bias is None:
            torch.bmm(rows, self._matrices, out=out)
        else:
            torch.baddbmm(bias, rows, self._matrices, out=out)


def serves(inner: int, columns: int) -> bool:
    """Whether matrices [inner, columns] are multiplied in strips."""
    return inner > 0 and columns % LANES == 0 and _has_vectors()


@cache
def _has_vectors() -> bool:
    return COMPILED and torch.backends.cpu.get_cpu_capability().startswith("AVX")
