"""The noise contract: known words and normals, the counter's layout, and the same noise on every back end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from scipy import stats

from spectac_fast._op import BACKENDS, Op
from spectac_fast.kernels.philox import counter_words as triton_counter_words
from spectac_fast.ops import SAMPLING, TRAINING, counter_normal, counter_words, sampler_step

# Words and normals of `tl.randint4x` and `tl.randn4x` for seed 123 at offsets 0, 1, 2.
KNOWN_WORDS = [
    [287538396, 1728003544, 3216022928, 819691090],
    [2747274318, 2101354157, 886462750, 3725512111],
    [739990181, 1075717757, 3002037153, 4170042697],
]
KNOWN_NORMALS = [
    [0.67530435, -1.88821495, -0.86381912, 0.79400498],
    [0.80199897, -0.10890599, -0.12663087, 1.32423210],
    [-1.45971203, -0.00843872, 0.94081461, 0.36005479],
]


def philox_in_python_integers(counter, key):
    """Philox4x32-10 of Salmon et al. (2011) in unbounded integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def noise_from(backend, seeds, shape, *, step, sample):
    """The normals a back end draws inside sampler_step: the row passes the noise through."""
    zeros = torch.zeros(len(seeds), *shape, device=seeds.device)
    row = torch.zeros(14, device=seeds.device)
    row[8] = 1
    drawn = torch.full_like(zeros, float("nan"))
    arguments = {"seeds": seeds, "step": step, "sample": sample, "x_next": drawn, "backend": backend}
    sampler_step(zeros, zeros, None, row, **arguments)
    return drawn


def test_known_answers():
    seed = torch.tensor([123])
    assert counter_words(seed, 3, step=0, sample=0, purpose=0)[0].tolist() == KNOWN_WORDS
    np.testing.assert_allclose(counter_normal(seed, (3, 4))[0], KNOWN_NORMALS, rtol=0, atol=1e-6)


def test_words_are_philox_of_the_documented_counter_and_key():
    rng = np.random.default_rng()
    seeds = [0, -1, 2**63 - 1, -(2**63), *map(int, rng.integers(-(2**63), 2**63, 4))]
    for seed in seeds:
        step, sample, purpose = map(int, rng.integers(0, 2**32, 3))
        words = counter_words(torch.tensor([seed]), 5, step=step, sample=sample, purpose=purpose)[0]
        key = seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF
        for counter in range(5):
            assert words[counter].tolist() == philox_in_python_integers((counter, step, sample, purpose), key)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_back_end_draws_the_same_noise(backend, device):
    reason = Op._all["sampler_step"].why_not(backend, device.type)
    if reason:
        pytest.skip(reason)
    seeds = torch.cat([torch.randint(-(2**63), 2**63 - 1, (6,)), torch.tensor([0, -1])])
    reference = counter_normal(seeds, (1, 61, 67), step=2**32 - 1, sample=2**31).double()
    drawn = noise_from(backend, seeds.to(device), (1, 61, 67), step=2**32 - 1, sample=2**31).cpu().double()
    assert ((drawn - reference).abs() <= torch.where(reference.abs() > 4, 2e-6, 1e-6)).all()


@triton.jit
def _words_kernel(out_ptr, seed_ptr, step, sample, purpose, COUNT: tl.constexpr):
    quad = tl.arange(0, COUNT)
    w0, w1, w2, w3 = triton_counter_words(tl.load(seed_ptr), quad, step, sample, purpose)
    tl.store(out_ptr + 4 * quad, w0.to(tl.int64))
    tl.store(out_ptr + 4 * quad + 1, w1.to(tl.int64))
    tl.store(out_ptr + 4 * quad + 2, w2.to(tl.int64))
    tl.store(out_ptr + 4 * quad + 3, w3.to(tl.int64))


@pytest.mark.parametrize("counter", [(0, 0, 0), (1, 1, 1), (7, 2**31 - 1, 1), (2**31, 2**32 - 1, 0)], ids=str)
def test_triton_words_are_bit_identical(counter, device):
    if device.type == "cpu" and torch.cuda.is_available():
        pytest.skip("Triton is tested on the GPU here")
    step, sample, purpose = counter
    for seed in (123, -5, 2**40 + 7):
        seeds = torch.tensor([seed], device=device)
        out = torch.zeros(64, 4, dtype=torch.int64, device=device)
        _words_kernel[(1,)](out, seeds, step, sample, purpose, COUNT=64)
        assert torch.equal(out, counter_words(seeds, 64, step=step, sample=sample, purpose=purpose)[0])


def test_noise_is_addressed_by_everything_in_the_counter():
    seeds = torch.randint(-(2**62), 2**62, (2,))
    base = counter_normal(seeds, (1, 8, 8), step=3, sample=1, purpose=SAMPLING)
    others = [
        counter_normal(seeds.flip(0), (1, 8, 8), step=3, sample=1, purpose=SAMPLING),
        counter_normal(seeds + 2**32, (1, 8, 8), step=3, sample=1, purpose=SAMPLING),
        counter_normal(seeds, (1, 8, 8), step=4, sample=1, purpose=SAMPLING),
        counter_normal(seeds, (1, 8, 8), step=3, sample=2, purpose=SAMPLING),
        counter_normal(seeds, (1, 8, 8), step=3, sample=1, purpose=TRAINING),
    ]
    for other in others:
        assert ((base - other).abs() > 1e-3).double().mean() > 0.95
    assert torch.equal(base, counter_normal(seeds, (64,), step=3, sample=1).reshape(2, 1, 8, 8))
    assert torch.equal(base.flatten(1)[:, :13], counter_normal(seeds, (13,), step=3, sample=1))


@pytest.fixture(scope="module")
def lattice():
    """Normals [seeds, steps, elements] of 16 neighbouring seeds and 4 neighbouring steps, in float64."""
    first = int(torch.randint(-(2**62), 2**62, ()))
    seeds = torch.arange(first, first + 16)
    return torch.stack([counter_normal(seeds, (64, 64), step=k).flatten(1) for k in range(4)], 1).double()


def test_moments_are_those_of_a_normal(lattice):
    """Five standard deviations of each estimate, which follow from the eighth moment 105."""
    count = lattice.numel()
    for power, value, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((lattice**power).mean() - value) < 5 * (variance / count) ** 0.5, power


def test_the_distribution_is_normal(lattice):
    """Kolmogorov-Smirnov; a true normal fails once in a hundred thousand runs."""
    assert stats.kstest(lattice.flatten().numpy(), "norm").pvalue > 1e-5


def test_bytes_of_the_words_are_uniform():
    """The words themselves, in 256 classes each of their four bytes: chi squared."""
    words = counter_words(torch.randint(-(2**62), 2**62, (8,)), 4096, step=1, sample=0, purpose=0)
    for shift in (0, 8, 16, 24):
        counts = torch.bincount((words >> shift & 0xFF).flatten(), minlength=256).numpy()
        assert stats.chisquare(counts).pvalue > 1e-6, shift


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 64])
@pytest.mark.parametrize(("axis", "what"), [(0, "seeds"), (1, "steps"), (2, "elements")])
def test_neighbours_are_not_correlated(lattice, axis, what, lag):
    """Neither values nor squares: those of a Box-Muller pair share a radius."""
    if lag >= lattice.shape[axis]:
        pytest.skip(f"there are {lattice.shape[axis]} {what}")
    length = lattice.shape[axis] - lag
    a, b = lattice.narrow(axis, 0, length), lattice.narrow(axis, lag, length)
    assert abs((a * b).mean()) < 5 / a.numel() ** 0.5
    assert abs(((a**2 - 1) * (b**2 - 1)).mean()) < 5 * 2 / a.numel() ** 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"seeds": torch.zeros(2)}, TypeError, "seeds must be int64, found torch.float32"),
        (
            {"seeds": torch.zeros(2, 2, dtype=torch.int64)},
            ValueError,
            r"seeds must be a vector \[B\], found shape \[2, 2\]",
        ),
        ({"step": 2**32}, ValueError, "step must be in"),
        ({"purpose": -1}, ValueError, "purpose must be in"),
    ],
)
def test_what_is_wrong_is_said(arguments, error, message):
    with pytest.raises(error, match=message):
        counter_normal(**({"seeds": torch.zeros(2, dtype=torch.int64), "shape": (4,)} | arguments))
