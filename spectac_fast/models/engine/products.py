"""Products of changing rows with matrices that stay: packed once, where torch's own product packs at every call."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor


class Products:
    """Some matrices [n, K, N], float32 on the CPU. Called with rows [n, M, K] it returns n products [M, N].

    With few rows a product spends its time on bringing the matrix into the order that its inner loop reads; oneDNN
    keeps it in that order, which is what PyTorch's own inference compiler does. Where a build of torch lacks that, one
    batched product does the work. Pickles and copies, and packs anew then.
    """

    def __init__(self, matrices: Tensor) -> None:
        packs = _packs()
        self._matrices = None if packs else matrices
        self._packed = _pack(matrices) if packs else []

    def __call__(self, rows: Tensor) -> Sequence[Tensor]:
        if self._matrices is not None:
            return torch.bmm(rows, self._matrices).unbind()
        multiply = torch.ops.mkldnn._linear_pointwise
        return [multiply(part, packed, None, "none", [], "") for part, packed in zip(rows, self._packed, strict=True)]

    def __reduce__(self) -> tuple[type[Products], tuple[Tensor]]:
        # What is packed has no storage that a copy could be made of.
        if self._matrices is not None:
            return Products, (self._matrices,)
        return Products, (torch.stack([each.to_dense().t() for each in self._packed]),)


def _pack(matrices: Tensor) -> list[Tensor]:
    return [torch.ops.mkldnn._reorder_linear_weight(each.t().contiguous(), None) for each in matrices]


@cache
def _packs() -> bool:
    """Whether this torch multiplies by packed matrices, and rightly."""
    matrices, rows = torch.eye(2).flip(0)[None], torch.tensor([[[1.0, 2.0]]])
    try:
        with torch.inference_mode():
            found = torch.ops.mkldnn._linear_pointwise(rows[0], _pack(matrices)[0], None, "none", [], "")
            return torch.equal(found, rows[0].flip(1))
    except (AttributeError, RuntimeError):
        return False
