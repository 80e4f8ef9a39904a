// Normals for consecutive counters of one slice, by the widest vector unit of the machine.
//
// The words need 32 x 32 -> 64-bit products. Compilers do not find the instruction for them (they emit the four times
// slower 64-bit product), so here the lanes are written out: a 32-bit word in each 64-bit lane, whose upper half the
// multiplication ignores. Same words as sf::philox, bit by bit.
#pragma once

#include "math/philox.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define SF_X86 1
#include <immintrin.h>
#endif

namespace sf {

constexpr int64_t kCounters = 32;  // of one draw

struct WordBlock {
  alignas(64) uint32_t w0[kCounters], w1[kCounters], w2[kCounters], w3[kCounters];
};

// Counter and key without the element's number, and what follows from them for all counters: the keys of the ten
// rounds, and all of the first two rounds that does not depend on the first word of the counter.
struct NoiseStream {
  uint32_t step, sample, purpose, key0, key1;
  uint64_t k0[10], k1[10];
  uint64_t second0, second2, third3;  // what the second round xors into c0 and c2; c3 in the third

  NoiseStream(int64_t seed, uint32_t step, uint32_t sample, uint32_t purpose)
      : step(step), sample(sample), purpose(purpose), key0(uint32_t(seed)), key1(uint32_t(uint64_t(seed) >> 32)) {
    for (uint32_t round = 0; round < 10; ++round) {
      k0[round] = uint32_t(key0 + round * 0x9E3779B9u);
      k1[round] = uint32_t(key1 + round * 0xBB67AE85u);
    }
    const uint32_t c0 = high_word(0xCD9E8D57u, sample) ^ step ^ key0;
    second0 = (0xCD9E8D57u * sample) ^ uint32_t(k0[1]);
    second2 = high_word(0xD2511F53u, c0) ^ uint32_t(k1[1]);
    third3 = 0xD2511F53u * c0;
    k1[0] ^= purpose;
  }
};

inline void words_anywhere(WordBlock& out, uint32_t first, const NoiseStream& stream) {
  for (int64_t i = 0; i < kCounters; ++i) {
    const Words counter = {first + uint32_t(i), stream.step, stream.sample, stream.purpose};
    const Words w = philox(counter, stream.key0, stream.key1);
    out.w0[i] = w.w0;
    out.w1[i] = w.w1;
    out.w2[i] = w.w2;
    out.w3[i] = w.w3;
  }
}

#ifdef SF_X86
// A target attribute cannot be a template parameter, so the instruction sets differ by a macro. WAYS vectors go through
// the rounds together, because a multiplication takes longer than everything else in a round. Vectors 2j and 2j + 1
// hold the even and the odd ones of 2 LANES counters: their words, in the lower and the upper halves of the lanes, are
// then in order.
#define SF_WORDS(NAME, TARGET, LANES, WAYS, MULTIPLY, VECTOR)                                                          \
  __attribute__((target(TARGET))) inline void NAME(WordBlock& out, uint32_t first, const NoiseStream& stream) {        \
    typedef uint64_t Lanes __attribute__((vector_size(8 * LANES), may_alias));                                         \
    const Lanes zero = {}, a = zero + 0xD2511F53u, b = zero + 0xCD9E8D57u, lower = zero + 0xFFFFFFFFu;                 \
    Lanes even;                                                                                                        \
    for (int lane = 0; lane < LANES; ++lane) even[lane] = uint64_t(2 * lane);                                          \
    for (int64_t i = 0; i < kCounters; i += LANES * WAYS) {                                                            \
      Lanes c0[WAYS], c1[WAYS], c2[WAYS], c3[WAYS];                                                                    \
      _Pragma("GCC unroll 4") for (int way = 0; way < WAYS; ++way) {                                                   \
        const uint64_t start = first + uint64_t(i) + uint64_t(way / 2 * 2 * LANES + way % 2);                          \
        const Lanes p0 = (Lanes)MULTIPLY((VECTOR)(even + start), (VECTOR)a);                                           \
        const Lanes p2 = (Lanes)MULTIPLY((VECTOR)((p0 >> 32) ^ (zero + stream.k1[0])), (VECTOR)b);                     \
        c0[way] = (p2 >> 32) ^ (zero + stream.second0);                                                                \
        c1[way] = p2;                                                                                                  \
        c2[way] = p0 ^ (zero + stream.second2);                                                                        \
        c3[way] = zero + stream.third3;                                                                                \
      }                                                                                                                \
      _Pragma("GCC unroll 8") for (int round = 2; round < 10; ++round) {                                               \
        const Lanes k0 = zero + stream.k0[round], k1 = zero + stream.k1[round];                                        \
        _Pragma("GCC unroll 4") for (int way = 0; way < WAYS; ++way) {                                                 \
          const Lanes p0 = (Lanes)MULTIPLY((VECTOR)c0[way], (VECTOR)a);                                                \
          const Lanes p2 = (Lanes)MULTIPLY((VECTOR)c2[way], (VECTOR)b);                                                \
          c0[way] = (p2 >> 32) ^ c1[way] ^ k0;                                                                         \
          c1[way] = p2;                                                                                                \
          c2[way] = (p0 >> 32) ^ c3[way] ^ k1;                                                                         \
          c3[way] = p0;                                                                                                \
        }                                                                                                              \
      }                                                                                                                \
      _Pragma("GCC unroll 2") for (int way = 0; way < WAYS; way += 2) {                                                \
        const int64_t at = i + way * LANES;                                                                            \
        *(Lanes*)(out.w0 + at) = (c0[way] & lower) | (c0[way + 1] << 32);                                              \
        *(Lanes*)(out.w1 + at) = (c1[way] & lower) | (c1[way + 1] << 32);                                              \
        *(Lanes*)(out.w2 + at) = (c2[way] & lower) | (c2[way + 1] << 32);                                              \
        *(Lanes*)(out.w3 + at) = (c3[way] & lower) | (c3[way + 1] << 32);                                              \
      }                                                                                                                \
    }                                                                                                                  \
  }

// Not the plain form, whose undefined operand GCC 12 takes for an uninitialised variable; the instruction is the same.
#define SF_MULTIPLY_512(X, Y) _mm512_maskz_mul_epu32(__mmask8(0xff), X, Y)

SF_WORDS(words_avx2, "avx2", 4, 2, _mm256_mul_epu32, __m256i)
SF_WORDS(words_avx512, "avx512f", 8, 4, SF_MULTIPLY_512, __m512i)
#undef SF_MULTIPLY_512
#undef SF_WORDS
#endif

using WordsFunction = void (*)(WordBlock&, uint32_t, const NoiseStream&);

inline WordsFunction widest_words() {
#ifdef SF_X86
  __builtin_cpu_init();
#ifndef SPECTAC_FAST_AVX2
  if (__builtin_cpu_supports("avx512f")) return words_avx512;
#endif
  if (__builtin_cpu_supports("avx2")) return words_avx2;
#endif
  return words_anywhere;
}

SF_WIDE inline void normals_of(const WordBlock& words, float* __restrict out) {
  for (int64_t i = 0; i < kCounters; ++i) {
    const NormalPair a = normal_pair(words.w0[i], words.w1[i]), b = normal_pair(words.w2[i], words.w3[i]);
    out[4 * i] = a.z1;
    out[4 * i + 1] = a.z2;
    out[4 * i + 2] = b.z1;
    out[4 * i + 3] = b.z2;
  }
}

// out[0 ... 4 kCounters) = normals of counters first, first + 1, ...
inline void draw_normals(float* out, uint32_t first, const NoiseStream& stream) {
  static const WordsFunction words = widest_words();
  WordBlock block;
  words(block, first, stream);
  normals_of(block, out);
}

}  // namespace sf
