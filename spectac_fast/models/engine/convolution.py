"""3x3 convolutions of a network that only runs: weights packed once, and the algorithm that the size asks for.

On the CPU in float32, torch's direct convolution serves maps of few channels best. Elsewhere, where its time goes into
weights or arithmetic, a convolution is 16 or 36 small matrix products (`winograd`) with packed weights (`Products`).
The choice follows from shapes alone, so that the same slices give the same bytes on every run.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor
from torch.nn import functional as F

from spectac_fast.models.engine.products import Products
from spectac_fast.ops.parts.strips import LANES
from spectac_fast.ops.parts.winograd import COMPILED, image_of, tiles_into, weight_matrices

# Where the algorithms cross over, in channels and positions, on AVX-512 cores from one slice to 64.
_LEAST_CHANNELS = 128
_LEAST_WEIGHTS = 1 << 15
_MANY_POSITIONS = 1 << 12
# Tiles of 4 x 4 outputs that make up for more weights: below, products wait for them.
_LEAST_TILES = 64
# Multiplications of one matrix product at a time, and its rows: enough to make up for starting it, and no more, since
# what lies between the transforms then leaves the caches.
_PRODUCT = 1 << 27
_ROWS = (128, 4096)
# Floats between two matrices.
_APART = 5 * LANES


class _Scratch(threading.local):
    """Memory that is written before it is read, kept between calls: fresh pages cost as much as the arithmetic."""

    def __init__(self) -> None:
        self.buffer = torch.empty(0)

    def matrices(self, count: int, rows: int, columns: int) -> Tensor:
        """[count, rows, columns]; each matrix is contiguous."""
        # Matrices a power of two apart would share the same few places in a cache.
        step = rows * columns + _APART
        if self.buffer.numel() < count * step:
            self.buffer = torch.empty(count * step)
        return self.buffer[: count * step].view(count, step)[:, : rows * columns].view(count, rows, columns)


_inputs, _outputs = _Scratch(), _Scratch()


class Convolution:
    """A 3x3 convolution with a border of one zero; called with x [B, C, H, W] it returns [B, O, H', W'].

    weight: [O, C, 3, 3]; bias: [O] or None. dtype, device: of the work; x has them and is best channels_last.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, device: torch.device, stride: int = 1
    ) -> None:
        self.weight = weight.detach().to(device, dtype).contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach().to(device, dtype)
        self.out_channels, self.in_channels = weight.shape[:2]
        self.stride = stride
        self.plain = not (
            stride == 1
            and self.weight.device.type == "cpu"
            and dtype == torch.float32
            and COMPILED
            and min(weight.shape[:2]) >= _LEAST_CHANNELS
            and self.out_channels % LANES == self.in_channels % LANES == 0
        )
        self._products: dict[int, Products] = {}

    def __call__(self, x: Tensor) -> Tensor:
        if self.direct(len(x), *x.shape[2:]):
            return F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=1)
        return self._winograd(x.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)

    def direct(self, batch: int, height: int, width: int) -> bool:
        """Whether so many maps of this size are left to torch's own convolution."""
        few = self.out_channels * self.in_channels < _LEAST_WEIGHTS and batch * height * width < _MANY_POSITIONS
        return self.plain or few or height % 2 > 0 or width % 2 > 0

    def _winograd(self, x: Tensor) -> Tensor:
        """Of x [B, H, W, C], and as [B, H, W, O]."""
        batch, height, width, _ = x.shape
        fours = height % 4 == width % 4 == 0 and batch * height * width >= 16 * _LEAST_TILES
        outputs = 4 if fours else 2
        if outputs not in self._products:
            self._products[outputs] = Products(weight_matrices(self.weight, outputs))
        image = x.new_empty(batch, height, width, self.out_channels)
        tiles = batch * height * width // outputs**2
        at_a_time = min(max(_PRODUCT // self.weight[:, :, 0, 0].numel(), _ROWS[0]), _ROWS[1])
        for first in range(0, tiles, at_a_time):
            matrices, count = (outputs + 2) ** 2, min(at_a_time, tiles - first)
            rows = _inputs.matrices(matrices, count, self.in_channels)
            products = _outputs.matrices(matrices, count, self.out_channels)
            tiles_into(x, first, rows)
            self._products[outputs](rows, None, products)
            image_of(products, self.bias, first, image)
        return image
