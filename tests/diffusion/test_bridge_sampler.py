"""Many samples in few batches: what they are equal to, what they may depend on, how they are reduced."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from spectac_fast import BridgeSampler, BrownianBridge, sample_bridge, solver_table
from spectac_fast.diffusion.buckets import SIZES, padded_size, runs
from spectac_fast.diffusion.reduction import RunningMoments

BRIDGE = BrownianBridge(max_var=0.3)


def denoiser(x, t, y):
    """A stand-in for a network, slice by slice, whose rounding does not depend on the batch."""
    return 0.5 * x.abs() - 0.25 * y + 0.125 * (t.float() / 1024)[:, None, None, None] * x.roll(1, -1)


def one_by_one(y, seeds, count, table):
    def alone(i, k):
        return sample_bridge(denoiser, y[i : i + 1], table, seeds=seeds[i : i + 1], sample=k)

    return torch.stack([torch.cat([alone(i, k) for i in range(len(y))]) for k in range(count)])


@pytest.mark.parametrize("options", [{}, {"solver": "unipc"}, {"solver": "sde"}, {"solver": "ancestral"}])
@pytest.mark.parametrize(("slices", "count", "batch"), [(1, 5, 64), (3, 4, 8), (5, 3, 4), (2, 1, 2)])
def test_samples_have_the_same_bits_in_any_batch(options, slices, count, batch):
    y, seeds = torch.randn(slices, 2, 5, 7), torch.randint(2**62, (slices,))
    sampler = BridgeSampler(denoiser, BRIDGE, 5, batch=batch, **options)
    found = sampler(y, seeds, count)
    assert torch.equal(found, one_by_one(y, seeds, count, solver_table(BRIDGE, 5, **options)))
    assert torch.equal(sampler(y, seeds), found[0])


@pytest.mark.parametrize("count", [2, 9])
def test_reductions_are_those_of_the_samples(count):
    y = torch.randn(3, 1, 6, 6)
    small, large = (BridgeSampler(denoiser, BRIDGE, 4, batch=batch) for batch in (4, 32))
    samples = small(y, num_samples=count).double()
    mean, std = small(y, num_samples=count, reduce="mean_std")
    torch.testing.assert_close(mean.double(), samples.mean(dim=0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(std.double(), samples.std(dim=0), rtol=1e-4, atol=1e-5)
    assert torch.equal(small(y, num_samples=count, reduce="mean"), mean)
    for a, b in zip(large(y, num_samples=count, reduce="mean_std"), (mean, std)):
        assert torch.equal(a, b)


def test_spread_survives_a_large_mean():
    samples = 4096.0 + torch.randn(50, 8)
    moments = RunningMoments(8, spread=True)
    for number, sample in enumerate(samples):
        for part in (slice(0, 3), slice(3, 8)):
            moments.add(number, part, sample[part])
    _, std = moments.result()
    torch.testing.assert_close(std.double(), samples.double().std(dim=0), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("slices", "count", "expected"),
    [(1, 1, [1]), (3, 1, [4]), (1, 5, [8]), (3, 3, [8, 1]), (9, 1, [8, 1]), (7, 3, [8, 8, 8])],
)
def test_the_network_sees_few_sizes(slices, count, expected):
    seen = []

    def counting(x, t, y):
        assert len(x) == len(t) == len(y)
        seen.append(len(x))
        return denoiser(x, t, y)

    BridgeSampler(counting, BRIDGE, 3, batch=8)(torch.randn(slices, 1, 4, 4), num_samples=count, reduce="mean")
    assert seen == [size for size in expected for _ in range(3)]


def test_one_evaluation_is_made_once():
    seen = []

    def counting(x, t, y):
        seen.append(len(x))
        return denoiser(x, t, y)

    y = torch.randn(2, 1, 4, 4)
    sampler = BridgeSampler(counting, BRIDGE, 1)
    samples = sampler(y, num_samples=100)
    assert seen == [2]
    assert samples.shape == (100, 2, 1, 4, 4)
    mean, std = sampler(y, num_samples=100, reduce="mean_std")
    assert torch.equal(mean, samples[7])
    assert not std.any()


def test_context_takes_the_place_of_the_condition():
    y, context = torch.randn(3, 1, 4, 4), torch.randn(3, 5, 2, 2)

    def seeing(x, t, c):
        return x * c.mean(dim=(1, 2, 3), keepdim=True)

    found = BridgeSampler(seeing, BRIDGE, 3)(y, num_samples=4, context=context)
    for i in range(3):
        alone = BridgeSampler(lambda x, t, _, i=i: seeing(x, t, context[i : i + 1]), BRIDGE, 3)
        torch.testing.assert_close(alone(y[i : i + 1], torch.tensor([i]), 4)[:, 0], found[:, i], rtol=1e-4, atol=1e-4)


def test_finish_comes_before_the_mean():
    y = torch.randn(3, 2, 4, 4)
    plain = BridgeSampler(denoiser, BRIDGE, 3)
    squared = BridgeSampler(denoiser, BRIDGE, 3, finish=lambda x0: x0[:, :1, ::2] ** 2)
    expected = (plain(y, num_samples=5)[:, :, :1, ::2] ** 2).mean(dim=0)
    torch.testing.assert_close(squared(y, num_samples=5, reduce="mean"), expected, rtol=1e-4, atol=1e-5)
    assert squared(y).shape == (3, 1, 2, 4)


def test_a_finished_table_is_taken_as_it_is():
    y, table = torch.randn(2, 1, 4, 4), solver_table(BRIDGE, [900, 30, 2], order=1)
    assert torch.equal(BridgeSampler(denoiser, BRIDGE, table)(y), sample_bridge(denoiser, y, table))
    with pytest.raises(ValueError, match="no further options, found order"):
        BridgeSampler(denoiser, BRIDGE, table, order=1)


def test_sizes_and_runs():
    assert [padded_size(n) for n in (0, 1, 2, 3, 33, 64)] == [1, 1, 2, 4, 64, 64]
    assert list(runs(130)) == [slice(0, 64), slice(64, 128), slice(128, 130)]
    assert list(runs(0)) == [slice(0, 0)]
    assert list(runs(40)) == [slice(0, 32), slice(32, 40)]
    assert list(runs(48)) == [slice(0, 48)]
    assert list(runs(18, 8)) == [slice(0, 8), slice(8, 16), slice(16, 18)]
    for count in range(1, 300):
        lengths = [part.stop - part.start for part in runs(count)]
        assert sum(lengths) == count
        assert sum(map(padded_size, lengths)) <= max(1.34 * count, count + 8)
    assert SIZES[0] == 1


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"num_samples": 0}, "at least 1"),
        ({"num_samples": 1, "reduce": "mean_std"}, "at least 2"),
        ({"reduce": "median"}, "reduce must be None, mean or mean_std"),
        ({"seeds": torch.zeros(3, dtype=torch.int64)}, "seeds"),
        ({"context": torch.zeros(3, 1, 4, 4)}, "context must have 2 entries"),
        ({"y": torch.zeros(0, 1, 4, 4)}, "at least one slice"),
        ({"y": torch.zeros(2, 4, 4)}, "y must be float32"),
    ],
)
def test_arguments_that_do_not_fit(arguments, word):
    with pytest.raises(ValueError, match=word):
        BridgeSampler(denoiser, BRIDGE, 3)(**{"y": torch.zeros(2, 1, 4, 4)} | arguments)


def test_batch_must_be_one_of_the_sizes():
    with pytest.raises(ValueError, match="batch must be one of 1, 2, 4"):
        BridgeSampler(denoiser, BRIDGE, 3, batch=48)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))], ids=["copy", "pickle"])
@pytest.mark.parametrize("options", [{}, {"solver": "unipc"}, {"solver": "sde"}, {"solver": "ancestral"}])
def test_samplers_tables_and_processes_are_copied_whole(copied, options):
    y = torch.randn(3, 1, 6, 6)
    sampler = BridgeSampler(denoiser, BRIDGE, 5, **options)
    expected = sampler(y, num_samples=2)
    assert torch.equal(copied(sampler)(y, num_samples=2), expected)
    table = copied(sampler.table)
    assert not table.rows.flags.writeable
    assert torch.equal(sample_bridge(denoiser, y, table), expected[0])
    process = copied(BRIDGE)
    assert process == BRIDGE
    assert (solver_table(process, 5, **options).rows == table.rows).all()
