"""3x3 convolutions by small matrix products: the same sums, and which sizes they are chosen for."""

from __future__ import annotations

import pytest
import torch
from golden_bridge import relative
from torch.nn import functional as F

from spectac_fast.models.engine import convolution, products
from spectac_fast.models.engine.convolution import Convolution
from spectac_fast.ops.parts.winograd import COMPILED

CPU = torch.device("cpu")
needs_compiled = pytest.mark.skipif(
    not COMPILED, reason="needs the compiled extension (a C++ compiler at installation)"
)


def channels_last(*shape):
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


# outputs: of a tile in a row, 0 for torch's own convolution.
@needs_compiled
@pytest.mark.parametrize(
    ("batch", "channels", "out_channels", "size", "outputs"),
    [
        (1, 512, 512, 8, 2),
        (1, 256, 128, 4, 2),
        (3, 128, 256, 16, 2),
        (9, 128, 256, 8, 2),
        (1, 144, 240, 32, 4),
        (5, 256, 128, 16, 4),
        (16, 128, 256, 8, 4),
        (17, 128, 256, 10, 2),
        (1, 128, 128, 64, 4),
        (4, 128, 128, 32, 4),
        (3, 128, 128, 32, 0),
        (2, 96, 96, 8, 0),
        (1, 136, 256, 32, 0),
        (2, 256, 256, 7, 0),
    ],
)
@pytest.mark.parametrize("packs", [True, False])
def test_convolutions(batch, channels, out_channels, size, outputs, packs, monkeypatch):
    if not packs:
        monkeypatch.setattr(products, "_has_vectors", lambda: False)
    monkeypatch.setattr(convolution, "_PRODUCT", 1 << 21)
    monkeypatch.setattr(convolution, "_ROWS", (24, 4096))
    weight = torch.randn(out_channels, channels, 3, 3) / (3 * channels**0.5)
    bias, x = torch.randn(out_channels), channels_last(batch, channels, size, size)
    expect = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    conv = Convolution(weight, bias, torch.float32, CPU)
    assert conv.direct(batch, size, size) is (outputs == 0)
    assert relative(conv(x).double(), expect) < (1e-5 if outputs == 4 else 4e-6)
    assert list(conv._products) == ([outputs] if outputs else [])
    # Scratch memory is shared: a second call, and one of another size, must not see the first's.
    conv(x[:1, :, :4, :4].contiguous(memory_format=torch.channels_last))
    assert relative(conv(x).double(), expect) < 1e-5


@needs_compiled
def test_rounding_is_that_of_a_direct_sum():
    """Per value, of a root mean square of one: within a few times what torch's own convolution has."""
    errors = {2: [], 4: [], 0: []}
    for _ in range(4):
        weight, x = torch.randn(128, 256, 3, 3) / (3 * 256**0.5), F.silu(channels_last(4, 256, 16, 16))
        expect = F.conv2d(x.double(), weight.double(), padding=1)
        for outputs, found in errors.items():
            conv = Convolution(weight, None, torch.float32, CPU)
            conv.plain = outputs == 0
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(convolution, "_LEAST_TILES", 1 if outputs == 4 else 1 << 40)
                away = (conv(x) - expect).square().mean() / expect.square().mean()
            found.append(float(away.sqrt()))
    assert max(errors[2]) < 2 * min(errors[0])
    assert max(errors[4]) < 5 * min(errors[0])


@needs_compiled
@pytest.mark.parametrize(("channels", "size", "batch"), [(256, 16, 8), (128, 64, 2), (256, 8, 5)])
def test_a_slice_keeps_its_bytes_in_any_company(channels, size, batch):
    weight, x = torch.randn(128, channels, 3, 3), channels_last(batch, channels, size, size)
    conv = Convolution(weight, None, torch.float32, CPU)
    found, order = conv(x), torch.randperm(batch)
    assert torch.equal(conv(x[order].contiguous(memory_format=torch.channels_last)), found[order])
    other = torch.cat([x[:1], torch.full_like(x[1:], 1e20)]).contiguous(memory_format=torch.channels_last)
    assert torch.equal(conv(other)[:1], found[:1])
