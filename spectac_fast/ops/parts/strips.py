"""Products of rows with matrices that stay, which lie in strips of columns as their inner loop reads them."""

from __future__ import annotations

import torch
from torch import Tensor

from spectac_fast._op import define_part

# Columns of a strip.
LANES = 16


def strips_of(matrices: Tensor) -> Tensor:
    """[n, N / 16, K, 16], contiguous, of matrices [n, K, N] whose columns are a multiple of 16."""
    return matrices.unflatten(2, (-1, LANES)).transpose(1, 2).contiguous()


def _reference(rows: Tensor, matrices: Tensor, bias: Tensor | None, out: Tensor) -> None:
    out.copy_(torch.bmm(rows, matrices.transpose(1, 2).flatten(2)))
    if bias is not None:
        out.add_(bias)


# rows: [n, M, K] and out: [n, M, N], each of the n contiguous; matrices: of `strips_of`; bias: [N]. A row's results do
# not depend on the other rows.
strip_products = define_part(
    "strip_products(Tensor rows, Tensor matrices, Tensor? bias, Tensor(a!) out) -> ()", _reference
)
