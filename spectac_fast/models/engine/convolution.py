"""3x3 convolutions of a network that only runs: weights packed once, and the algorithm that the size asks for.

On the CPU in float32, torch's direct convolution reaches its speed on wide maps but not on small ones of many channels,
where it spends its time on the weights. There a convolution is 16 small matrix products (Winograd F(2x2, 3x3), Lavin
and Gray, CVPR 2016: 2.25 times fewer multiplications, rounding of the order of the direct sum's own) with packed
weights (`Products`). The choice follows from shapes alone, so that the same slices give the same bytes on every run.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from spectac_fast.models.engine.products import Products

# Where the algorithms cross over, in channels and positions, on AVX-512 cores from one slice to 64.
_LEAST_CHANNELS = 128
_LEAST_WEIGHTS = 1 << 15
_MOST_POSITIONS = 1024
# Tiles transformed at a time: enough to fill a matrix product, few enough to stay in the second-level cache.
_TILES = 128

# Lavin and Gray, eq. 14: 3 weights to 4.
_WEIGHTS_TO = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))


class _Scratch(threading.local):
    """Memory that is written before it is read, kept between calls: fresh pages cost as much as the arithmetic."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        count = torch.Size(shape).numel()
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < count:
            self.buffers[name] = buffer = torch.empty(count)
        return buffer[:count].view(shape)


_scratch = _Scratch()


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
            and min(weight.shape[:2]) >= _LEAST_CHANNELS
            and self.out_channels * self.in_channels >= _LEAST_WEIGHTS
        )
        self._products: Products | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if self.direct(*x.shape[2:]):
            return F.conv2d(x, self.weight, self.bias, stride=self.stride, padding=1)
        return self._winograd(x).permute(0, 3, 1, 2)

    def direct(self, height: int, width: int) -> bool:
        """Whether maps of this size are left to torch's own convolution."""
        return self.plain or height % 2 > 0 or width % 2 > 0 or height * width > _MOST_POSITIONS

    def _winograd(self, x: Tensor) -> Tensor:
        if self._products is None:
            to = self.weight.new_tensor(_WEIGHTS_TO)
            transformed = torch.einsum("ai,bj,ocij->abco", to, to, self.weight)
            self._products = Products(transformed.reshape(16, self.in_channels, self.out_channels).contiguous())
        batch, _, height, width = x.shape
        out = x.new_empty(batch, height, width, self.out_channels)
        at_a_time = max(1, 4 * _TILES // (height * width))
        for first in range(0, batch, at_a_time):
            self._winograd_part(self._products, x[first : first + at_a_time], out[first : first + at_a_time])
        return out

    def _winograd_part(self, multiply: Products, x: Tensor, out: Tensor) -> None:
        batch, channels, height, width = x.shape
        tiles = (batch, height // 2, width // 2)
        padded = _padded(x)
        rows, columns = padded.stride()[1:3]
        read = padded.as_strided((4, 4, *tiles, channels), (rows, columns, padded.stride(0), 2 * rows, 2 * columns, 1))
        half = _scratch.take("half", 4, 4, *tiles, channels)
        into = _scratch.take("into", 4, 4, *tiles, channels)
        _transform_four(read, half)
        _transform_four(read=half.transpose(0, 1), out=into.transpose(0, 1))
        products = [each.view(*tiles, self.out_channels) for each in multiply(into.view(16, -1, channels))]

        back = _scratch.take("back", 2, 4, *tiles, self.out_channels)
        for column in range(4):
            _transform_two(products[column::4], back[:, column])
        blocks = out.view(*tiles[:2], 2, tiles[2], 2, self.out_channels).permute(4, 2, 0, 1, 3, 5)
        if self.bias is not None:
            # The second column enters both sums with one sign, so that what is added to it is added to the result.
            back[:, 1].add_(self.bias)
        _transform_two(back.transpose(0, 1), blocks)


def _padded(x: Tensor) -> Tensor:
    """x with a border of zeros, [B, H + 2, W + 2, C]."""
    batch, channels, height, width = x.shape
    padded = _scratch.take("padded", batch, height + 2, width + 2, channels).zero_()
    padded[:, 1:-1, 1:-1].copy_(x.permute(0, 2, 3, 1))
    return padded


def _transform_four(read: Tensor, out: Tensor) -> None:
    """The transform of the input along the first dimension, 4 to 4."""
    torch.sub(read[0], read[2], out=out[0])
    torch.add(read[1], read[2], out=out[1])
    torch.sub(read[2], read[1], out=out[2])
    torch.sub(read[1], read[3], out=out[3])


def _transform_two(read: Tensor | Sequence[Tensor], out: Tensor) -> None:
    """The transform of the product along the first dimension, 4 to 2."""
    torch.add(read[1], read[2], out=out[0])
    out[0].add_(read[0])
    torch.sub(read[1], read[2], out=out[1])
    out[1].sub_(read[3])
