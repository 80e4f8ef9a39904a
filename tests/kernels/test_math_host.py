"""csrc/math compiled for the host: the arithmetic that CPU loops and CUDA kernels share, function by function."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import torch

from spectac_fast.ops.counter_normal import _normal_pair, philox


@pytest.fixture(scope="module")
def probe(repository, tmp_path_factory):
    compiler = shutil.which("c++")
    if not compiler:
        pytest.skip("no C++ compiler here")
    library = tmp_path_factory.mktemp("probe") / "probe.so"
    flags = ["-O2", "-std=c++20", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-I{repository / 'csrc'}"]
    subprocess.run([compiler, *flags, repository / "tests/kernels/math_probe.cpp", "-o", library], check=True)
    return ctypes.CDLL(str(library))


def call(function, *arrays):
    """Call a probe; arrays go as pointers, the count as int64."""
    function(*(a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else ctypes.c_int64(a) for a in arrays))


def test_words_match_the_reference_bit_by_bit(probe):
    rng = np.random.default_rng()
    counters = rng.integers(0, 2**32, (5000, 4), dtype=np.uint32)
    keys = rng.integers(0, 2**32, (5000, 2), dtype=np.uint32)
    counters[:4], keys[:4] = (
        [[0] * 4, [2**32 - 1] * 4, [1, 0, 0, 0], [0, 0, 0, 1]],
        [[0, 0], [2**32 - 1] * 2, [1, 0], [0, 1]],
    )
    ours = np.empty_like(counters)
    call(probe.probe_words, counters, keys, len(counters), ours)
    c, k = torch.from_numpy(counters.astype(np.int64)), torch.from_numpy(keys.astype(np.int64))
    reference = torch.stack(philox(c.unbind(-1), k.unbind(-1)), -1).numpy()
    assert (ours == reference).all()


def test_division_by_a_multiplication_is_exact(probe):
    """Every power of two and its neighbours, and random divisors; numbers beside their multiples, up to 2^31 - 1."""
    rng, top = np.random.default_rng(), 2**31 - 1
    powers = [2**k + d for k in range(31) for d in (-1, 0, 1)]
    divisors = {*powers, top, *range(1, 300), *rng.integers(1, top, 300).tolist()} - {0}
    probe.probe_divide.restype = ctypes.c_int64
    for divisor in divisors:
        multiples = rng.integers(0, top // divisor + 1, 500) * divisor
        numbers = np.concatenate([multiples, multiples - 1, multiples + divisor - 1, [0, top, top - 1]])
        numbers = numbers[(numbers >= 0) & (numbers <= top)].astype(np.uint32)
        at = numbers.ctypes.data_as(ctypes.c_void_p)
        assert probe.probe_divide(ctypes.c_uint32(divisor), at, ctypes.c_int64(len(numbers))) == -1, divisor


def draw_addresses():
    """A random (seed, first counter, rest of the counter), the first counter near its wrap at times."""
    rng = np.random.default_rng()
    first = int(rng.choice([0, 2**32 - 3, int(rng.integers(2**32))]))
    return int(rng.integers(-(2**63), 2**63)), first, rng.integers(0, 2**32, 3, dtype=np.uint32)


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("width", ["1", "4", "8"])
def test_words_do_not_depend_on_the_width_of_the_lanes(probe, width, turn):
    seed, first, rest = draw_addresses()
    count = probe.probe_draw_size()
    ours = np.empty((count, 4), np.uint32)
    probe.probe_lanes.restype = ctypes.c_bool
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (rest, ours)]
    if not probe.probe_lanes(width.encode(), ctypes.c_int64(seed), ctypes.c_uint32(first), *pointers):
        pytest.skip(f"this processor has no {width} lanes of 64 bits")
    counter = [torch.arange(first, first + count) & 0xFFFFFFFF, *(torch.tensor([int(v)]) for v in rest)]
    reference = torch.stack(
        [w.expand(count) for w in philox(counter, (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF))], -1
    )
    assert (ours == reference.numpy()).all()


def test_the_vector_loop_makes_the_same_normals(probe):
    """Bit for bit those of the scalar function: noise must not depend on the width of the processor's vectors."""
    for _ in range(50):
        seed, first, rest = draw_addresses()
        count = probe.probe_draw_size()
        words, drawn = np.empty((count, 4), np.uint32), np.empty(4 * count, np.float32)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (rest, words)]
        probe.probe_lanes(b"1", ctypes.c_int64(seed), ctypes.c_uint32(first), *pointers)
        probe.probe_draw(
            ctypes.c_int64(seed), ctypes.c_uint32(first), pointers[0], drawn.ctypes.data_as(ctypes.c_void_p)
        )
        one_by_one = np.empty_like(drawn)
        call(probe.probe_normal_pairs, words, 2 * count, one_by_one)
        assert (drawn == one_by_one).all()


def test_normals_match_the_reference_also_at_the_ends(probe):
    rng = np.random.default_rng()
    ends = [0, 1, 2, 463, 464, 2**29, 2**30 - 1, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 3 * 2**30, 2**32 - 2, 2**32 - 1]
    words = rng.integers(0, 2**32, (400_000, 2), dtype=np.uint32)
    words[: len(ends) ** 2] = [(a, b) for a in ends for b in ends]
    ours = np.empty(words.shape, np.float32)
    call(probe.probe_normal_pairs, words, len(words), ours)
    reference = torch.stack(_normal_pair(*torch.from_numpy(words.astype(np.int64)).unbind(-1)), -1).numpy()
    error = np.abs(ours.astype(np.float64) - reference)
    assert (error <= np.where(np.abs(reference) > 4, 2e-6, 1e-6)).all(), error.max()


def test_log_is_relatively_accurate_beside_one(probe):
    u = np.concatenate([1 - np.arange(1, 5000) * 2.0**-24, np.geomspace(1e-7, 1, 50_000)]).astype(np.float32)
    ours = np.empty_like(u)
    call(probe.probe_log, u, len(u), ours)
    exact = -2 * np.log(u.astype(np.float64))
    assert (np.abs(ours - exact) <= 1.5e-7 * np.abs(exact)).all()


def test_every_half_is_widened_exactly(probe):
    halves = np.arange(2**16, dtype=np.uint16)
    float16, bfloat16 = np.empty(2**16, np.float32), np.empty(2**16, np.float32)
    call(probe.probe_widen, halves, len(halves), float16, bfloat16)
    np.testing.assert_array_equal(float16, halves.view(np.float16).astype(np.float32))
    torch_view = torch.from_numpy(halves.view(np.int16)).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(bfloat16, torch_view)


def test_narrowing_rounds_as_torch_does(probe):
    rng = np.random.default_rng()
    exact = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (exact[:0x7C00] + exact[1:0x7C01]) / 2
    anything = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([exact, ties, -ties, np.nextafter(ties, np.float32(0)), anything]).astype(np.float32)
    float16, bfloat16 = np.empty(len(values), np.uint16), np.empty(len(values), np.uint16)
    call(probe.probe_narrow, values, len(values), float16, bfloat16)
    source = torch.from_numpy(values)
    for bits, dtype in ((float16, torch.float16), (bfloat16, torch.bfloat16)):
        ours = torch.from_numpy(bits.view(np.int16)).view(dtype)
        torch.testing.assert_close(ours, source.to(dtype), rtol=0, atol=0, equal_nan=True)


def window_weights():
    """Six weights of an 11-tap window from the middle outwards, and all eleven, float64 of what float32 holds."""
    half = np.float32(np.exp(-0.5 * (np.arange(6) / 1.5) ** 2))
    half /= np.float32(half[0] + 2 * half[1:].sum())
    return half, np.concatenate([half[:0:-1], half]).astype(np.float64)


def test_moments_of_windows_do_not_cancel(probe):
    """Both levels of the law of total variance against float64, on a level a thousand times the structure."""
    rng = np.random.default_rng()
    n, level, structure = 2000, 1.0, 1e-3
    half, k = window_weights()
    x, y = (level + structure * rng.standard_normal((2, n, 11))).astype(np.float32)
    parts = rng.standard_normal((n, 11, 4)) * [structure, structure, structure**2, structure**2] + [level, level, 0, 0]
    parts = parts.astype(np.float32)
    points, mixed = np.empty((n, 4), np.float32), np.empty((n, 4), np.float32)
    call(probe.probe_mix, half, x, y, parts, n, points, mixed)

    def exact(mx, my, d, c):
        mx, my, d, c = (v.astype(np.float64) for v in (mx, my, d, c))
        # The weights sum to one within their rounding, which only deviations from the middle feel.
        dx, dy = mx - mx[:, 5:6], my - my[:, 5:6]
        sx, sy = dx @ k, dy @ k
        return mx[:, 5] + sx, my[:, 5] + sy, (d + (dx - dy) ** 2) @ k - (sx - sy) ** 2, (c + dx * dy) @ k - sx * sy

    rounding = np.finfo(np.float32).eps / 2
    nothing = np.zeros_like(x)
    # A variance is up to 25 squared deviations large here and has some eight roundings.
    for ours, wanted in ((points, exact(x, y, nothing, nothing)), (mixed, exact(*np.moveaxis(parts, -1, 0)))):
        for value, target, size in zip(ours.T, wanted, (level, level, structure**2, structure**2)):
            assert np.abs(value - target).max() <= 2 * size * rounding * (1 if size == level else 200)


def test_slopes_are_the_derivatives_of_ssim(probe):
    """One pixel of weight k moves every moment of its window; the slopes say how SSIM follows."""
    rng = np.random.default_rng()
    data_range, k, h = 1.7, 0.2, 1e-6
    origin = np.array([0.3, -0.2])
    mx, my, x, y = rng.standard_normal((4, 500))
    vx, vy = rng.uniform(0.05, 1, (2, 500))
    c = rng.uniform(-0.9, 0.9, 500) * np.sqrt(vx * vy)

    def ssim(x_step=0.0, y_step=0.0):
        # First order: means move by k times the step, variances by 2 k and covariance by k times the deviation.
        moved_x, moved_y = vx + 2 * k * x_step * (x - mx), vy + 2 * k * y_step * (y - my)
        moved_c = c + k * x_step * (y - my) + k * y_step * (x - mx)
        moments = np.stack([mx + k * x_step, my + k * y_step, moved_x + moved_y - 2 * moved_c, moved_c], -1)
        values, slopes = np.empty((500, 2)), np.empty((500, 4))
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (np.ascontiguousarray(moments), origin)]
        out = [a.ctypes.data_as(ctypes.c_void_p) for a in (values, slopes)]
        probe.probe_ssim(*pointers, ctypes.c_double(data_range), ctypes.c_int64(500), *out)
        np.testing.assert_allclose(values[:, 0], values[:, 1], rtol=1e-13)
        return values[:, 0], slopes

    from_x, from_y, p, q = ssim()[1].T
    e = (x - y) - (origin[0] - origin[1])
    for step, slope in (
        ({"x_step": h}, from_x - e * p + (x - origin[0]) * q),
        ({"y_step": h}, from_y + e * p + (y - origin[1]) * q),
    ):
        forward, backward = ssim(**step)[0], ssim(**{name: -value for name, value in step.items()})[0]
        np.testing.assert_allclose((forward - backward) / (2 * h), k * slope, rtol=0, atol=1e-8 * np.abs(slope).max())


def test_exp_is_relatively_accurate(probe):
    t = np.concatenate([np.linspace(-87, 88, 200_001), [0.0, -0.0, 1e-30]]).astype(np.float32)
    ours = np.empty_like(t)
    call(probe.probe_exp, t, len(t), ours)
    exact = np.exp(t.astype(np.float64))
    assert (np.abs(ours - exact) <= 2.0**-22 * exact).all()


def test_silu_is_relatively_accurate_and_keeps_its_limits(probe):
    v = np.concatenate([np.linspace(-80, 80, 200_001), np.geomspace(1e-30, 1, 1000)]).astype(np.float32)
    limits = np.array([np.nan, np.inf, 3e38, -88, -1e30], np.float32)
    ours, at_limits = np.empty_like(v), np.empty_like(limits)
    call(probe.probe_silu, v, len(v), ours)
    call(probe.probe_silu, limits, len(limits), at_limits)
    exact = v / (1 + np.exp(-v.astype(np.float64)))
    assert (np.abs(ours - exact) <= 2.0**-21 * np.abs(exact)).all()
    np.testing.assert_allclose(at_limits, [np.nan, np.inf, 3e38, 0, 0], rtol=1e-6, atol=1e-35)


@pytest.mark.parametrize("part", [1, 7, 64, 5000])
def test_moments_join_without_cancelling(probe, part):
    x = (np.random.default_rng().standard_normal(3001) + 1e6).astype(np.float32)
    found = np.empty(2)
    call(probe.probe_spread, x, len(x), part, found)
    exact = x.astype(np.float64)
    # A mean of 1e6 is known to 1e-10, and so is its distance, about 1, from the next.
    np.testing.assert_allclose(found, [exact.mean(), exact.var()], rtol=1e-9)


def test_the_nearest_comes_first_and_among_equals_the_lowest_code(probe):
    rng = np.random.default_rng()
    distances = rng.choice(np.array([0.0, 1e-45, 1e-3, 1.0, 3e38, np.inf], np.float32), 2000)
    codes = rng.integers(0, 2**31, 2000, dtype=np.uint32)
    found, near = np.empty(2000, np.uint64), np.empty(2000, np.uint8)
    call(probe.probe_nearness, distances, codes, len(codes), found, near)
    assert (np.argsort(found, kind="stable") == np.lexsort((codes, distances))).all()
    assert (near.astype(bool) == np.isfinite(distances)).all()
