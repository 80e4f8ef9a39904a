"""Products with matrices in strips: the sums of any product, of every row the same in any company, and memory-safe."""

from __future__ import annotations

import pytest
import torch

from spectac_fast.ops.parts.strips import LANES, _reference, strip_products, strips_of
from spectac_fast.ops.parts.winograd import COMPILED

pytestmark = pytest.mark.skipif(not COMPILED, reason="needs the compiled extension (a C++ compiler at installation)")


def test_strips_hold_the_matrix():
    matrices = torch.randn(2, 3, 5 * LANES)
    strips = strips_of(matrices)
    assert strips.shape == (2, 5, 3, LANES)
    assert torch.equal(strips[1, 4], matrices[1, :, 4 * LANES :])


# Rows that fill blocks of either width and that do not, one and more chunks of them, odd and even strips.
@pytest.mark.parametrize("count", [1, 4, 5, 12, 16, 35, 240, 241, 500])
@pytest.mark.parametrize(("n", "inner", "columns"), [(3, 64, 48), (2, 7, 64), (1, 1, 16), (5, 33, 96)])
@pytest.mark.parametrize("with_bias", [True, False])
def test_products(count, n, inner, columns, with_bias):
    rows, matrices = torch.randn(n, count, inner), torch.randn(n, inner, columns)
    bias = torch.randn(columns) if with_bias else None
    held = torch.full((n, count * columns + 5), 7.0)
    out = held[:, :-5].view(n, count, columns)
    strip_products(rows, strips_of(matrices), bias, out)
    exact = torch.bmm(rows.double(), matrices.double()) + (0 if bias is None else bias.double())
    # Every partial sum is rounded once: inner + 1 times half a unit of at most the sum of all magnitudes.
    most = torch.bmm(rows.double().abs(), matrices.double().abs()) + (0 if bias is None else bias.double().abs())
    assert bool(((out - exact).abs() <= (inner + 1) * 2.0**-24 * most).all())
    assert bool((held[:, -5:] == 7.0).all())


def test_compiled_is_the_reference():
    rows, strips, bias = torch.randn(4, 37, 128), torch.randn(4, 6, 128, LANES), torch.randn(96)
    found, expect = torch.empty(2, 4, 37, 96)
    strip_products(rows, strips, bias, found)
    _reference(rows, strips, bias, expect)
    torch.testing.assert_close(found, expect, rtol=0, atol=1e-3)


def test_a_row_keeps_its_bytes_in_any_company():
    rows, strips = torch.randn(1, 301, 65), torch.randn(1, 4, 65, LANES)
    whole = torch.empty(1, 301, 64)
    strip_products(rows, strips, None, whole)
    for first, last in ((0, 1), (7, 12), (60, 76), (239, 301), (300, 301)):
        part = torch.empty(1, last - first, 64)
        strip_products(rows[:, first:last], strips, None, part)
        assert torch.equal(part, whole[:, first:last])


def test_no_rows():
    out = torch.empty(2, 0, 16)
    strip_products(torch.empty(2, 0, 3), torch.randn(2, 1, 3, LANES), None, out)
    assert out.shape == (2, 0, 16)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": torch.randn(2, 5, 3, 1)}, "expected rows"),
        ({"matrices": torch.randn(2, 2, 3, 8)}, "expected rows"),
        ({"rows": torch.randn(2, 5, 4)}, "must fit the rows"),
        ({"rows": torch.randn(3, 5, 3)}, "must fit the rows"),
        ({"out": torch.empty(2, 5, 48)}, "must fit the rows"),
        ({"rows": torch.randn(2, 3, 5).mT}, "rows must hold each slice in one block"),
        ({"out": torch.empty(1, 5, 32).expand(2, 5, 32)}, "out must hold each slice in one block"),
        ({"matrices": torch.randn(2, 3, 2, LANES).transpose(1, 2)}, "matrices must be contiguous"),
        ({"bias": torch.randn(16)}, "bias must have 32 elements, found 16"),
        ({"rows": torch.randn(2, 5, 3).double()}, "float"),
    ],
)
def test_what_cannot_be_multiplied(wrong, message):
    arguments = {
        "rows": torch.randn(2, 5, 3),
        "matrices": torch.randn(2, 2, 3, LANES),
        "bias": torch.randn(32),
        "out": torch.empty(2, 5, 32),
    } | wrong
    with pytest.raises(RuntimeError, match=message):
        strip_products(*arguments.values())


def test_what_is_written_is_apart():
    memory = torch.randn(400)
    rows, out = memory[:30].view(2, 5, 3), memory[20:340].view(2, 5, 32)
    with pytest.raises(RuntimeError, match="must not share memory"):
        strip_products(rows, torch.randn(2, 2, 3, LANES), None, out)
