"""A 3x3 convolution of stride one as products of small matrices, between two transforms (Winograd's minimal filtering).

A tile of m x m outputs takes (m + 2)^2 products of channels where the direct sum takes 9 m^2 (Lavin and Gray, CVPR
2016): 2.25 times fewer for m = 2, 4 times for m = 4. The points of m = 4 are 0, +-3/4, +-3/2 and infinity, with which
its rounding is of the order of a direct float32 convolution's; at the usual +-1 and +-2 it is twice that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from spectac_fast import _native
from spectac_fast._op import define_part

COMPILED = _native.why_not("cpu") is None
# Outputs of a tile in a row, by how many matrices its transform has.
OUTPUTS = {16: 2, 36: 4}
# The finite ones.
_POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}


@cache
def transforms(outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of weights [m + 2, 3], of inputs [m + 2, m + 2] and of products [m, m + 2] in a row, float64.

    By interpolation at the points (Toom and Cook): the outputs are back @ ((weights @ g) * (inputs @ d)).
    """
    points = _POINTS[outputs]
    power = torch.arange(3.0, dtype=torch.float64)
    weights, inputs = torch.zeros(len(points) + 1, 3).double(), torch.zeros(len(points) + 1, len(points) + 1).double()
    for i, point in enumerate(points):
        others = [each for each in points if each != point]
        scale = torch.tensor([point - each for each in others], dtype=torch.float64).prod()
        weights[i] = torch.tensor(point, dtype=torch.float64) ** power / scale
        inputs[i, : len(points)] = _with_roots(others)
    weights[-1, -1] = 1.0
    inputs[-1] = _with_roots(points)
    back = torch.tensor(points, dtype=torch.float64) ** torch.arange(outputs).double()[:, None]
    back = torch.cat([back, torch.eye(outputs).double()[:, -1:]], dim=1)
    return weights, inputs, back


def _with_roots(roots: Sequence[float]) -> Tensor:
    """Coefficients, constant first, of the monic polynomial with these roots."""
    found = torch.ones(1, dtype=torch.float64)
    for root in roots:
        found = F.pad(found, (1, 0)) - root * F.pad(found, (0, 1))
    return found


def weight_matrices(weight: Tensor, outputs: int) -> Tensor:
    """[(m + 2)^2, C, O], in weight's dtype, of weight [O, C, 3, 3]."""
    to = transforms(outputs)[0].to(weight.device)
    found = torch.einsum("ai,bj,ocij->abco", to, to, weight.double()).to(weight.dtype)
    return found.reshape(-1, weight.shape[1], weight.shape[0]).contiguous()


def _tiles_reference(x: Tensor, first: int, tiles: Tensor) -> None:
    outputs = OUTPUTS[len(tiles)]
    to = transforms(outputs)[1].to(x)
    # [B, H / m, W / m, C, m + 2, m + 2]
    seen = F.pad(x, (0, 0, 1, 1, 1, 1)).unfold(1, outputs + 2, outputs).unfold(2, outputs + 2, outputs)
    found = torch.einsum("ai,tcij,dj->adtc", to, seen.flatten(0, 2)[first : first + tiles.shape[1]], to)
    tiles.copy_(found.flatten(0, 1))


def _image_reference(products: Tensor, bias: Tensor | None, first: int, image: Tensor) -> None:
    outputs, (batch, height, width, channels) = OUTPUTS[len(products)], image.shape
    back = transforms(outputs)[2].to(image)
    held = products.unflatten(0, (outputs + 2, outputs + 2))
    found = torch.einsum("ka,abto,lb->tklo", back, held, back)
    blocks = image.view(batch, height // outputs, outputs, width // outputs, outputs, channels).transpose(2, 3)
    tiles = torch.arange(first, first + len(found), device=image.device)
    down, across = blocks.shape[1:3]
    blocks[tiles // (down * across), tiles // across % down, tiles % across] = found if bias is None else found + bias


# x: [B, H, W, C]; tiles: [16 or 36, N, C], each matrix contiguous, of the batch's tiles `first` ... first + N - 1.
tiles_into = define_part("winograd_tiles(Tensor x, int first, Tensor(a!) tiles) -> ()", _tiles_reference)
# products: [16 or 36, N, O], each matrix contiguous; bias: [O]; image: [B, H, W, O], of which those tiles are written.
image_of = define_part(
    "winograd_image(Tensor products, Tensor? bias, int first, Tensor(a!) image) -> ()", _image_reference
)
