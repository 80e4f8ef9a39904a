"""The noise contract in Triton: words as on every back end, normals as Triton's own `randn4x` makes them."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _cos_sin(angle):
    """cos and sin on [0, 2 pi]: nearest quarter turn, then polynomials on +-pi/4.

    The library's own functions reduce arguments of any size and need local memory for it.
    """
    quarter = (angle * 0.636619772 + 0.5).to(tl.int32)
    q = quarter.to(tl.float32)
    r = tl.fma(q, 4.37113883e-8, tl.fma(q, -1.57079637, angle))
    s = r * r
    sine = r + r * s * (-1.666665077e-1 + s * (8.331975900e-3 + s * -1.949529251e-4))
    cosine = 1.0 - 0.5 * s + s * s * (4.166664556e-2 + s * (-1.388736418e-3 + s * 2.443808999e-5))
    swap = (quarter & 1) == 1
    c = tl.where(swap, sine, cosine)
    d = tl.where(swap, cosine, sine)
    return tl.where(((quarter + 1) & 2) == 2, -c, c), tl.where((quarter & 2) == 2, -d, d)


@triton.jit
def _normal_pair(word1, word2):
    radius = tl.sqrt(-2.0 * tl.log(tl.maximum(1.0e-7, tl.uint_to_uniform_float(word1))))
    c, s = _cos_sin(6.283185307179586 * tl.uint_to_uniform_float(word2))
    return radius * c, radius * s


@triton.jit
def counter_words(seed, quad, step, sample, purpose):
    """Four uint32 words for counters (quad, step, sample, purpose); quad is a block, the others broadcast."""
    # A launch types an integer by its size, and a 64-bit counter would select the other Philox.
    c0 = quad.to(tl.uint32)
    zero = c0 * 0
    c1, c2, c3 = (zero + step).to(tl.uint32), (zero + sample).to(tl.uint32), (zero + purpose).to(tl.uint32)
    return tl.philox(seed, c0, c1, c2, c3)


@triton.jit
def counter_normal(seed, quad, step, sample, purpose):
    """Four normals, those of elements 4 quad ... 4 quad + 3."""
    w0, w1, w2, w3 = counter_words(seed, quad, step, sample, purpose)
    n0, n1 = _normal_pair(w0, w1)
    n2, n3 = _normal_pair(w2, w3)
    return n0, n1, n2, n3
