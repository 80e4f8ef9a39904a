"""Outputs that share memory: with an input, with each other, with themselves; wholly, partly, or between their gaps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectac_fast._op import Op
from spectac_fast.ops import (
    bridge_add_noise,
    group_norm_silu,
    sampler_step,
    slice_metrics,
    vq_nearest,
    window_counts,
)
from spectac_fast.ops._check import check_apart


def step(x, **more):
    row = torch.rand(14)
    sampler_step(x, torch.rand(x.shape), None, row, **{"x_next": torch.empty(x.shape)} | more)


def at(memory, offset, shape):
    """A dense view that begins so many elements into the memory."""
    return memory[offset:].as_strided(shape, torch.empty(shape, device="meta").stride())


SHAPE = (2, 1, 6, 5)
# All begin elsewhere: only ranges of addresses tell.
PARTLY = {
    "sampler_step: x_next": lambda m: step(at(m, 0, SHAPE), x_next=at(m, 59, SHAPE)),
    "sampler_step: x0": lambda m: step(torch.rand(SHAPE), x_next=at(m, 10, SHAPE), x0=at(m, 0, SHAPE)),
    "sampler_step: anchor": lambda m: step(at(m, 3, SHAPE), anchor=at(m, 0, SHAPE)),
    "sampler_step: net_input": lambda m: step(
        at(m, 20, SHAPE), net_input=m[:120].view(2, 2, 6, 5)[:, 1:]
    ),
    "bridge_add_noise: x_t": lambda m: bridge_add_noise(
        at(m, 0, SHAPE), at(m, 100, SHAPE), torch.zeros(2, dtype=torch.int64), torch.rand(9, 2),
        noise=torch.rand(SHAPE), x_t=at(m, 41, SHAPE),
    ),
    "bridge_add_noise: target": lambda m: bridge_add_noise(
        torch.rand(SHAPE), torch.rand(SHAPE), torch.zeros(2, dtype=torch.int64), torch.rand(9, 2),
        noise=torch.rand(SHAPE), x_t=at(m, 0, SHAPE), target=at(m, 59, SHAPE),
    ),
    "group_norm_silu: out": lambda m: group_norm_silu(
        m[:160].view(5, 4, 2, 4)[:4], 2, out=m[:160].view(5, 4, 2, 4)[1:]
    ),
    "slice_metrics: ssim_map": lambda m: slice_metrics(
        at(m, 0, (1, 11, 11)), at(m, 0, (1, 11, 11)), data_range=1.0, ssim_map=at(m, 120, (1, 1, 1))
    ),
    "vq_nearest: code": lambda m: vq_nearest(at(m, 0, (6, 3)), torch.rand(4, 3), code=at(m, 17, (6, 3))),
    "window_counts: out": lambda m: window_counts(at(m, 0, SHAPE), scale=2.0, out=at(m, 1, SHAPE)),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTLY)
def test_partly_shared_memory_is_refused_and_nothing_written(name):
    memory = torch.rand(400)
    before = memory.clone()
    with pytest.raises(ValueError, match=f"^{name} must not share memory with "):
        PARTLY[name](memory)
    assert torch.equal(memory, before)


@pytest.mark.parametrize("backend", [None, "reference"])
def test_expanded_outputs_are_refused(backend):
    expanded = torch.zeros(1, *SHAPE[1:]).expand(SHAPE)
    with pytest.raises(ValueError, match="net_input must hold each slice in one block, found strides"):
        step(torch.rand(SHAPE), net_input=expanded, backend=backend)
    with pytest.raises(ValueError, match="out must hold each slice in one block, found strides"):
        window_counts(torch.rand(SHAPE), scale=2.0, out=expanded, backend=backend)
    for name in ("x_next", "x0", "anchor"):
        with pytest.raises(ValueError, match=f"{name} must be contiguous"):
            step(torch.rand(SHAPE), **{name: expanded, "backend": backend})
    with pytest.raises(ValueError, match="out must be laid out like x"):
        group_norm_silu(torch.rand(SHAPE), 1, out=expanded, backend=backend)
    overlapping = torch.rand(80).as_strided(SHAPE, (29, 30, 5, 1))
    with pytest.raises(ValueError, match="net_input must hold each slice in one block, found strides"):
        step(torch.rand(SHAPE), net_input=overlapping, backend=backend)


@pytest.mark.parametrize("backend", [None, "reference"])
def test_gaps_may_hold_what_is_read(backend):
    doubled = torch.rand(4, 3, 6, 5)
    before = doubled.clone()
    x_next = torch.empty(4, 1, 6, 5)
    step(doubled[:, 1:2], net_input=doubled[:, 2:], x_next=x_next, backend=backend)
    assert torch.equal(doubled[:, 2:], x_next)
    assert torch.equal(doubled[:, :2], before[:, :2])
    # One slice of an input lies between the slices that are written.
    between = doubled.flatten()[30:60].view(1, 1, 6, 5).expand(4, 1, 6, 5)
    step(between, net_input=doubled[:, 2:], x_next=x_next, backend=backend)


def test_it_is_as_exact_as_counting_elements(fresh):
    """Random views of one small memory: shared exactly if any of their elements is the same."""
    memory = torch.arange(64)
    shared = 0
    for _ in range(300):
        views = []
        while len(views) < 2:
            shape, strides = fresh.integers(1, 4, 3).tolist(), fresh.integers(0, 12, 3).tolist()
            offset = int(fresh.integers(0, 20))
            if offset + sum((n - 1) * s for n, s in zip(shape, strides)) < 64:
                views.append(memory.as_strided(shape, strides, offset))
        expected = bool(np.intersect1d(*(v.flatten().numpy() for v in views)).size)
        shared += expected
        try:
            check_apart("op", {"x": views[0]}, {"out": views[1]})
            found = False
        except ValueError:
            found = True
        assert found == expected, views
    assert 20 < shared < 280


def test_two_tensors_of_one_array_are_one_memory():
    array = np.zeros((2, 4, 2, 4), np.float32)
    with pytest.raises(ValueError, match="out must not share memory with x"):
        group_norm_silu(torch.from_numpy(array), 2, out=torch.from_numpy(array))


def test_tensors_without_data_are_told_by_their_storage():
    memory = torch.empty(5, 4, 2, 4, device="meta")
    with pytest.raises(ValueError, match="out must not share memory with x"):
        group_norm_silu(memory[:4], 2, out=memory[1:])
    group_norm_silu(memory[:2], 2, out=memory[2:4])
    group_norm_silu(memory[:4], 2, out=torch.empty_like(memory[:4]))


@pytest.mark.parametrize("seen", [False, True])
def test_what_only_lies_otherwise_is_served(seen, monkeypatch):
    """With compiled code first, and with the checks first, the results are the same."""
    if not seen:
        monkeypatch.setattr(Op, "may_try", staticmethod(lambda *tensors: False))
    x = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(1))
    turned = x.mT.contiguous().mT
    results = []
    for image in (x, turned, x.to(memory_format=torch.channels_last)):
        step_row, x_next = torch.full((14,), 0.3), torch.empty(x.shape)
        sampler_step(image, image, image, step_row, seeds=torch.arange(2), x_next=x_next)
        pair = bridge_add_noise(image, image, torch.ones(2, dtype=torch.int64), torch.ones(3, 2), seeds=torch.arange(2))
        normed = group_norm_silu(image, 3, scale=torch.full((3, 2), 0.5).mT)
        nearest = vq_nearest(image, torch.eye(3))
        results.append((x_next, *pair, normed, *nearest, window_counts(image, scale=2.0)))
    for result in results[1:]:
        for one, other in zip(result, results[0]):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
