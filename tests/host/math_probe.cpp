// Exposes the functions of csrc/math, and the lanes of csrc/cpu, to the tests, through ctypes.
#include "cpu/normals.h"
#include "math/half.h"
#include "math/philox.h"

extern "C" {

void probe_words(const uint32_t* counters, const uint32_t* keys, int64_t n, uint32_t* out) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t* c = counters + 4 * i;
    const sf::Words w = sf::philox({c[0], c[1], c[2], c[3]}, keys[2 * i], keys[2 * i + 1]);
    out[4 * i] = w.w0;
    out[4 * i + 1] = w.w1;
    out[4 * i + 2] = w.w2;
    out[4 * i + 3] = w.w3;
  }
}

// Words of the counters of one draw, from `first` on, by one width of lanes; returns false where this machine lacks it.
bool probe_lanes(const char* width, int64_t seed, uint32_t first, const uint32_t* rest, uint32_t* out) {
  sf::WordsFunction words = sf::words_anywhere;
#ifdef SF_X86
  if (width[0] == '4') {
    if (!__builtin_cpu_supports("avx2")) return false;
    words = sf::words_avx2;
  } else if (width[0] == '8') {
    if (!__builtin_cpu_supports("avx512f")) return false;
    words = sf::words_avx512;
  }
#else
  if (width[0] != '1') return false;
#endif
  sf::WordBlock block;
  words(block, first, sf::NoiseStream(seed, rest[0], rest[1], rest[2]));
  for (int64_t i = 0; i < sf::kCounters; ++i) {
    out[4 * i] = block.w0[i];
    out[4 * i + 1] = block.w1[i];
    out[4 * i + 2] = block.w2[i];
    out[4 * i + 3] = block.w3[i];
  }
  return true;
}

int64_t probe_draw_size() { return sf::kCounters; }

// The normals of one draw, as the CPU operators make them.
void probe_draw(int64_t seed, uint32_t first, const uint32_t* rest, float* out) {
  sf::draw_normals(out, first, sf::NoiseStream(seed, rest[0], rest[1], rest[2]));
}

void probe_normal_pairs(const uint32_t* words, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const sf::NormalPair z = sf::normal_pair(words[2 * i], words[2 * i + 1]);
    out[2 * i] = z.z1;
    out[2 * i + 1] = z.z2;
  }
}

void probe_log(const float* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = sf::minus_two_log(in[i]);
}

void probe_widen(const uint16_t* in, int64_t n, float* float16, float* bfloat16) {
  for (int64_t i = 0; i < n; ++i) {
    float16[i] = sf::from_float16(in[i]);
    bfloat16[i] = sf::from_bfloat16(in[i]);
  }
}

void probe_narrow(const float* in, int64_t n, uint16_t* float16, uint16_t* bfloat16) {
  for (int64_t i = 0; i < n; ++i) {
    float16[i] = sf::to_float16(in[i]);
    bfloat16[i] = sf::to_bfloat16(in[i]);
  }
}
}
