// Noise as a function: Philox4x32-10 words and the normals made of them.
// The layout of counter and key is described in spectac_fast/ops/counter_normal.py.
#pragma once

#include <cmath>

#include "math/hd.h"

namespace sf {

// Last word of the counter.
constexpr uint32_t kSampling = 0, kTraining = 1;

struct Words {
  uint32_t w0, w1, w2, w3;
};

struct NormalPair {
  float z1, z2;
};

SF_HD uint32_t high_word(uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); }

SF_HD Words philox(Words counter, uint32_t k0, uint32_t k1) {
  uint32_t c0 = counter.w0, c1 = counter.w1, c2 = counter.w2, c3 = counter.w3;
#if defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const uint32_t h0 = high_word(0xD2511F53u, c0), l0 = 0xD2511F53u * c0;
    const uint32_t h2 = high_word(0xCD9E8D57u, c2), l2 = 0xCD9E8D57u * c2;
    c0 = h2 ^ c1 ^ k0;
    c1 = l2;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}

// A word read as int32 and folded at zero, in [0, 1].
SF_HD float uniform(uint32_t word) {
  const int32_t i = int32_t(word);
  return float(i ^ (i >> 31)) * 4.6566127342e-10f;
}

// Natural logarithm on [1e-7, 1], relative error below 1e-7 also beside 1 (the radius needs it there).
// u = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)];  log(1 + f) = f - f^2/2 + f^3 P(f), P minimax.
SF_HD float log_of_uniform(float u) {
  const int32_t bits = bits_as<int32_t>(u);
  const int32_t exponent = (bits - 0x3f3504f3) >> 23;
  const float f = bits_as<float>(bits - int32_t(uint32_t(exponent) << 23)) - 1.0f;
  float p = -0.0763447434f;
  p = fma(p, f, 0.127615675f);
  p = fma(p, f, -0.13160187f);
  p = fma(p, f, 0.142017588f);
  p = fma(p, f, -0.166233569f);
  p = fma(p, f, 0.200012267f);
  p = fma(p, f, -0.250008196f);
  p = fma(p, f, 0.333333313f);
  const float e = float(exponent);
  const float square = f * f;
  const float tail = fma(-0.5f, square, fma(f * square, p, e * 1.42860677e-6f));
  return fma(e, 0.693145752f, f + tail);  // log 2 in two parts, the first exact when multiplied by e
}

// cos and sin on [0, 2 pi]: reduced to +-pi/4 about the nearest quarter turn, then minimax polynomials.
SF_HD NormalPair cos_sin(float angle) {
  const int32_t quarter = int32_t(fma(angle, 0.636619772f, 0.5f));
  const float q = float(quarter);
  const float r = fma(q, 4.37113883e-8f, fma(q, -1.57079637f, angle));
  const float s = r * r;
  const float sine = fma(r * s, fma(s, fma(s, -1.949529251e-4f, 8.331975900e-3f), -1.666665077e-1f), r);
  const float cosine = fma(s * s, fma(s, fma(s, 2.443808999e-5f, -1.388736418e-3f), 4.166664556e-2f), fma(s, -0.5f, 1.0f));
  const bool swap = quarter & 1;
  const uint32_t c = bits_as<uint32_t>(swap ? sine : cosine) ^ (uint32_t(quarter + 1) & 2u) << 30;
  const uint32_t d = bits_as<uint32_t>(swap ? cosine : sine) ^ (uint32_t(quarter) & 2u) << 30;
  return {bits_as<float>(c), bits_as<float>(d)};
}

// Box-Muller. The angle is rounded to float32 before its cosine: part of the contract, since every back end does the same.
SF_HD NormalPair normal_pair(uint32_t word1, uint32_t word2) {
  const float u = uniform(word1);
  const float radius = sqrtf(-2.0f * log_of_uniform(u < 1.0e-7f ? 1.0e-7f : u));
  const NormalPair unit = cos_sin(6.28318531f * uniform(word2));
  return {radius * unit.z1, radius * unit.z2};
}

}  // namespace sf
