"""More than 2^31 elements: 64-bit indices in every operator. Not part of `make test`: `pytest -m large`.

What a call makes of its far end must be what it makes of that end alone. Operators without a 16-bit input or output
need more memory than most machines have; they run where it is there.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spectac_fast import ops

SIDE = 256
SLICES = 2**31 // SIDE**2 + 3  # the last three lie beyond 2^31
ELEMENTS = SLICES * SIDE**2
END = slice(SLICES - 3, None)

pytestmark = pytest.mark.large


def need(gigabytes: float, device: torch.device) -> None:
    if device.type == "cuda":
        free = torch.cuda.mem_get_info()[0]
    else:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    if free < 1.2e9 * gigabytes:  # others on the machine need some too
        pytest.skip(f"needs {gigabytes:.0f} GB of memory, found {free / 1e9:.0f}")


def zeros_with_an_end(dtype: torch.dtype, device: torch.device, *, channels: bool = True) -> torch.Tensor:
    x = torch.zeros((SLICES, *([1] if channels else []), SIDE, SIDE), dtype=dtype, device=device)
    x[END] = (torch.rand(x[END].shape, device=device) * 200).to(dtype)
    return x


@pytest.mark.parametrize("model_mm", [1.0, 2.0], ids=["equal", "resampled"])
def test_window_counts(device, model_mm):
    need(10, device)
    counts = zeros_with_an_end(torch.uint16, device, channels=False)
    options = {"scale": 90.0, "model_mm": model_mm, "dtype": torch.bfloat16}
    ours = ops.window_counts(counts, **options)
    assert torch.equal(ours[END], ops.window_counts(counts[END], **options))
    assert (ours[SLICES // 2] == -1).all()


def test_window_counts_of_one_slice(device):
    need(10, device)
    counts = zeros_with_an_end(torch.uint16, device, channels=False)
    ours = ops.window_counts(counts.view(1, -1, SIDE), scale=90.0, dtype=torch.bfloat16)
    assert torch.equal(
        ours.view(SLICES, SIDE, SIDE)[END], ops.window_counts(counts[END], scale=90.0, dtype=torch.bfloat16)
    )


def test_unwindow_counts(device):
    need(10, device)
    x = zeros_with_an_end(torch.bfloat16, device, channels=False)
    counts, saturated = ops.unwindow_counts(x, scale=1000.0)
    expected = ops.unwindow_counts(x[END], scale=1000.0)
    assert torch.equal(counts[END], expected[0])
    assert torch.equal(saturated[END], expected[1])
    assert expected[1].any()
    assert not saturated[:-3].any()


def test_unwindow_counts_of_one_slice(device):
    need(10, device)
    x = torch.full((1, ELEMENTS // SIDE, SIDE), 5.0, dtype=torch.bfloat16, device=device)
    counts, saturated = ops.unwindow_counts(x, scale=60000.0)
    assert saturated.tolist() == [[0, ELEMENTS, 0]]
    assert counts.view(torch.int16).eq(-1).all()


def test_group_norm_silu(device):
    need(10, device)
    x = zeros_with_an_end(torch.bfloat16, device)
    ours = ops.group_norm_silu(x, 1, out=torch.empty_like(x))
    assert torch.equal(ours[END], ops.group_norm_silu(x[END], 1))
    assert (ours[SLICES // 2] == 0).all()


def test_slice_metrics(device):
    need(6, device)
    x = zeros_with_an_end(torch.uint8, device)
    y = x.clone()
    y[END] //= 2
    ours = ops.slice_metrics(x, y, data_range=255)
    assert torch.equal(ours[END], ops.slice_metrics(x[END], y[END], data_range=255))
    assert (ours[:-3, 0] == 1).all()


def test_vq_nearest(device):
    need(19, device)
    tokens = torch.zeros(ELEMENTS // 4, 4, dtype=torch.bfloat16, device=device)
    end = slice(len(tokens) - 1000, None)
    tokens[end] = torch.randn(1000, 4, device=device).bfloat16()
    codebook = torch.randn(3, 4, device=device).bfloat16()
    index, code = ops.vq_nearest(tokens, codebook)
    expected = ops.vq_nearest(tokens[end], codebook)
    assert torch.equal(index[end], expected[0])
    assert torch.equal(code[end], expected[1])


def test_bridge_add_noise(device):
    need(36, device)
    x0 = zeros_with_an_end(torch.float32, device)
    t = torch.full((SLICES,), 1, device=device)
    schedule = torch.tensor([[0.0, 0.1], [0.5, 0.7]], device=device)
    seeds = torch.arange(SLICES, device=device)
    x_t, target = ops.bridge_add_noise(x0, x0, t, schedule, seeds=seeds)
    expected = ops.bridge_add_noise(x0[END], x0[END], t[END], schedule, seeds=seeds[END])
    assert torch.equal(x_t[END], expected[0])
    assert torch.equal(target[END], expected[1])


def test_sampler_step(device):
    need(24, device)
    x = zeros_with_an_end(torch.float32, device)
    row = torch.rand(14, device=device)
    seeds = torch.arange(SLICES, device=device)
    x_next, end = torch.empty_like(x), torch.empty_like(x[END])
    f = zeros_with_an_end(torch.bfloat16, device)
    ops.sampler_step(x, f, None, row, seeds=seeds, x_next=x_next)
    ops.sampler_step(x[END], f[END], None, row, seeds=seeds[END], x_next=end)
    assert torch.equal(x_next[END], end)
