"""The transforms of a convolution by small matrix products: exact, compiled as written, and memory-safe."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from spectac_fast.ops.parts import winograd

needs_compiled = pytest.mark.skipif(
    not winograd.COMPILED, reason="needs the compiled extension (a C++ compiler at installation)"
)


@pytest.mark.parametrize("outputs", [2, 4])
def test_transforms_are_exact(outputs):
    """In float64 outputs are those of the sliding sum, to its rounding."""
    weights, inputs, back = winograd.transforms(outputs)
    d, g = torch.randn(outputs + 2).double(), torch.randn(3).double()
    expect = F.conv1d(d[None, None], g[None, None])[0, 0]
    torch.testing.assert_close(back @ ((weights @ g) * (inputs @ d)), expect, rtol=0, atol=1e-13)


def rounding_at(points, monkeypatch):
    """Relative root mean square error in float32 of convolutions at these finite points, by the reference."""
    monkeypatch.setitem(winograd._POINTS, 4, points)
    monkeypatch.setattr(winograd, "transforms", winograd.transforms.__wrapped__)
    x, weight = F.silu(torch.randn(1, 16, 16, 128)), torch.randn(64, 128, 3, 3)
    expect = F.conv2d(x.permute(0, 3, 1, 2).double(), weight.double(), padding=1).permute(0, 2, 3, 1)
    tiles, image = torch.empty(36, 16, 128), torch.empty(1, 16, 16, 64)
    winograd._tiles_reference(x, 0, tiles)
    winograd._image_reference(torch.bmm(tiles, winograd.weight_matrices(weight, 4)), None, 0, image)
    return float((image - expect).square().mean().sqrt() / expect.square().mean().sqrt())


def test_the_points_round_less_than_the_usual_ones(monkeypatch):
    chosen = winograd._POINTS[4]
    with monkeypatch.context() as patch:
        found = rounding_at(chosen, patch)
    with monkeypatch.context() as patch:
        usual = rounding_at((0.0, 1.0, -1.0, 2.0, -2.0), patch)
    assert found < 0.7 * usual
    assert found < 5e-6


@needs_compiled
@pytest.mark.parametrize("matrices", [16, 36])
@pytest.mark.parametrize("with_bias", [True, False])
def test_compiled_transforms_are_the_reference(matrices, with_bias):
    outputs, channels = winograd.OUTPUTS[matrices], 48
    x = torch.randn(3, 3 * outputs, 2 * outputs, channels)
    first, count = 5, 9
    apart = torch.full((matrices, count * channels + 16), 7.0)
    found = apart[:, :-16].view(matrices, count, channels)
    expect = torch.empty(matrices, count, channels)
    winograd.tiles_into(x, first, found)
    winograd._tiles_reference(x, first, expect)
    torch.testing.assert_close(found, expect, rtol=0, atol=1e-5)
    assert bool((apart[:, -16:] == 7.0).all())
    products_of, bias = torch.randn(matrices, count, channels), torch.randn(channels) if with_bias else None
    images = [torch.full((3, 3 * outputs, 2 * outputs, channels), 7.0) for _ in range(2)]
    winograd.image_of(products_of, bias, first, images[0])
    winograd._image_reference(products_of, bias, first, images[1])
    torch.testing.assert_close(*images, rtol=1e-5, atol=1e-4)
    # Other tiles are left alone.
    assert int((images[0] == 7.0).all(dim=3).sum()) == (18 - count) * outputs**2


@needs_compiled
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"first": 10}, "expected 9 tiles of 18, found the first at 10"),
        ({"first": -1}, "found the first at -1"),
        ({"tiles": torch.empty(25, 9, 32)}, "expected 16 or 36 matrices, found 25"),
        ({"tiles": torch.empty(16, 9, 48)}, "the channels of x, each matrix contiguous"),
        ({"tiles": torch.empty(16, 9, 64)[:, :, ::2]}, "each matrix contiguous"),
        ({"x": torch.randn(3, 6, 5, 32)}, "whole tiles and a multiple of 16 channels"),
        ({"x": torch.randn(3, 6, 4, 24)}, "whole tiles and a multiple of 16 channels"),
        ({"x": torch.randn(3, 32, 6, 4).permute(0, 2, 3, 1)}, "a contiguous"),
    ],
)
def test_transforms_of_what_cannot_be(wrong, message):
    arguments = {"x": torch.randn(3, 6, 4, 32), "first": 5, "tiles": torch.empty(16, 9, 32)} | wrong
    with pytest.raises(RuntimeError, match=message):
        winograd.tiles_into(*arguments.values())


@needs_compiled
def test_images_of_what_cannot_be():
    image = torch.empty(3, 6, 4, 32)
    each = torch.randn(16, 9, 32)
    for wrong, first, message in (
        (each[1:], 0, "expected 16 or 36 matrices, found 15"),
        (torch.randn(16, 9, 48), 0, "products must have the channels of image"),
        (torch.randn(16, 9, 64)[:, :, ::2], 0, "each matrix contiguous"),
        (each[0], 0, r"products must be \[matrices, tiles, C\]"),
        (each, 10, "found the first at 10"),
    ):
        with pytest.raises(RuntimeError, match=message):
            winograd.image_of(wrong, None, first, image)
    image = torch.empty(3, 16, 8, 32)
    with pytest.raises(RuntimeError, match="must not share memory"):
        winograd.image_of(image.view(-1)[: 16 * 9 * 32].view(16, 9, 32), None, 0, image)
