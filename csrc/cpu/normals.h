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

constexpr int64_t kCounters = 32;  // most counters a call may ask for

struct WordBlock {
  alignas(64) uint32_t w0[kCounters], w1[kCounters], w2[kCounters], w3[kCounters];
};

// The part of counter and key that a slice's counters share.
struct NoiseKey {
  uint32_t step, sample, purpose, k0, k1;
};

inline void words_anywhere(WordBlock& out, int64_t count, uint32_t first, const NoiseKey& key) {
  for (int64_t i = 0; i < count; ++i) {
    const Words w = philox({first + uint32_t(i), key.step, key.sample, key.purpose}, key.k0, key.k1);
    out.w0[i] = w.w0;
    out.w1[i] = w.w1;
    out.w2[i] = w.w2;
    out.w3[i] = w.w3;
  }
}

#ifdef SF_X86
// A target attribute cannot be a template parameter, so the instruction sets differ by a macro. Counts are rounded up to
// whole vectors; the block has room for them.
#define SF_WORDS(NAME, TARGET, LANES, MULTIPLY, VECTOR)                                                              \
  __attribute__((target(TARGET))) inline void NAME(WordBlock& out, int64_t count, uint32_t first,                     \
                                                   const NoiseKey& key) {                                             \
    typedef uint64_t Lanes __attribute__((vector_size(8 * LANES)));                                                   \
    typedef uint32_t Halves __attribute__((vector_size(4 * LANES)));                                                  \
    const Lanes zero = {}, a = zero + 0xD2511F53u, b = zero + 0xCD9E8D57u;                                            \
    Lanes index;                                                                                                      \
    for (int lane = 0; lane < LANES; ++lane) index[lane] = uint64_t(lane);                                            \
    for (int64_t i = 0; i < count; i += LANES) {                                                                      \
      Lanes c0 = index + uint64_t(first + uint32_t(i)), c1 = zero + key.step, c2 = zero + key.sample, c3 = zero + key.purpose; \
      uint32_t k0 = key.k0, k1 = key.k1;                                                                              \
      _Pragma("GCC unroll 10") for (int round = 0; round < 10; ++round) {                                             \
        const Lanes p0 = (Lanes)MULTIPLY((VECTOR)c0, (VECTOR)a), p2 = (Lanes)MULTIPLY((VECTOR)c2, (VECTOR)b);         \
        c0 = (p2 >> 32) ^ c1 ^ (zero + k0);                                                                           \
        c1 = p2;                                                                                                      \
        c2 = (p0 >> 32) ^ c3 ^ (zero + k1);                                                                           \
        c3 = p0;                                                                                                      \
        k0 += 0x9E3779B9u;                                                                                            \
        k1 += 0xBB67AE85u;                                                                                            \
      }                                                                                                               \
      *(Halves*)(out.w0 + i) = __builtin_convertvector(c0, Halves);                                                   \
      *(Halves*)(out.w1 + i) = __builtin_convertvector(c1, Halves);                                                   \
      *(Halves*)(out.w2 + i) = __builtin_convertvector(c2, Halves);                                                   \
      *(Halves*)(out.w3 + i) = __builtin_convertvector(c3, Halves);                                                   \
    }                                                                                                                 \
  }

SF_WORDS(words_avx2, "avx2", 4, _mm256_mul_epu32, __m256i)
SF_WORDS(words_avx512, "avx512f", 8, _mm512_mul_epu32, __m512i)
#undef SF_WORDS
#endif

using WordsFunction = void (*)(WordBlock&, int64_t, uint32_t, const NoiseKey&);

inline WordsFunction widest_words() {
#ifdef SF_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return words_avx512;
  if (__builtin_cpu_supports("avx2")) return words_avx2;
#endif
  return words_anywhere;
}

SF_WIDE inline void normals_of(const WordBlock& words, int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) {
    const NormalPair a = normal_pair(words.w0[i], words.w1[i]), b = normal_pair(words.w2[i], words.w3[i]);
    out[4 * i] = a.z1;
    out[4 * i + 1] = a.z2;
    out[4 * i + 2] = b.z1;
    out[4 * i + 3] = b.z2;
  }
}

// out[0 ... 4 count) = normals of counters first, first + 1, ...; count at most kCounters.
inline void fill_normals(float* out, int64_t count, uint32_t first, const NoiseKey& key) {
  static const WordsFunction words = widest_words();
  WordBlock block;
  words(block, count, first, key);
  normals_of(block, count, out);
}

}  // namespace sf
