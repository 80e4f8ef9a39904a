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

// -2 log u on [1e-7, 1], relative error below 1.5e-7 also beside 1 (the radius needs it there).
// u = 2^e (1 + f) with 1 + f in [sqrt(1/2), sqrt(2)];  log(1 + f) = f - f^2/2 + f^3 P(f), P minimax, written in g = -2 f.
SF_HD float minus_two_log(float u) {
  constexpr uint32_t kRootHalf = 0x3f3504f3u;
  const uint32_t above = bits_as<uint32_t>(u) - kRootHalf;
  const float exponent = float(int32_t(above) >> 23);
  const float g = fma(-2.0f, bits_as<float>((above & 0x7fffffu) + kRootHalf), 2.0f);
  float p = 1.49110827e-4f;
  p = fma(p, g, 4.98498732e-4f);
  p = fma(p, g, 1.02813961e-3f);
  p = fma(p, g, 2.21902481e-3f);
  p = fma(p, g, 5.19479904e-3f);
  p = fma(p, g, 1.25007667e-2f);
  p = fma(p, g, 3.12510245e-2f);
  p = fma(p, g, 8.33333284e-2f);
  p = fma(p, g, 0.25f);
  return fma(exponent, -1.38629436f, fma(g * g, p, g));
}

// radius times cos and sin of an angle in [0, 2 pi]: reduced to +-pi/4 about the nearest quarter turn, then minimax
// polynomials.
SF_HD NormalPair polar(float radius, float angle) {
  constexpr float kInteger = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
  const float shifted = fma(angle, 0.636619772f, kInteger);
  const float q = shifted - kInteger;
  const uint32_t quarter = bits_as<uint32_t>(shifted);
  const float r = fma(q, 4.37113883e-8f, fma(q, -1.57079637f, angle));
  const float s = r * r;
  const float sine = fma(r * s, fma(s, fma(s, -1.949529251e-4f, 8.331975900e-3f), -1.666665077e-1f), r);
  const float cosine = fma(s, fma(s, fma(s, fma(s, 2.443808999e-5f, -1.388736418e-3f), 4.166664556e-2f), -0.5f), 1.0f);
  const bool swap = quarter & 1u;
  const float signed_radius = bits_as<float>(bits_as<uint32_t>(radius) ^ (quarter & 2u) << 30);
  return {signed_radius * (swap ? -sine : cosine), signed_radius * (swap ? cosine : sine)};
}

// Box-Muller. The angle is rounded to float32 before its cosine: part of the contract, since every back end does the same.
SF_HD NormalPair normal_pair(uint32_t word1, uint32_t word2) {
  // 1e-7 at the least; positive floats are ordered like their bits, and integers have a maximum on every machine.
  const int32_t u = bits_as<int32_t>(uniform(word1)), least = 0x33d6bf95;
  return polar(sqrtf(minus_two_log(bits_as<float>(u < least ? least : u))), 6.28318531f * uniform(word2));
}

}  // namespace sf
